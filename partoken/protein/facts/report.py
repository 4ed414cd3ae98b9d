"""The whole report of a run: gathers its facts, and writes them as a page, JSON and CSV files."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from partoken.errors import UserError
from partoken.protein.explanation_checks.sites import KnownSites, read_sites
from partoken.protein.facts.about import describe_found, describe_report, shipped_scores
from partoken.protein.facts.choice import describe_choice, order_chains
from partoken.protein.facts.details import describe_chain
from partoken.protein.facts.dictionary import describe_tokens
from partoken.protein.facts.gathering import gather, place_sites, read_residues
from partoken.protein.facts.model import describe_model, recorded_scores
from partoken.protein.facts.seen import SeenChain, watch_chains
from partoken.protein.facts.tables import TABLES, write_tables
from partoken.protein.model.importance import default_method
from partoken.protein.page.writer import MAX_BYTES, pack, write_page
from partoken.protein.run_chains import RunChains, open_run
from partoken.system.files import atomic_write
from partoken.system.skipped import write_skipped

__all__ = ["report_run"]

PAGE, FACTS = "index.html", "report.json"

_ROOM = MAX_BYTES - 1_500_000
"""Bytes of facts in a page; viewer, scripts and style need less than the rest."""
_PAGES = 100
"""Largest number of chains with a page: each takes one answer for each of its substructures."""


def report_run(
    given: str | os.PathLike[str],
    structures: Sequence[str | os.PathLike[str]] = (),
    sites: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> Iterator[str]:
    """Writes the report of a run, and yields lines for the user: `partoken report`.

    Arguments:
        given: A run folder, a checkpoint, or the name of weights that ship.
        structures: Files, folders, tar archives and globs of further chains.
        sites: CSV file with known residues, or `embedded`, see `read_sites`; None: there is none.
        out: Folder for the report; None: `report` in the run folder.
        device: Device of the network; None: a GPU if there is one.

    Raises:
        UserError: as for `open_run` and `read_sites`; `out` is a file, or it is missing and there is no run folder.
        OSError: a file cannot be written.
    """
    if out is not None:
        _check_folder(Path(out))
    known = {} if sites is None else read_sites(sites)
    run = open_run(given, structures, device)
    if out is None and run.folder is None:
        raise UserError(f"{given} lies in no run folder: name a folder for the report with --out DIR")
    folder = Path(run.folder or "", "report") if out is None else Path(out)
    facts, chains = gather_facts(run, known, os.fspath(given))
    folder.mkdir(parents=True, exist_ok=True)
    written = [*write_tables(folder, facts, chains), folder / FACTS]
    with atomic_write(written[-1]) as file:
        json.dump(facts, file, separators=(",", ":"), allow_nan=False)
    write_page(facts, folder / PAGE)
    yield from _summary(facts, known)
    yield f"written: {', '.join(map(str, [folder / PAGE, *written]))}"
    if run.skipped:
        write_skipped(folder / "skipped.csv", run.skipped)
        yield f"{len(run.skipped)} files or chains skipped, see {folder / 'skipped.csv'}"


def _check_folder(folder: Path) -> None:
    """Rejects a folder whose files a report would replace, unless they are of an earlier report."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file, and a report is a folder of files; name another folder")
    if not (folder / FACTS).exists() and (found := [name for name in (PAGE, *TABLES) if (folder / name).exists()]):
        raise UserError(f"--out {folder}: holds a {found[0]} that is of no report; name another folder")


def gather_facts(run: RunChains, known: Mapping[str, KnownSites], name: str) -> tuple[dict[str, Any], list[SeenChain]]:
    """Returns all facts of a report as plain values, see the manual's page on reports, and its chains.

    Arguments:
        run: The network and its chains.
        known: Known residues by id of the chain.
        name: The run, as the user gave it.

    Raises:
        UserError: known residues are not in their chain.
    """
    predictor, labels = run.predictor, list(run.predictor.labels.values())
    method = default_method(predictor.network)
    gathered = gather(run)
    sites = place_sites(run, gathered.chains, known)  # a mistake in the table is found before the work
    chains = watch_chains(predictor, gathered.chains, method, progress=True)
    summary = {} if run.folder is None else _read_json(run.folder / "summary.json")
    scores = recorded_scores(summary, labels) or shipped_scores(predictor.about)
    tested = [one for one in chains if one.given.split == "test"] or chains
    found = describe_found(chains, sites)
    codebook = predictor.network.codebook
    num_tokens = 0 if codebook is None else len(codebook.get_buffer("codes"))
    facts: dict[str, Any] = {
        "about": describe_report(name, labels, predictor.about, scores, method, gathered, found),
        "labels": [
            {"name": label.name, "classes": list(label.class_names), "multi_label": label.multi_label}
            for label in labels
        ],
        "chains": [_index_row(one) for one in chains],
        "details": {},
        "dictionary": describe_tokens(chains, num_tokens, list(predictor.labels)),
        "model": {
            "scores": scores,
            **describe_model(tested, labels),
            "checks": [] if run.folder is None else _checks(run.folder / "explain" / "explain.json"),
        },
    }
    _add_details(facts, run, chains, sites)
    return facts, chains


def _add_details(
    facts: dict[str, Any], run: RunChains, chains: Sequence[SeenChain], sites: Mapping[str, Sequence[int]]
) -> None:
    """Adds pages of chains as long as there is room, and says how they were chosen."""
    room = _ROOM - _size(facts)
    limit = f"a page of the report has at most {_PAGES} of them"
    order = order_chains(chains, next(iter(run.predictor.labels)), sites.keys())
    for one in tqdm(order[:_PAGES], unit=" chains", desc="deleting substructures"):
        chain, atoms = read_residues(run, one.backbone)
        details = describe_chain(run.predictor, one, chain, atoms, sites.get(chain.id))
        room -= len(pack(details))
        if room < 0:
            limit = "the file would be larger than 10 MB otherwise"
            break
        facts["details"][one.backbone.id] = details
        facts["chains"][one.place]["has_page"] = True
    facts["about"]["chosen"] = describe_choice(len(facts["details"]), chains, limit)


def _index_row(one: SeenChain) -> dict[str, Any]:
    answers = {
        label: {
            "label": answer.label,
            "confidence": round(answer.confidence, 4),
            "truth": one.given.truth.get(label),
            "right": one.is_right(label),
        }
        for label, answer in one.prediction.answers.items()
    }
    return {
        "id": one.backbone.id,
        "file": one.prediction.file,
        "split": one.given.split,
        "length": len(one.backbone),
        "answers": answers,
        "tokens": one.prediction.tokens,
        "has_page": False,
    }


def _summary(facts: Mapping[str, Any], known: Mapping[str, KnownSites]) -> Iterator[str]:
    """Yields lines on what the report has."""
    about, dictionary = facts["about"], facts["dictionary"]
    yield about["learned"]
    yield about["importance"]
    dead = sum(one["dead"] for one in dictionary)
    yield (
        f"{len(facts['chains']):,} chains, {len(facts['details']):,} of them with a page; "
        f"{len(dictionary) - dead:,} tokens in use, {dead:,} dead"
    )
    yield from filter(None, [about["left_out"], about["chosen"]])
    if known:
        found = len(known.keys() & {one["id"] for one in facts["chains"]})
        shown = sum(one["sites"] is not None for one in facts["details"].values())
        yield f"known sites: {found:,} of {len(known):,} chains of the table are in the report, {shown:,} with a page"


def _checks(path: Path) -> list[Any]:
    """Returns the tables that `partoken explain` left; []: there are none."""
    found = _read_json(path)
    return list(found.get("checks", []))


def _read_json(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file; {}: there is no such file, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _size(content: Any) -> int:
    """Returns the number of bytes of a value in a page."""
    return len(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode())
