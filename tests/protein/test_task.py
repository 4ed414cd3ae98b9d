"""The Lightning task: steps that never wait, freezing, calibration, and the checkpoint."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.geometry.surroundings import surroundings
from partoken.protein.task import ParTokenTask
from tests.protein.tasks import SMALL, TRAIN, cpu_trainer, several, task

FREEZABLE = {
    "codebook": ("network.codebook",),
    "standardise": ("network.head.standardise",),
    "head": ("network.head",),
    "codes and head": ("network.codebook", "network.head"),
    "encoder": ("network.encoder",),
    "all but the head": ("network.encoder", "network.partitioner", "network.codebook", "network.from_code"),
}


def test_the_temperature_follows_the_epoch_and_is_saved():
    model = task(tau_init=1.0, tau_decay=0.5, tau_min=0.2)
    taus = []
    for epoch in range(4):
        model.network.set_epoch(epoch)
        taus.append(model.network.tau.item())
    assert taus == pytest.approx([1.0, 0.5, 0.25, 0.2])
    assert model.state_dict()["network.tau"].item() == pytest.approx(0.2)


class Waits(TorchDispatchMode):
    """Records the operations for which the processor would wait for a GPU, because it needs a value or a size."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masks = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2") or any(
            mask is not None and mask.dtype == torch.bool for mask in masks
        ):
            self.operations.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [{}, {"partition": "random", "pooling": "attention"}, {"partition": "none", "class_balance": 0.5}],
    ids=["learned", "random", "none"],
)
def test_a_training_step_never_waits_for_the_device(batch, options, quiet):
    model = task(coordinate_noise=0.1, **options)
    for _ in range(2):  # the first batches place the codes and check once that they are placed
        model.training_step(batch, 0)
    with Waits() as waits:
        model.training_step(batch, 0).backward()
    assert waits.operations == []


def test_a_step_that_reads_residues_by_attention_never_waits_for_the_device(batch, quiet):
    read = replace(batch, surroundings=surroundings(batch.coords, batch.ptr))
    model = task(coordinate_noise=0.1, residue_attention=True)
    for _ in range(2):
        model.training_step(read, 0)
    with Waits() as waits:
        model.training_step(read, 0).backward()
    assert waits.operations == []


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "not read"])
def test_the_data_module_adds_surroundings_only_if_the_network_reads_them(is_read, tmp_path, monkeypatch):
    data = embedded(limit=30, min_class_size=20, batch_size=4, cache_dir=str(tmp_path))
    model = task(residue_attention=is_read)
    monkeypatch.setattr(ParTokenTask, "trainer", SimpleNamespace(datamodule=data))
    model.on_fit_start()
    batch = next(iter(data.train_dataloader()))
    assert ("surroundings" in batch.inputs()) == is_read
    assert model(batch).logits.isfinite().all()


@pytest.mark.parametrize(
    ("key", "value"),
    [("class_balance", 2), ("lambda_vq", -1), ("max_clusters", 0), ("max_cluster", 4)],
)
def test_a_bad_setting_of_the_model_is_rejected_by_its_key(key, value):
    with pytest.raises(UserError, match=rf"model\.{key}"):
        task(**{key: value})


def test_data_without_labels_are_rejected():
    with pytest.raises(UserError, match=r"data\.unlabelled=true: this model learns labels"):
        ParTokenTask(train=TRAIN, data={"source": {}}, **SMALL)


def test_coordinates_are_noisy_in_training_only(batch, quiet):
    noises = []
    for noise in (0.0, 0.2):
        model = task(coordinate_noise=noise)
        model.network.register_forward_pre_hook(
            lambda _, args, inputs: noises.append(inputs["coords"] - batch.coords), with_kwargs=True
        )
        model.training_step(batch, 0)
        model(batch)
    trained, evaluated, trained_noisy, evaluated_noisy = (noise[~batch.coords.isnan()] for noise in noises)
    assert not trained.any() and not evaluated.any() and not evaluated_noisy.any()
    assert trained_noisy.std().item() == pytest.approx(0.2, rel=0.05)
    assert abs(trained_noisy.mean().item()) < 0.01


def test_evaluation_is_calibrated_on_the_latest_chains_once_after_training(batch, quiet, monkeypatch):
    monkeypatch.setattr("partoken.protein.task.CALIBRATION_CHAINS", 7)
    model = task()
    model.trainer = cpu_trainer()
    model.on_validation_start()  # before any training there is nothing to calibrate on
    assert not model.network.head.standardise.running_mean.any()
    for _ in range(5):
        model.training_step(batch, 0)
    assert len(model._latest) == 2  # 4 chains each
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(model.network, "calibrate", lambda batches: calls.append(list(batches)))
        model.on_validation_start()
        model.on_train_epoch_end()
    assert [len(batches) for batches in calls] == [2]
    assert all(torch.equal(inputs["coords"], batch.coords) for inputs in calls[0])
    model.training_step(batch, 0)
    model.on_train_epoch_end()
    network = model.network.eval()
    h, graph = network.embed(**batch.inputs())
    torch.testing.assert_close(network.head.standardise.running_mean, network.head.pool(h, graph).mean(0))


def train(model, batch, steps=3):
    """Trains some steps and evaluates in between, as the trainer does."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
        model.on_validation_start()


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("parts", FREEZABLE.values(), ids=FREEZABLE)
def test_a_frozen_part_keeps_parameters_codes_and_running_averages_while_the_rest_learns(batch, quiet, parts):
    model = task(codebook_decay=0.5, drop_rate=0.0)
    model.trainer = cpu_trainer()
    train(model, batch)
    model.freeze_parts(parts)
    before = snapshot(model)
    train(model, batch)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith(parts)]


def test_an_empty_freeze_lets_everything_learn_again(batch, quiet):
    model = task(codebook_decay=0.5, drop_rate=0.0)
    model.trainer = cpu_trainer()
    train(model, batch)
    model.freeze_parts(("network.codebook", "network.head"))
    model.freeze_parts(())
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = snapshot(model)
    train(model, batch)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"network.codebook.codes", "network.codebook.mean", "network.head.standardise.running_mean"} <= moved


def test_a_name_that_only_begins_like_a_part_is_not_frozen():
    model = task()
    model.freeze_parts(("network.code",))
    assert not model.network.codebook.frozen
    model.freeze_parts(("network",))
    assert model.network.codebook.frozen and model.network.head.standardise.frozen


def test_the_checkpoint_holds_flat_plain_settings_and_restores_the_answer(batch, tmp_path):
    model = task()
    assert set(model.hparams) == {"train", "data", *SMALL}
    torch.save({"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    again = ParTokenTask(**content["hyper_parameters"]).eval()
    again.load_state_dict(content["state_dict"])
    assert torch.equal(again(batch).logits, model.eval()(batch).logits)


def test_a_step_with_several_labels_never_waits_for_the_device(mixed, quiet):
    model = several(lambda_summary=1.0)
    for _ in range(2):
        model.training_step(mixed, 0)
    with Waits() as waits:
        model.training_step(mixed, 0).backward()
    assert waits.operations == []
