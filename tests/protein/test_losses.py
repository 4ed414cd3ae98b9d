"""The loss: its terms and weights, the balance of classes, and several labels with gaps."""

from dataclasses import replace

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.task import ParTokenTask
from tests.protein.tasks import SMALL, TRAIN, several, task


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


def test_the_classes_start_from_their_frequencies():
    single = task()
    counts = torch.tensor(single.labels[0].class_counts["train"]) + 1.0
    bias = single.network.head.classify[-1].bias
    torch.testing.assert_close(bias.softmax(0), counts / counts.sum())
    multiple = task(multi_label=True)
    frequencies = counts / (multiple.labels[0].train_chains + 2)
    bias = multiple.network.head.classify[-1].bias
    torch.testing.assert_close(bias.sigmoid(), frequencies)


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


def test_class_balance_is_rejected_if_a_chain_may_have_several_labels():
    with pytest.raises(UserError, match=r"model\.class_balance=0\.5: must be 0 with data\.multi_label=true"):
        task(multi_label=True, class_balance=0.5)


def test_several_labels_per_chain_have_a_binary_loss_and_no_confusion_matrix(batch):
    model = task(multi_label=True).eval()
    label = torch.zeros(len(batch), 3).scatter_(1, batch.labels[""][:, None], 1.0)
    output = model(batch)
    loss, terms = model.loss(output, {"": label})
    probability = output.logits.sigmoid()
    likelihood = torch.where(label == 1, probability, 1 - probability).prod(1)
    expected = -likelihood.log().mean()
    assert terms["task"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss.requires_grad


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


def test_a_second_answer_from_a_summary_that_no_classifier_reads_is_refused():
    with pytest.raises(UserError, match=r"model\.lambda_summary=0\.1: .* set model\.classify_from=both"):
        task(combine="sum", classify_from="substructures", lambda_summary=0.1)
    task(combine="sum", lambda_summary=0.1)


def test_the_loss_of_several_labels_is_the_weighted_mean_of_their_means_over_labelled_chains(mixed):
    model = several().eval()
    output = model(mixed)
    fold, kind, site = output.logits.split([3, 2, 2], 1)
    cross_entropy = torch.nn.functional.cross_entropy
    known = [0, 2, 3]
    expected = {
        "fold_loss": cross_entropy(fold[known], torch.tensor([0, 2, 1])),
        "kind_loss": cross_entropy(kind[[2]], torch.tensor([1])),
        "site_loss": 2  # classes, over which the losses of a chain are summed
        * torch.nn.functional.binary_cross_entropy_with_logits(site[[0, 2]], mixed.labels["site"][[0, 2]]),
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


def test_class_balance_is_rejected_by_the_label_whose_chains_may_have_several_classes():
    with pytest.raises(UserError, match=r"must be 0 with data\.label_columns\.site\.multi_label=true"):
        several(class_balance=0.5)


def test_a_chain_counts_in_the_loss_as_often_as_its_weight(batch):
    model = task().eval()
    output = model(batch)
    weights = torch.linspace(0.5, 2, len(batch))
    losses = torch.nn.functional.cross_entropy(output.logits, batch.labels[""], reduction="none")
    terms = model.loss(output, batch.labels, None, weights)[1]
    assert terms["task"].item() == pytest.approx((losses * weights).mean().item(), rel=1e-5)


def test_the_training_uses_the_weights_of_the_chains_and_the_validation_does_not(batch, monkeypatch):
    model = task().eval()
    monkeypatch.setattr(model, "log_training", lambda *arguments: None)
    weighted = replace(batch, weights=torch.linspace(0.5, 2, len(batch)))
    assert model.training_step(weighted, 0).item() != pytest.approx(model.training_step(batch, 0).item())
    model.validation_step(weighted, 0)
    model.validation_step(batch, 0)
    first, second = model._evaluated
    assert torch.equal(first["other_terms"], second["other_terms"])
