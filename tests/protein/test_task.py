"""The losses that are trained on, and what is said of the model afterwards."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.task import ParTokenTask

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


@pytest.fixture(scope="module")
def batch():
    return next(iter(embedded(limit=30, min_class_size=20, batch_size=4).train_dataloader()))


def task(several=False, **options):
    torch.manual_seed(0)
    names = ["a", "b", "c"]
    data = {"class_names": names, "class_counts": {"train": [5, 9, 2]}, "train_chains": 16, "multi_label": several}
    return ParTokenTask(train={"batch_size": 4}, data=data, **{**SMALL, **options})


def gradient(batch, **weights):
    model = task(drop_rate=0.0, **weights)
    model(batch)  # the first batch in training places the codes
    torch.manual_seed(1)
    loss, _ = model.loss(model(batch), batch.label)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("weight", ["lambda_vq", "lambda_ent", "lambda_psc", "lambda_summary"])
def test_every_weight_changes_the_gradient(batch, weight):
    none = {"lambda_vq": 0.0, "lambda_ent": 0.0, "lambda_psc": 0.0}
    assert not torch.allclose(gradient(batch, **none), gradient(batch, **{**none, weight: 1.0}), rtol=1e-3, atol=1e-7)


def test_the_loss_is_the_weighted_sum_of_its_terms(batch):
    model = task(lambda_vq=0.5, lambda_ent=2.0, lambda_psc=3.0, lambda_summary=4.0).eval()
    loss, terms = model.loss(model(batch), batch.label)
    parts = terms["task"] + 0.5 * terms["vq"] + 2 * terms["entropy"] + 3 * terms["coverage"] + 4 * terms["summary"]
    assert loss.item() == pytest.approx(parts.item(), rel=1e-6)


def test_the_second_answer_teaches_the_encoder_and_leaves_the_partition_alone(batch):
    model = task(classify_from="substructures", drop_rate=0.0, lambda_summary=1.0)
    _, terms = model.loss(model(batch), batch.label)
    terms["summary"].backward()
    taught = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"encoder", "head"}
    for off in ({"lambda_summary": 0.0}, {"lambda_summary": 1.0, "partition": "none"}):
        model = task(**off)
        assert "summary" not in model.loss(model(batch), batch.label)[1]


def test_the_temperature_follows_the_epoch_and_is_saved():
    model = task(tau_init=1.0, tau_decay=0.5, tau_min=0.2)
    taus = []
    for epoch in range(4):
        model.network.set_epoch(epoch)
        taus.append(model.network.tau.item())
    assert taus == pytest.approx([1.0, 0.5, 0.25, 0.2])
    assert model.state_dict()["network.tau"].item() == pytest.approx(0.2)


def test_the_classes_start_from_their_frequencies():
    one, several = task(), task(several=True)
    counts = torch.tensor(one.class_counts["train"]) + 1.0
    torch.testing.assert_close(one.network.head.classify[-1].bias.softmax(0), counts / counts.sum())
    share = (torch.tensor(several.class_counts["train"]) + 1.0) / (several.train_chains + 2)
    torch.testing.assert_close(several.network.head.classify[-1].bias.sigmoid(), share)


class Waits(TorchDispatchMode):
    """Records the operations for which the processor would wait for a GPU: their result's value or size is needed."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        masks = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2") or any(
            mask is not None and mask.dtype == torch.bool for mask in masks
        ):
            self.found.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [{}, {"partition": "random", "pooling": "attention"}, {"partition": "none", "class_balance": 0.5}],
    ids=["learned", "random", "none"],
)
def test_a_training_step_never_waits_for_the_device(batch, options, monkeypatch):
    model = task(coordinate_noise=0.1, **options)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    for _ in range(2):  # the first batches place the codes and look once whether they are placed
        model.training_step(batch, 0)
    with Waits() as waits:
        model.training_step(batch, 0).backward()
    assert waits.found == []


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_rare_classes_count_for_as_much_as_the_balance_says(batch, balance):
    model = task(class_balance=balance)
    counts = torch.tensor(model.class_counts["train"]) + 1.0
    weights = (counts.sum() / counts) ** balance
    torch.testing.assert_close(model.class_weights / model.class_weights[0], weights / weights[0])
    assert (model.class_weights * counts).sum().item() == pytest.approx(counts.sum().item())
    # The network starts where the loss is least for an answer that is the same for all chains.
    seen = weights * counts
    torch.testing.assert_close(model.network.head.classify[-1].bias.softmax(0), seen / seen.sum())
    output = model.eval()(batch)
    each = -output.logits.log_softmax(1)[torch.arange(len(batch)), batch.label]
    expected = (each * model.class_weights[batch.label]).mean()
    assert model.loss(output, batch.label)[1]["task"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_balance_that_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"model\.class_balance is 2"):
        task(class_balance=2)
    with pytest.raises(UserError, match=r"data\.multi_label=true"):
        task(several=True, class_balance=0.5)


def test_coordinates_are_noisy_while_training_alone(batch, monkeypatch):
    seen = []
    for noise in (0.0, 0.2):
        model = task(coordinate_noise=noise)
        monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
        model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] - batch.coords))
        model.training_step(batch, 0)
        model(batch)
    still, still_again, noisy, evaluated = (moved[~batch.coords.isnan()] for moved in seen)
    assert not still.any() and not still_again.any() and not evaluated.any()
    assert noisy.std().item() == pytest.approx(0.2, rel=0.05) and abs(noisy.mean().item()) < 0.01


@pytest.mark.parametrize("key", ["lambda_vq", "lambda_ent", "lambda_psc", "lambda_summary", "coordinate_noise"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "much", None, True])
def test_a_weight_or_noise_that_cannot_be_is_refused(key, value):
    with pytest.raises(UserError, match=rf"model\.{key} is {value!r}, but must be a number of at least 0"):
        task(**{key: value})


def test_evaluation_is_calibrated_on_the_latest_chains_once_after_training(batch, monkeypatch):
    monkeypatch.setattr("partoken.protein.task.CALIBRATION_CHAINS", 7)
    model = task()
    model.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(model, "log_dict", lambda *_, **__: None)
    model.on_validation_start()  # nothing was trained yet: nothing to calibrate on
    assert not model.network.head.standardise.running_mean.any()
    for _ in range(5):
        model.training_step(batch, 0)
    assert len(model._recent) == 2  # 4 chains each
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(model.network, "calibrate", lambda batches: seen.append(list(batches)))
        model.on_validation_start()
        model.on_train_epoch_end()
    assert [len(batches) for batches in seen] == [2]
    assert all(torch.equal(coords, batch.coords) for coords, *_ in seen[0])
    model.training_step(batch, 0)
    model.on_train_epoch_end()
    summaries = model.network._survey([(batch.coords, batch.ptr)])[0]
    torch.testing.assert_close(model.network.head.standardise.running_mean, summaries.mean(0))


def test_several_labels_a_chain(batch):
    model = task(several=True).eval()
    label = torch.zeros(len(batch), 3).scatter_(1, batch.label[:, None], 1.0)
    output = model(batch)
    loss, terms = model.loss(output, label)
    expected = torch.nn.functional.binary_cross_entropy(output.logits.sigmoid(), label)
    assert terms["task"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.requires_grad
    scores, confusion = model._score(output.logits, label)
    assert set(scores) == {"fmax", "accuracy", "macro_f1"}
    assert confusion is None


def test_the_checkpoint_holds_plain_values(batch, tmp_path):
    model = task()
    torch.save({"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    again = ParTokenTask(**content["hyper_parameters"]).eval()
    again.load_state_dict(content["state_dict"])
    assert torch.equal(again(batch).logits, model.eval()(batch).logits)
