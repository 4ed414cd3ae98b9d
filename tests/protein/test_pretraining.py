"""The task of the pretraining: its loss, its evaluation, its baseline, and what later trainings take from it."""

import math

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.pretraining import MaskedResidueTask
from partoken.protein.task import ParTokenTask

TRAIN = {"batch_size": 4, "monitor": "val_loss", "monitor_mode": "min"}
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "seq_in": True, "drop_rate": 0.0}


@pytest.fixture(scope="module")
def batch():
    return next(iter(embedded(limit=30, unlabelled=True, batch_size=4).train_dataloader()))


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Makes a task run its steps without a trainer's log."""
    monkeypatch.setattr(MaskedResidueTask, "log_dict", lambda *_, **__: None)


def task(**options):
    torch.manual_seed(0)
    return MaskedResidueTask(train=TRAIN, data={}, **{**SMALL, "mask_fraction": 0.3, **options})


def evaluate(model, batch):
    model.eval()
    with torch.no_grad():
        model.test_step(batch, 0)
    model.on_test_epoch_end()
    return model.test_results


def test_a_new_network_knows_nothing_and_learns(batch):
    model = task()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(20), abs=0.3)
    assert losses[-1] < losses[0] - 0.2


def test_training_hides_the_asked_fraction_of_the_known_residues(batch, monkeypatch):
    model, counts = task(mask_fraction=0.25), []
    forward = model.network.forward

    def counted(*args, hidden, **kwargs):
        counts.append(hidden.sum().item())
        assert not (hidden & (batch.sequence == 20)).any()
        return forward(*args, hidden=hidden, **kwargs)

    monkeypatch.setattr(model.network, "forward", counted)
    for _ in range(4):
        model.training_step(batch, 0)
    assert len(set(counts)) > 1
    assert sum(counts) / 4 == pytest.approx(0.25 * len(batch.sequence), rel=0.1)


def test_a_network_without_types_predicts_every_residue(batch):
    results = evaluate(task(seq_in=False), batch)
    known = batch.coords[:, :3].isfinite().flatten(1).all(1) & (batch.sequence < 20)
    assert results["residues"] == known.sum()


def test_two_evaluations_hide_the_same_residues(batch):
    model = task()
    first, second = evaluate(model, batch), evaluate(model, batch)
    assert first["scores"] == second["scores"]
    assert first["residues"] == second["residues"] > 0


def test_the_baseline_answers_with_the_frequencies_of_the_training(batch):
    model = task(seq_in=False)
    model.training_step(batch, 0)
    known = batch.sequence[batch.coords[:, :3].isfinite().flatten(1).all(1) & (batch.sequence < 20)]
    frequency = (torch.bincount(known, minlength=20).double() + 1) / (len(known) + 20)
    baseline = evaluate(model, batch)["frequencies"]
    assert baseline["accuracy"] == pytest.approx((known == frequency.argmax()).double().mean().item())
    assert baseline["loss"] == pytest.approx(-frequency[known].log().mean().item())


def test_the_summary_counts_every_hidden_residue(batch):
    model = task()
    results = evaluate(model, batch)
    confusion = torch.tensor(model.summary()["matrices"]["residue_types"]["values"])
    assert confusion.sum() == results["residues"]
    assert confusion.diagonal().sum() / confusion.sum() == pytest.approx(results["scores"]["accuracy"])


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_moves_the_coordinates_in_training_alone(batch, noise):
    model = task(coordinate_noise=noise, mask_fraction=1.0)
    losses = {round(model.training_step(batch, 0).item(), 6) for _ in range(3)}
    assert len(losses) == (3 if noise else 1)
    assert len({evaluate(model, batch)["scores"]["loss"] for _ in range(2)}) == 1


DATA = {"class_names": ["a", "b"], "class_counts": {"train": [3, 5]}, "train_chains": 8, "multi_label": False}


def classifier(**options):
    torch.manual_seed(1)
    train = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
    return ParTokenTask(train=train, data=DATA, **{**SMALL, **options})


def content(model):
    return {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}


def test_a_classifier_starts_with_the_pretrained_encoder_and_a_head_of_its_own():
    pretrained, model = task(), classifier()
    head = {name: value.clone() for name, value in model.network.head.state_dict().items()}
    model.load_weights(content(pretrained))
    for part in ("encoder", "residue_type"):
        own, given = (getattr(task.network, part).state_dict() for task in (model, pretrained))
        assert all(torch.equal(own[name], given[name]) for name in given)
    assert all(torch.equal(value, head[name]) for name, value in model.network.head.state_dict().items())


def test_a_classifier_takes_everything_from_one_for_the_same_classes():
    trained, model = classifier(), classifier()
    trained.network.head.classify[0].weight.data += 1
    model.load_weights(content(trained))
    assert torch.equal(model.network.head.classify[0].weight, trained.network.head.classify[0].weight)


def test_a_classifier_takes_the_encoder_alone_from_one_for_other_classes():
    trained = classifier()
    other = content(trained)
    other["hyper_parameters"]["data"] = {**DATA, "class_names": ["c", "d"]}
    for value in trained.parameters():
        value.data += 1
    model = classifier()
    model.load_weights(other)
    assert torch.equal(model.network.residue_type.weight, trained.network.residue_type.weight)
    assert not torch.equal(model.network.head.classify[0].weight, trained.network.head.classify[0].weight)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"num_layers": 2}, "model.num_layers: 1 there, 2 here"), ({"seq_in": False}, "model.seq_in: True there")],
    ids=["layers", "types"],
)
def test_an_encoder_of_another_architecture_is_refused_by_its_settings(settings, named):
    with pytest.raises(UserError, match=named):
        classifier(**settings).load_weights(content(task()))
