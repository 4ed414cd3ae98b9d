"""The data report: leakage between splits, and its lines in the log."""

import numpy as np
import pytest

from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.assembly import ChainDataset
from partoken.protein.dataset.report import describe_report, find_one_type, measure_leakage

REPORT = {
    "files": 40,
    "chains_read": 1200,
    "chains_used": 1100,
    "residues_used": 250000,
    "chains": {"train": 800, "val": 150, "test": 150},
    "classes": ["mainly alpha", "mainly beta"],
    "class_counts": {"train": [500, 300], "val": [100, 50], "test": [90, 60]},
    "left_out": {
        "without_label": 3,
        "without_split": 0,
        "other_classes": {"special": 4},
        "skipped": {f"reason {i}": 9 - i for i in range(6)},
    },
    "cleaned": {"further models": 2},
    "leakage": {
        "val": {"compared": 150, "largest_identity": 0.62, "at_least_0.5": 7},
        "test": {"compared": 150, "largest_identity": 0.0, "at_least_0.5": 0},
    },
}


def test_the_lines_name_sizes_classes_losses_and_leakage():
    assert describe_report(REPORT) == [
        "data: 40 files, 1,100 of 1,200 chains, 250,000 residues (train 800, val 150, test 150)",
        "classes (train / val / test): mainly alpha (500 / 100 / 90), mainly beta (300 / 50 / 60)",
        "left out: chains without a label 3, of classes not learned 4",
        "cleaned: further models 2",
        "skipped, see skipped.csv: reason 0 (9), reason 1 (8), reason 2 (7), reason 3 (6), others (9)",
        "chains at 50% sequence identity or more to a training chain: "
        "val 7 of 150 (largest 0.62), test 0 of 150 (largest 0.00)",
    ]


def test_the_last_line_counts_chains_of_unseen_families():
    counts = {"val": {"seen": 99, "unseen": 50, "without": 1}, "test": {"seen": 0, "unseen": 150, "without": 0}}
    *others, last = describe_report(REPORT | {"families": counts})
    assert last == "chains of a family without training chains: val 50 of 149 (1 without a family), test 150 of 150"
    assert others == describe_report(REPORT)


def test_several_labels_have_a_line_each():
    lines = describe_report(
        REPORT
        | {
            "classes": {"cath": ["alpha", "beta"], "enzyme": ["no", "yes"]},
            "class_counts": {"cath": REPORT["class_counts"], "enzyme": {s: [1, 2] for s in ("train", "val", "test")}},
            "left_out": REPORT["left_out"] | {"other_classes": {"cath": {"special": 4}, "enzyme": {}}},
        }
    )
    assert lines[1:4] == [
        "cath, classes (train / val / test): alpha (500 / 100 / 90), beta (300 / 50 / 60); "
        "chains of classes not learned 4",
        "enzyme, classes (train / val / test): no (1 / 1 / 1), yes (2 / 2 / 2)",
        "left out: chains without a label 3",
    ]


def test_a_long_list_of_classes_is_shortened():
    names = [f"class {i}" for i in range(20)]
    counts = {split: [1] * 20 for split in ("train", "val", "test")}
    line = describe_report(REPORT | {"classes": names, "class_counts": counts})[1]
    assert "class 11 (1 / 1 / 1), and 8 more" in line and "class 12" not in line


@pytest.fixture
def datasets(chains):
    """Six training chains; validation holds a copy of the second one, test a shuffled sequence."""
    copy = Backbone("copy", chains[1].coords, chains[1].sequence)
    shuffled = np.random.default_rng(0).permutation(chains[7].sequence)
    stranger = Backbone("stranger", chains[7].coords, shuffled)
    store = ChainStore.of([*chains[:6], copy, stranger])
    rows = {"train": range(6), "val": [6], "test": [7]}
    return {split: ChainDataset(store, np.array(r), {"": np.zeros(len(r), np.int64)}) for split, r in rows.items()}


def test_a_copy_of_a_training_chain_is_reported_as_leakage(datasets, chains):
    leakage = measure_leakage(datasets)
    assert leakage["val"]["nearest"] == [["copy", chains[1].id, 1.0]]
    assert leakage["val"]["at_least_0.9"] == 1 and leakage["val"]["largest_identity"] == 1.0
    assert leakage["test"]["nearest"] == [] and leakage["test"]["at_least_0.3"] == 0


def test_chains_of_nearly_one_residue_type_are_found_and_have_a_line(datasets, chains):
    assert find_one_type(datasets) == []
    sequences = {"glycine": [5] * 50, "unknown": [20] * 50, "kept": [5] * 41 + list(range(9)), "natural": [5, 7] * 25}
    designs = [
        Backbone(name, np.resize(chains[0].coords, (50, 4, 3)), np.array(codes, np.uint8))
        for name, codes in sequences.items()
    ]
    designed = ChainDataset(ChainStore.of(designs), np.arange(4), {"": np.zeros(4, np.int64)})
    found = find_one_type({**datasets, "test": designed})
    assert found == ["glycine", "unknown", "kept"]
    assert describe_report(REPORT | {"one_residue_type": found})[4] == (
        "the sequence carries nothing in 3 chains, whose residues are nearly all of one type: glycine, unknown, kept"
    )
