"""The Lightning task: losses, freezing, calibration, the summary, and the checkpoint."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.geometry.surroundings import surroundings
from partoken.protein.task import ParTokenTask

TRAIN = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


@pytest.fixture(scope="module")
def batch():
    return next(iter(embedded(limit=30, min_class_size=20, batch_size=4).train_dataloader()))


def task(multi_label=False, **options):
    torch.manual_seed(0)
    data = {
        "class_names": ["a", "b", "c"],
        "class_counts": {"train": [5, 9, 2]},
        "train_chains": 16,
        "multi_label": multi_label,
    }
    return ParTokenTask(train=TRAIN, data=data, **{**SMALL, **options})


@pytest.fixture
def quiet(monkeypatch):
    """Makes a task run its steps without a trainer's log."""
    monkeypatch.setattr(ParTokenTask, "log_dict", lambda *_, **__: None)


def gradient(batch, **weights):
    model = task(drop_rate=0.0, **weights)
    model(batch)  # the first batch in training places the codes
    torch.manual_seed(1)
    loss, _ = model.loss(model(batch), batch.labels)
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("weight", ["lambda_vq", "lambda_ent", "lambda_psc", "lambda_summary"])
def test_every_weight_changes_the_gradient(batch, weight):
    none = {"lambda_vq": 0.0, "lambda_ent": 0.0, "lambda_psc": 0.0}
    assert not torch.allclose(gradient(batch, **none), gradient(batch, **{**none, weight: 1.0}), rtol=1e-3, atol=1e-7)


def test_the_loss_is_the_weighted_sum_of_its_terms(batch):
    model = task(lambda_vq=0.5, lambda_ent=2.0, lambda_psc=3.0, lambda_summary=4.0).eval()
    loss, terms = model.loss(model(batch), batch.labels)
    parts = terms["task"] + 0.5 * terms["vq"] + 2 * terms["entropy"] + 3 * terms["coverage"] + 4 * terms["summary"]
    assert loss.item() == pytest.approx(parts.item(), rel=1e-6)


def test_the_second_answer_teaches_the_encoder_and_leaves_the_partition_alone(batch):
    model = task(classify_from="substructures", drop_rate=0.0, lambda_summary=1.0)
    _, terms = model.loss(model(batch), batch.labels)
    terms["summary"].backward()
    taught = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"encoder", "head"}
    for off in ({"lambda_summary": 0.0}, {"lambda_summary": 1.0, "partition": "none"}):
        model = task(**off)
        assert "summary" not in model.loss(model(batch), batch.labels)[1]


def test_the_temperature_follows_the_epoch_and_is_saved():
    model = task(tau_init=1.0, tau_decay=0.5, tau_min=0.2)
    taus = []
    for epoch in range(4):
        model.network.set_epoch(epoch)
        taus.append(model.network.tau.item())
    assert taus == pytest.approx([1.0, 0.5, 0.25, 0.2])
    assert model.state_dict()["network.tau"].item() == pytest.approx(0.2)


def test_the_classes_start_from_their_frequencies():
    single = task()
    counts = torch.tensor(single.labels[0].class_counts["train"]) + 1.0
    bias = single.network.head.classify[-1].bias
    torch.testing.assert_close(bias.softmax(0), counts / counts.sum())
    multiple = task(multi_label=True)
    frequencies = counts / (multiple.labels[0].train_chains + 2)
    bias = multiple.network.head.classify[-1].bias
    torch.testing.assert_close(bias.sigmoid(), frequencies)


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


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_class_balance_weights_a_class_by_a_power_of_its_frequency(batch, balance):
    model = task(class_balance=balance)
    counts = torch.tensor(model.labels[0].class_counts["train"]) + 1.0
    weights = (counts.sum() / counts) ** balance
    torch.testing.assert_close(model.class_weights / model.class_weights[0], weights / weights[0])
    assert (model.class_weights * counts).sum().item() == pytest.approx(counts.sum().item())
    # The network starts at the minimum of the loss over answers that are the same for all chains.
    seen = weights * counts
    torch.testing.assert_close(model.network.head.classify[-1].bias.softmax(0), seen / seen.sum())
    output = model.eval()(batch)
    losses = -output.logits.log_softmax(1)[torch.arange(len(batch)), batch.labels[""]]
    expected = (losses * model.class_weights[batch.labels[""]]).mean()
    assert model.loss(output, batch.labels)[1]["task"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [("class_balance", 2), ("lambda_vq", -1), ("max_clusters", 0), ("max_cluster", 4)],
)
def test_a_bad_setting_of_the_model_is_rejected_by_its_key(key, value):
    with pytest.raises(UserError, match=rf"model\.{key}"):
        task(**{key: value})


def test_class_balance_is_rejected_if_a_chain_may_have_several_labels():
    with pytest.raises(UserError, match=r"model\.class_balance=0\.5: must be 0 with data\.multi_label=true"):
        task(multi_label=True, class_balance=0.5)


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


def cpu_trainer():
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


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
    summaries, *_ = model.network._collect_features([batch.inputs()])
    torch.testing.assert_close(model.network.head.standardise.running_mean, summaries[0].mean(0))


def test_several_labels_per_chain_have_a_binary_loss_and_no_confusion_matrix(batch):
    model = task(multi_label=True).eval()
    label = torch.zeros(len(batch), 3).scatter_(1, batch.labels[""][:, None], 1.0)
    output = model(batch)
    loss, terms = model.loss(output, {"": label})
    expected = torch.nn.functional.binary_cross_entropy(output.logits.sigmoid(), label)
    assert terms["task"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.requires_grad


FREEZABLE = {
    "codebook": ("network.codebook",),
    "standardise": ("network.head.standardise",),
    "head": ("network.head",),
    "codes and head": ("network.codebook", "network.head"),
    "encoder": ("network.encoder",),
    "all but the head": ("network.encoder", "network.partitioner", "network.codebook", "network.from_code"),
}


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


def summary_of(model, batch, label=None):
    """Returns the summary of a model that was tested on one batch."""
    model.trainer = cpu_trainer()
    batch = batch if label is None else replace(batch, labels={"": label})
    with torch.no_grad():
        model.eval().test_step(batch, 0)
    model.on_test_epoch_end()
    return model.summary()


def test_the_summary_follows_the_contract_of_a_domain(batch, quiet):
    summary = summary_of(task(), batch)
    assert set(summary["test"]) == {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    (name, baseline), *others = summary["baselines"].items()
    assert name == "always 'b'" and not others
    assert baseline["accuracy"] == (batch.labels[""] == 1).double().mean().item()
    used, substructures = summary["codebook"]["used_codes"], summary["partition"]["mean_count"]
    assert summary["facts"]["codebook"].startswith(f"{used} of 16 codes used, perplexity ")
    assert f"in {substructures:.1f} substructures of" in summary["facts"]["partition"]
    matrix = summary["matrices"]["confusion_matrix"]
    assert set(matrix) == {"title", "rows", "columns", "labels", "values"}
    assert matrix["labels"] == ["a", "b", "c"]
    assert sum(map(sum, matrix["values"])) == len(batch)


def test_the_summary_keeps_the_keys_that_users_read(batch, quiet):
    summary = summary_of(task(), batch)
    assert summary["majority"] == {"class": "b", **summary["baselines"]["always 'b'"]}
    assert summary["majority_accuracy"] == summary["majority"]["accuracy"]
    assert summary["confusion_matrix"] == summary["matrices"]["confusion_matrix"]["values"]
    assert summary["classes"] == ["a", "b", "c"]
    assert summary["class_counts"] == {"train": [5, 9, 2]}
    assert set(summary["codebook"]) == {"used_codes", "dead_codes", "perplexity"}
    assert set(summary["partition"]) == {"coverage", "mean_size", "mean_count"}


def test_the_summary_of_several_labels_compares_with_their_frequencies(batch, quiet):
    label = torch.zeros(len(batch), 3).scatter_(1, batch.labels[""][:, None], 1.0)
    summary = summary_of(task(multi_label=True), batch, label)
    assert set(summary["baselines"]) == {"their frequencies"}
    assert set(summary["baselines"]["their frequencies"]) == {"fmax", "accuracy", "macro_f1"}
    assert summary["matrices"] == {} and summary["confusion_matrix"] is None


def test_the_parts_alone_join_the_loss_with_their_weight(batch):
    torch.manual_seed(0)
    model = task(combine="sum", lambda_parts=0.5, lambda_vq=0.0, lambda_ent=0.0, lambda_psc=0.0).eval()
    output = model(batch)
    loss, terms = model.loss(output, batch.labels)
    alone = [
        torch.nn.functional.cross_entropy(model.network.head.prior + scores, batch.labels[""])
        for scores in output.contributions.values()
    ]
    torch.testing.assert_close(terms["parts"], torch.stack(alone).mean())
    torch.testing.assert_close(loss, terms["task"] + 0.5 * terms["parts"])


def test_the_parts_of_a_gate_have_no_answers_of_their_own():
    with pytest.raises(UserError, match=r"model\.lambda_parts=0\.5: a gate mixes .* set model\.combine=sum"):
        task(lambda_parts=0.5)
    task(lambda_parts=0.5, partition="none")


def test_the_summary_has_the_chains_of_unseen_families_apart(batch, quiet, monkeypatch):
    model = task()
    seen = torch.full((int(batch.index.max()) + 1,), -1, dtype=torch.int8)
    seen[batch.index] = torch.tensor([1, 0, 0, -1], dtype=torch.int8)
    data = SimpleNamespace(seen_families=lambda split: {"test": seen}[split])
    monkeypatch.setattr(ParTokenTask, "_datamodule", data)
    summary = summary_of(model, batch)
    rows = summary["tables"]["family"]
    right = model(batch).logits.argmax(1) == batch.labels[""]
    assert rows["seen: accuracy"]["chains"] == 1 and rows["unseen: accuracy"]["chains"] == 2
    assert rows["unseen: accuracy"]["model"] == right[1:3].double().mean().item()
    assert summary["test"] == summary_of(task(), batch)["test"], "the scores of all chains stay as they are"
    monkeypatch.setattr(ParTokenTask, "_datamodule", SimpleNamespace(seen_families=lambda split: None))
    assert "tables" not in summary_of(model, batch)


def test_the_summary_says_how_much_of_the_answers_came_from_each_part(batch, quiet):
    summary = summary_of(task(), batch)
    assert list(summary["parts"]) == ["substructures", "whole chain"]
    assert 0 < sum(part["share"] for part in summary["parts"].values()) <= 1 + 1e-5
    assert all(0 <= part["accuracy"] <= 1 for part in summary["parts"].values())
    assert "from the substructures (alone right for" in summary["facts"]["answer"]


def test_a_model_without_a_partition_has_no_facts_about_it(batch, quiet):
    facts = summary_of(task(partition="none"), batch)["facts"]
    assert list(facts) == ["answer"] and facts["answer"].startswith("100% from the whole chain")


def test_the_checkpoint_holds_flat_plain_settings_and_restores_the_answer(batch, tmp_path):
    model = task()
    assert set(model.hparams) == {"train", "data", *SMALL}
    torch.save({"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}, tmp_path / "x.ckpt")
    content = torch.load(tmp_path / "x.ckpt", weights_only=True)
    again = ParTokenTask(**content["hyper_parameters"]).eval()
    again.load_state_dict(content["state_dict"])
    assert torch.equal(again(batch).logits, model.eval()(batch).logits)


SEVERAL = {
    "fold": {"class_names": ["a", "b", "c"], "class_counts": {"train": [5, 9, 2]}, "train_chains": 16, "weight": 3.0},
    "kind": {"class_names": ["u", "v"], "class_counts": {"train": [4, 1]}, "train_chains": 5, "weight": 1.0},
    "site": {"class_names": ["x", "y"], "class_counts": {"train": [6, 2]}, "train_chains": 7, "weight": 0.0},
}
NAN = float("nan")


def several(**options):
    torch.manual_seed(0)
    labels = {name: {**label, "multi_label": name == "site"} for name, label in SEVERAL.items()}
    return ParTokenTask(train=TRAIN, data={"labels": labels}, **{**SMALL, **options})


@pytest.fixture
def mixed(batch):
    """Four chains: three have a fold, one a kind, two sites."""
    labels = {
        "fold": torch.tensor([0, -1, 2, 1]),
        "kind": torch.tensor([-1, -1, 1, -1]),
        "site": torch.tensor([[1.0, 0.0], [NAN, NAN], [0.0, 0.0], [NAN, NAN]]),
    }
    return replace(batch, labels=labels)


def test_the_loss_of_several_labels_is_the_weighted_mean_of_their_means_over_labelled_chains(mixed):
    model = several().eval()
    output = model(mixed)
    fold, kind, site = output.logits.split([3, 2, 2], 1)
    cross_entropy = torch.nn.functional.cross_entropy
    known = [0, 2, 3]
    expected = {
        "fold_loss": cross_entropy(fold[known], torch.tensor([0, 2, 1])),
        "kind_loss": cross_entropy(kind[[2]], torch.tensor([1])),
        "site_loss": torch.nn.functional.binary_cross_entropy_with_logits(site[[0, 2]], mixed.labels["site"][[0, 2]]),
    }
    _, terms = model.loss(output, mixed.labels)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(terms["task"], 0.75 * expected["fold_loss"] + 0.25 * expected["kind_loss"])


def test_a_label_that_no_chain_of_the_batch_has_adds_nothing(mixed):
    model = several().eval()
    mixed.labels["kind"] = torch.full((4,), -1)
    loss, terms = model.loss(model(mixed), mixed.labels)
    assert terms["kind_loss"] == 0 and torch.isfinite(loss)
    terms["task"].backward()
    gradient = model.network.head.classify[-1].bias.grad
    assert gradient[:3].all() and not gradient[3:].any() and torch.isfinite(gradient).all()


def test_a_single_label_has_the_weights_of_the_network_and_the_loss_of_a_list_of_one(batch):
    single = task()
    torch.manual_seed(0)
    listed = ParTokenTask(train=TRAIN, data={"labels": {"fold": dict(single.hparams["data"])}}, **SMALL)
    for name, value in single.state_dict().items():
        assert torch.equal(value, listed.state_dict()[name]), name
    loss, _ = single.eval().loss(single(batch), batch.labels)
    assert torch.equal(loss, listed.eval().loss(listed(batch), {"fold": batch.labels[""]})[0])


def test_every_label_starts_from_its_own_frequencies():
    bias = several().network.head.classify[-1].bias
    torch.testing.assert_close(bias[:3].softmax(0), torch.tensor([6.0, 10.0, 3.0]) / 19)
    torch.testing.assert_close(bias[3:5].softmax(0), torch.tensor([5.0, 2.0]) / 7)
    torch.testing.assert_close(bias[5:].sigmoid(), torch.tensor([7.0, 3.0]) / 9)


def test_a_step_with_several_labels_never_waits_for_the_device(mixed, quiet):
    model = several(lambda_summary=1.0)
    for _ in range(2):
        model.training_step(mixed, 0)
    with Waits() as waits:
        model.training_step(mixed, 0).backward()
    assert waits.operations == []


def test_the_validation_loss_does_not_depend_on_which_chains_are_in_one_batch(mixed, quiet):
    model = several(partition="none").eval()
    expected, _ = model.loss(model(mixed), mixed.labels)
    with torch.no_grad():
        for part in (slice(0, 2), slice(2, 4)):
            start, stop = mixed.ptr[part.start], mixed.ptr[part.stop]
            half = replace(
                mixed,
                coords=mixed.coords[start:stop],
                sequence=mixed.sequence[start:stop],
                ptr=mixed.ptr[part.start : part.stop + 1] - start,
                labels={name: label[part] for name, label in mixed.labels.items()},
                ids=mixed.ids[part],
            )
            model.validation_step(half, 0)
    assert model._compute_results()["scores"]["loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_the_summary_of_several_labels_has_scores_that_the_task_names_before_the_training(mixed, quiet):
    model = several().eval()
    model.trainer = cpu_trainer()
    with torch.no_grad():
        model.test_step(mixed, 0)
    model.on_test_epoch_end()
    summary = model.summary()
    known = ParTokenTask.metrics_of({"data": {"label_columns": list(SEVERAL)}})
    assert {f"test_{name}" for name in summary["test"]} <= set(known)
    assert {"fold_accuracy", "kind_macro_f1", "site_fmax", "accuracy", "macro_f1", "loss"} <= set(summary["test"])
    assert {"train_fold_loss", "val_kind_loss"} <= set(known) and "val_fmax" not in known
    assert ParTokenTask.metrics_of({"data": {"label_columns": None}}) == ParTokenTask.metrics


def test_class_balance_is_rejected_by_the_label_whose_chains_may_have_several_classes():
    with pytest.raises(UserError, match=r"must be 0 with data\.label_columns\.site\.multi_label=true"):
        several(class_balance=0.5)
