"""The report of a run: its files, its facts, and its messages."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.facts import report
from partoken.protein.facts.gathering import gather
from partoken.protein.facts.report import report_run
from partoken.protein.run_chains import open_run
from tests.protein.runs import write_run


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run folder with random weights and its report, with a page for two chains and known sites of one."""
    folder = tmp_path_factory.mktemp("report") / "run"
    write_run(folder, "data.limit=24")
    run = open_run(folder)
    [chain] = run.read("train")[:1]
    sites = folder / "sites.csv"
    sites.write_text(f"id,positions,letters\n{chain.id},0 3,{chain.letters[0]}{chain.letters[3]}\nother,1,A\n")
    checks = [{"title": "Sites", "text": "", "columns": ["a"], "rows": [[1]]}]
    (folder / "explain").mkdir()
    (folder / "explain" / "explain.json").write_text(json.dumps({"checks": checks}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_PAGES", 2)
        lines = list(report_run(folder, sites=sites, device="cpu"))
    facts = json.loads((folder / "report" / "report.json").read_text())
    return folder, facts, lines, chain


def top(chain):
    return math.ceil(len(chain) / 10)


def rows(folder, name):
    with open(folder / "report" / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_chain_of_the_run_is_in_the_index_with_its_true_class(written):
    folder, facts, _, _ = written
    run = open_run(folder)
    truth = {name: of_chain[""] for split in run.splits for name, of_chain in run.truth(split).items()}
    assert {one["id"]: one["answers"][""]["truth"] for one in facts["chains"]} == truth
    assert all(
        one["answers"][""]["right"] is (one["answers"][""]["label"] == truth[one["id"]]) for one in facts["chains"]
    )
    assert {one["split"] for one in facts["chains"]} == {"test", "validation", "train"}


def test_chains_with_known_sites_get_a_page_first_and_the_report_says_how_pages_were_chosen(written):
    _, facts, lines, chain = written
    assert len(facts["details"]) == 2 and next(iter(facts["details"])) == chain.id
    assert facts["details"][chain.id]["sites"] == [0, 3]
    assert facts["about"]["chosen"].startswith(f"2 of {len(facts['chains'])} chains have a page")
    assert "known sites: 1 of 2 chains of the table are in the report, 1 with a page" in lines
    share = np.mean([place in np.argsort(facts["details"][chain.id]["importance"])[-top(chain) :] for place in (0, 3)])
    assert f"the tenth ranked highest has {share:.3f} of the known sites of a chain" in facts["about"]["importance"]


def test_the_run_is_named_as_the_user_gave_it(written, tmp_path, monkeypatch):
    folder, _, _, _ = written
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(report, "_ROOM", 0)
    list(report_run(folder.name, out=tmp_path / "out", device="cpu"))
    text = (tmp_path / "out" / "report.json").read_text()
    assert json.loads(text)["about"]["checkpoint"] == folder.name and str(folder) not in text


def test_a_named_table_gives_the_true_classes_of_its_chains(written):
    run = open_run(written[0])
    [own] = run.read("test")[:1]
    first, second = run.predictor.labels[""].class_names[:2]
    labels = {"mine": replace(run.predictor.labels[""], name="mine", class_names=(first, second, "enzyme"))}
    predictor = SimpleNamespace(labels={**labels, "enzyme": labels["mine"]}, about={})
    columns = [{"mine": second, "enzyme": "1"}, {"mine": "no such class", "enzyme": ""}]
    given = [replace(own, id=f"own{i}", fields=fields) for i, fields in enumerate(columns)]
    named = replace(run, predictor=predictor, data=None, folder=None, given=given)
    assert [one.truth for one in gather(named).chains] == [{"mine": second, "enzyme": "enzyme"}, {}]


def test_the_page_of_a_chain_describes_every_residue_and_substructure(written):
    _, facts, _, chain = written
    page = facts["details"][chain.id]
    assert page["sequence"] == chain.letters and len(page["numbers"]) == len(page["names"]) == len(chain)
    assert sum(page["importance"]) == pytest.approx(1, abs=1e-2)
    for part in page["substructures"]:
        assert [i for i, number in enumerate(page["substructure"]) if number == part["number"]] == part["residues"]
        assert sum(part["without"][""].values()) == pytest.approx(1, abs=1e-3)
        assert part["helix"] + part["strand"] + part["coil"] == pytest.approx(1, abs=1e-3)
    assert page["structure"].startswith("ATOM")


def test_tokens_of_the_dictionary_add_up(written):
    _, facts, _, _ = written
    tokens = [token for one in facts["chains"] for token in one["tokens"]]
    assert {one["token"]: one["count"] for one in facts["dictionary"]} == {i: tokens.count(i) for i in range(16)}
    assert all(one["dead"] is (one["count"] == 0) for one in facts["dictionary"])
    assert sum(one["share"] for one in facts["dictionary"]) == pytest.approx(1)
    for one in facts["dictionary"]:
        closeness = [example["closeness"] for example in one.get("typical", [])]
        assert closeness == sorted(closeness, reverse=True) and all(0 < value <= 1 for value in closeness)


def test_the_tables_have_a_row_for_each_chain_substructure_and_token(written):
    folder, facts, _, chain = written
    assert [row["id"] for row in rows(folder, "chains.csv")] == [one["id"] for one in facts["chains"]]
    assert len(rows(folder, "substructures.csv")) == sum(len(one["tokens"]) for one in facts["chains"])
    assert len(rows(folder, "dictionary.csv")) == 16
    [first, *_] = [row for row in rows(folder, "substructures.csv") if row["id"] == chain.id]
    page = facts["details"][chain.id]
    likeliest = max(page["probabilities"][""], key=page["probabilities"][""].get)
    fall = page["probabilities"][""][likeliest] - page["substructures"][0]["without"][""][likeliest]
    assert float(first["fall"]) == pytest.approx(fall, abs=2e-4)


def test_the_tables_of_explain_are_shown(written):
    assert written[1]["model"]["checks"][0]["title"] == "Sites"


def test_a_named_structure_takes_the_place_of_the_chain_of_the_run(written):
    run = open_run(written[0])
    own = run.read("test")[0]
    named = type(run)(run.checkpoint, run.folder, run.predictor, run.data, [own])
    assert [(one.split, one.named) for one in gather(named).chains if one.backbone.id == own.id] == [("test", True)]
    shorter = type(own)(own.id, own.coords[1:], own.sequence[1:])
    named = type(run)(run.checkpoint, run.folder, run.predictor, run.data, [shorter])
    found = [one for one in gather(named).chains if one.backbone.id == own.id]
    assert [len(one.backbone) for one in found] == [len(shorter)] and np.isfinite(found[0].backbone.coords).any()


def test_a_site_that_is_not_in_its_chain_is_one_message_before_the_work(written, tmp_path):
    folder, _, _, chain = written
    table = tmp_path / "sites.csv"
    table.write_text(f"id,positions\n{chain.id},99999\n")
    with pytest.raises(UserError, match=f"sites of {chain.id}: the residue with position 99999 is not in the chain"):
        list(report_run(folder, sites=table, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_file_as_folder_of_the_report_is_refused(tmp_path):
    file = tmp_path / "a.html"
    file.write_text("")
    with pytest.raises(UserError, match="is a file, and a report is a folder"):
        list(report_run("enzymes", out=file))


def test_the_page_is_one_small_file_that_loads_nothing(written):
    page = (written[0] / "report" / "index.html").read_text(encoding="utf-8")
    assert 500_000 < len(page.encode()) < 10_000_000
    assert "default-src 'none'" in page and 'src="http' not in page


def test_no_chain_has_a_page_if_there_is_no_room(written, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_ROOM", 0)
    list(report_run(written[0], out=tmp_path / "out", device="cpu"))
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["details"] == {} and not any(one["has_page"] for one in facts["chains"])
    assert "larger than 10 MB" in facts["about"]["chosen"]


def test_a_report_replaces_no_file_that_is_of_no_report(tmp_path):
    (tmp_path / "chains.csv").write_text("id,label\n")
    with pytest.raises(UserError, match=r"holds a chains\.csv that is of no report"):
        list(report_run("enzymes", out=tmp_path))
    assert (tmp_path / "chains.csv").read_text() == "id,label\n"
