"""The data module of the embedded chains: classes, splits, loaders, report, and the contract with the engine."""

import inspect
import json

import numpy as np
import pytest
import torch

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.training.domain import DataModule

CATH_NAMES = ["mainly alpha", "mainly beta", "alpha beta"]


@pytest.fixture(scope="module")
def data():
    module = embedded(min_class_size=20, batch_size=16)
    module.setup("fit")
    return module


def test_the_classes_and_splits_of_the_embedded_chains_are_the_documented_ones(data):
    assert data.class_names == CATH_NAMES and data.num_classes == 3
    assert data.class_counts == {"train": [125, 96, 343], "val": [26, 20, 58], "test": [20, 29, 64]}
    assert data.majority_accuracy == 64 / 113
    enzymes = embedded("ec_top")
    assert [sum(counts) for counts in enzymes.class_counts.values()] == [469, 104, 104]


def test_the_embedded_coordinates_have_the_bond_lengths_of_a_backbone(data):
    for chain in data.collection.store.read(range(0, 905, 50)):
        n, ca, c, o = chain.coords.transpose(1, 0, 2)
        for first, second, length in ((n, ca, 1.46), (ca, c, 1.525), (c, o, 1.23)):
            bond = np.linalg.norm(first - second, axis=-1)
            assert abs(np.nanmedian(bond) - length) < 0.02
        assert np.isfinite(chain.coords).any()


def test_no_chain_is_in_two_splits(data):
    ids = [set(data.dataset(split).ids) for split in ("train", "val", "test")]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 781


def test_the_loaders_give_every_chain_with_its_label(data):
    assert len(data.train_dataloader()) == data.num_train_batches(1) == 36
    for split in ("train", "val", "test"):
        dataset, loader = data.dataset(split), getattr(data, f"{split}_dataloader")()
        seen = []
        for batch in loader:
            seen += batch.index.tolist()
            assert torch.equal(batch.labels[""], dataset.labels[""][batch.index])
            assert batch.ids == tuple(dataset.ids[i] for i in batch.index)
            assert batch.ptr[-1] == len(batch.coords) == len(batch.sequence)
        assert sorted(seen) == list(range(len(dataset)))


def test_worker_processes_load_the_same_batches(data):
    with_worker = embedded(min_class_size=20, batch_size=16, num_workers=1)
    for one, two in zip(data.val_dataloader(), with_worker.val_dataloader(), strict=True):
        assert one.ids == two.ids and torch.equal(one.coords, two.coords)


def test_a_limit_keeps_chains_of_every_split_and_class():
    few = embedded(min_class_size=20, limit=30)
    assert 27 <= sum(map(sum, few.class_counts.values())) <= 33
    assert all(min(counts) > 0 for counts in few.class_counts.values())


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(max_residues_per_batch=0), "data.max_residues_per_batch=0"),
        (dict(label_column="cath_clas"), "Did you mean cath_class"),
        (dict(classes=["1", "9"]), "no chain has the class 9"),
        (dict(classes=["1"]), "at least two classes"),
        (dict(limit=3), "no training chain has the class .* data.limit=3 may be too small"),
        (dict(split="random", fractions=(0.9, 0.1, 0.0)), "the split test has no chain"),
    ],
)
def test_data_that_cannot_be_used_are_an_error_that_names_the_cause(options, message):
    with pytest.raises(UserError, match=message):
        embedded(**options).setup("fit")


def test_multi_label_targets_are_zeros_and_ones():
    data = embedded("cath", label_depth=1, multi_label=True, min_class_size=20)
    assert data.class_names == CATH_NAMES
    batch = next(iter(data.val_dataloader()))
    assert batch.labels[""].dtype == torch.float32 and batch.labels[""].shape == (8, 3)
    assert set(batch.labels[""].unique().tolist()) <= {0.0, 1.0} and (batch.labels[""].sum(1) >= 1).all()
    assert sum(data.class_counts["val"]) == int(data.dataset("val").labels[""].sum())


def test_enzyme_classes_have_names():
    names = "oxidoreductase transferase hydrolase lyase isomerase ligase translocase".split()
    assert embedded("ec_top").class_names == names
    assert embedded("ec", label_depth=1, min_class_size=20).class_names == names


def test_classes_are_chosen_by_label_or_name_and_keep_the_order_of_the_labels():
    by_label, by_name = embedded(classes=[1, 2]), embedded(classes=["mainly beta", "mainly alpha"])
    assert by_label.class_names == by_name.class_names == CATH_NAMES[:2]
    assert torch.equal(by_label.dataset("train").labels[""], by_name.dataset("train").labels[""])


def test_names_of_the_user_appear_everywhere(tmp_path):
    data = embedded(class_names={1: "helices"}, min_class_size=20, limit=60)
    names = ["helices", "mainly beta", "alpha beta"]
    assert data.class_names == data.settings()["class_names"] == names
    data.write_report(tmp_path)
    report = json.loads((tmp_path / "data_report.json").read_text())
    assert report["classes"] == names
    assert report["left_out"]["other_classes"] == {"few secondary structures": 10, "special": 4}
    assert any("helices (" in line for line in data.describe())


def test_names_do_not_change_class_numbers(data):
    renamed = embedded(class_names={1: "z", 2: "y", 3: "x"}, min_class_size=20)
    assert renamed.class_names == ["z", "y", "x"]
    for split in ("train", "val", "test"):
        assert torch.equal(renamed.dataset(split).labels[""], data.dataset(split).labels[""])


def test_the_batches_of_an_epoch_are_counted_for_each_device():
    data = embedded(min_class_size=20, batch_size=16, epochs_per_pass=3)
    assert [data.num_train_batches(world_size) for world_size in (1, 2)] == [12, 6]


def test_the_data_module_follows_the_contract_with_the_engine():
    contract = [name for name in vars(DataModule) if not name.startswith("_")]
    assert "num_train_batches" in contract
    for name in contract:
        expected = inspect.signature(getattr(DataModule, name)).parameters
        assert inspect.signature(getattr(ProteinDataModule, name)).parameters.keys() == expected.keys(), name


def test_prepare_data_downloads_what_the_source_needs():
    calls = []
    data = ProteinDataModule(lambda: None, provenance={}, download=lambda: calls.append("download"))
    data.prepare_data()
    assert calls == ["download"]


def test_several_labels_are_in_the_settings_the_report_and_the_log(tmp_path):
    labels = {"enzyme": None, "fold": {"column": "cath", "depth": 1, "weight": 3}}
    data = embedded(label_columns=labels, min_class_size=20, limit=90)
    settings = data.settings()
    assert set(settings) == {"labels", "residue_features", "source"}
    assert settings["source"]["label_columns"]["fold"] == {"column": "cath", "depth": 1}
    fold = settings["labels"]["fold"]
    assert fold["class_names"] == CATH_NAMES and fold["weight"] == 3.0 and not fold["multi_label"]
    assert fold["train_chains"] == sum(fold["class_counts"]["train"]) < len(data.dataset("train"))
    data.write_report(tmp_path)
    report = json.loads((tmp_path / "data_report.json").read_text())
    assert report["classes"]["enzyme"] == ["no enzyme", "enzyme"]
    assert report["class_counts"] == {name: label["class_counts"] for name, label in settings["labels"].items()}
    lines = data.describe()
    assert lines[1].startswith("enzyme, classes") and lines[2].startswith("fold, classes")
    assert lines[-1] == "several labels are learned, data.label_columns; data.label_column is not used"


def test_a_missing_column_of_several_is_an_error_that_names_its_label():
    with pytest.raises(
        UserError, match=r"data\.label_columns\.enzym\.column=enzym: no such column .*Did you mean enzyme\?"
    ):
        embedded(label_columns=["ec_top", "enzym"]).setup("fit")
