"""What the summary of a run says of the test."""

from dataclasses import replace
from types import SimpleNamespace

import torch

from partoken.protein.task import ParTokenTask
from tests.protein.tasks import SEVERAL, cpu_trainer, several, task


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
