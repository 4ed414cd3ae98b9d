"""Chains of families that training never saw: their marks, their counts, and what the sources read."""

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.catalog import embedded, folder
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.assembly import ChainDataset
from partoken.protein.dataset.families import count_families, mark_seen
from tests.protein.structures import pdb_text

SUPERFAMILY = {"column": "cath", "depth": 4, "first": True}


@pytest.fixture
def datasets(chains):
    rows = {"train": [5, 0], "val": [1, 2], "test": [3, 4, 6]}
    store = ChainStore.of(chains[:7])
    return {split: ChainDataset(store, np.array(r), {"": np.full(len(r), -1)}) for split, r in rows.items()}


def test_a_family_is_seen_if_a_training_chain_is_of_it(datasets):
    families = {0: "f", 1: "f", 2: "g", 4: "f", 6: "h"}
    marks = mark_seen(families, datasets)
    assert {split: m.tolist() for split, m in marks.items()} == {"train": [-1, 1], "val": [1, 0], "test": [-1, 1, 0]}
    assert count_families(families, datasets) == {
        "val": {"seen": 1, "unseen": 1, "without": 0},
        "test": {"seen": 1, "unseen": 1, "without": 1},
    }


def test_the_marks_of_the_embedded_chains_are_those_of_a_plain_count():
    data = embedded(min_class_size=20, family=SUPERFAMILY)
    cells = data.collection.store.columns["cath"]
    of = {split: [cells[row].split(";")[0] for row in data.dataset(split).rows] for split in ("train", "test")}
    marks = data.seen_families("test")
    assert marks.tolist() == [-1 if not family else int(family in of["train"]) for family in of["test"]]
    assert {0, 1} <= set(marks.tolist())


def test_the_report_counts_the_chains_in_use():
    data = embedded(min_class_size=20, family=SUPERFAMILY, limit=60)
    marks = data.seen_families("test")
    counts = data.report()["families"]["test"]
    assert counts["unseen"] == (marks == 0).sum() > 0 and sum(counts.values()) == len(data.dataset("test"))
    assert f"test {counts['unseen']} of {int((marks >= 0).sum())}" in data.describe()[-1]


def test_without_a_column_there_are_no_families():
    data = embedded(limit=40, min_class_size=20)
    assert data.seen_families("test") is None
    assert "families" not in data.report() and "family" not in data.describe()[-1]


@pytest.fixture
def read(tmp_path, chains):
    """Makes the data module of a folder of three chains with two families."""
    (tmp_path / "one.pdb").write_text(pdb_text(chains[0], chains[1]))
    (tmp_path / "two.pdb").write_text(pdb_text(chains[2]))
    table = tmp_path / "labels.csv"
    table.write_text("id,label,family\none_A,a,f.1\none_B,b,\ntwo,b,g.2\n")
    return lambda **options: folder(str(tmp_path), str(table), cache_dir=str(tmp_path / "cache"), **options)


def test_a_missing_column_is_an_error_that_lists_those_of_the_table(read):
    message = r"data\.family\.column=famil: no such column in .*labels.csv, which has id, label, family\. Did you mean"
    with pytest.raises(UserError, match=message):
        read(family={"column": "famil", "depth": 1}).setup("fit")


def test_unlabelled_chains_need_no_column_of_families(read):
    assert read(family="nothing", unlabelled=True).collection.families is None


def test_a_folder_has_the_families_of_its_table(read):
    data = read(family={"column": "family", "depth": 1})
    ids = data.collection.store.ids
    assert {ids[row]: family for row, family in data.collection.families.items()} == {"one_A": "f", "two": "g"}
