"""Runs that start with the encoder that ships: model.init=pretrained."""

from dataclasses import replace

import pytest
import torch

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.protein.model import shipped
from partoken.protein.model.settings import NetworkSettings
from partoken.protein.model.shipped import choose_init
from partoken.protein.task import ParTokenTask
from partoken.system.checkpoint import read_checkpoint
from partoken.system.shipped import find_weights
from partoken.training import checks
from partoken.training.engine import carry_out
from partoken.training.settings import TrainSettings

PARTS = ("network.encoder.", "network.residue_type.", "network.feature_input.")


@pytest.fixture(scope="module")
def weights():
    return read_checkpoint(find_weights("enzymes"))


@pytest.fixture(scope="module")
def encoder(weights):
    """Overrides of the encoder that ships."""
    settings = weights["hyper_parameters"]
    keys = ("encoder", "node_h_dim", "num_layers", "num_neighbors", "seq_in")
    return [f"model.{key}={str(settings[key]).replace(' ', '')}" for key in keys]


SHORT = ("data.limit=24", "train.epochs=1", "train.batch_size=4", "trainer.limit_train_batches=2")
SHORT += ("trainer.limit_val_batches=1", "trainer.enable_progress_bar=false", "test=false", "model.partition=none")


def groups(*overrides):
    cfg = compose([*SHORT, *overrides])
    settings = {group: plain_group(cfg, group) for group in ("train", "trainer", "model", "data")}
    return {**settings, "test": False}


def of_encoder(checkpoint):
    return {name: value for name, value in checkpoint["state_dict"].items() if name.startswith(PARTS)}


@pytest.fixture(scope="module")
def run(encoder, tmp_path_factory):
    """The folder of a run on the frozen encoder that ships, and its settings."""
    folder = tmp_path_factory.mktemp("run")
    cache = f"data.cache_dir={tmp_path_factory.mktemp('cache')}"
    settings = groups(*encoder, "model.init=pretrained", "model.frozen_encoder=true", cache)
    carry_out(settings, folder)
    return folder, settings


def test_a_frozen_encoder_that_ships_stays_as_it_is(run, weights):
    last = of_encoder(read_checkpoint(run[0] / "checkpoints/last.ckpt"))
    given = of_encoder(weights)
    assert last.keys() == given.keys()
    assert all(torch.equal(last[name], given[name]) for name in given)


def test_weights_of_another_run_win_and_the_log_says_so(run, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(shipped, "load_shipped_encoder", lambda network: pytest.fail("loaded"))
    folder, settings = run
    source = str(folder / "checkpoints/last.ckpt")
    carry_out({**settings, "train": {**settings["train"], "weights_from": source}}, tmp_path)
    assert f"the weights come from {source}, not from the package" in caplog.text


def test_a_resumed_run_does_not_load_the_weights_that_ship_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(ParTokenTask, "begin", lambda *_: pytest.fail("loaded"))
    folder, settings = run
    train = {**settings["train"], "resume_from": str(folder / "checkpoints/last.ckpt")}
    assert carry_out({**settings, "train": train, "fit": False, "test": True}, tmp_path)["trained"] is False
    resumed = tmp_path / "resumed"
    resumed.mkdir()
    with pytest.raises(UserError, match="nothing is left to train"):
        carry_out({**settings, "train": train}, resumed)


def check(*overrides):
    settings = groups(*overrides)
    settings["data"] = {"_target_": "tests.unread.Unread"}
    checks.check_before_reading(TrainSettings.read(settings["train"]), settings)


@pytest.mark.parametrize("experiment", [(), ("experiment=pretrain",)], ids=["labels", "pretraining"])
def test_another_architecture_is_refused_before_data_is_read(encoder, experiment):
    fits = (*experiment, *encoder, "model.init=pretrained")
    check(*fits)
    with pytest.raises(UserError, match=r"model\.init=pretrained: .* than model\.num_neighbors=5; set "):
        check(*fits, "model.num_neighbors=5")


def test_the_weights_of_another_run_are_checked_instead_of_those_that_ship(run, tmp_path):
    torch.save(read_checkpoint(run[0] / "checkpoints/last.ckpt"), tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"train\.weights_from"):
        check("model.init=pretrained", "model.num_layers=2", f"train.weights_from={tmp_path}/other.ckpt")


def test_residue_features_are_refused_before_training(encoder):
    model = {key: value for key, value in groups(*encoder, "model.init=pretrained")["model"].items() if key[0] != "_"}
    data = {"class_names": ["a", "b"], "class_counts": {"train": [1, 1]}, "train_chains": 2, "multi_label": False}
    train = {"monitor": "val_loss", "monitor_mode": "min"}
    task = ParTokenTask(train=train, data={**data, "residue_features": {"width": 9}}, **model)
    with pytest.raises(UserError, match=r"data\.residue_features has 9 of each residue"):
        task.begin(None)


def test_by_default_an_encoder_of_another_architecture_is_trained_from_new_weights(caplog):
    fits = NetworkSettings(encoder="frames", node_h_dim=(96, 1), num_layers=1, num_neighbors=16, seq_in=True)
    assert choose_init(fits, "auto") == "pretrained" and not caplog.text
    with caplog.at_level("INFO"):
        assert choose_init(replace(fits, num_neighbors=8), "auto") == "random"
        assert choose_init(replace(fits, feature_width=3), "auto") == "random"
    assert "not for model.num_neighbors=8 (model.init=auto)" in caplog.text
    assert "not for data.residue_features (model.init=auto)" in caplog.text
    assert choose_init(replace(fits, num_neighbors=8), "pretrained") == "pretrained", "refused later, by name"


def test_weights_that_do_not_fit_are_not_blamed_on_how_the_encoder_starts(run, tmp_path):
    torch.save(read_checkpoint(run[0] / "checkpoints/last.ckpt"), tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"model\.num_layers: 1 there, 2 here") as caught:
        check("model.num_layers=2", f"train.weights_from={tmp_path}/other.ckpt")
    assert "model.init" not in str(caught.value) and "frozen_encoder" not in str(caught.value)


def test_an_installation_without_weights_trains_new_ones_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(shipped, "shipped_weights", dict)
    assert choose_init(NetworkSettings(), "auto") == "random"
    assert "this installation has none" in caplog.text


def test_a_checkpoint_is_refused_for_other_classes_of_the_same_number(run, tmp_path):
    folder, settings = run
    source = folder / "checkpoints/best.ckpt"
    other = {**settings["data"], "class_names": {"1": "first", "2": "second", "3": "third"}}
    train = {**settings["train"], "resume_from": str(source)}
    for fit, words in (
        (False, r"of other classes: mainly alpha, .* there, first, .* here"),
        (True, r"data\.class_names"),
    ):
        with pytest.raises(UserError, match=words):
            carry_out({**settings, "train": train, "data": other, "fit": fit, "test": not fit}, tmp_path)
