"""Residue importance: against finite differences of a plain form, batch mates, rotation, missing residues, cost."""

import pytest
import torch
import torch.nn.functional as F

from partoken.errors import UserError
from partoken.protein.chains.batch import collate
from partoken.protein.geometry.surroundings import surroundings
from partoken.protein.model.importance import METHODS, explain, log_odds
from partoken.protein.model.labels import LearnedLabel
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {"num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 8, "nhid": 8, "seq_in": True}
FRAMES = {**SMALL, "encoder": "frames", "node_h_dim": (16, 1), "partition": "elements", "tokens_from": "features"}
GVP = {**SMALL, "encoder": "gvp", "node_h_dim": (12, 2), "edge_h_dim": (8, 1), "partition": "none", "max_clusters": 1}
NETWORKS = {
    "gate": {**FRAMES, "combine": "gate"},
    "substructures alone": {**FRAMES, "classify_from": "substructures"},
    "sum, attention and fold": {
        **FRAMES,
        "combine": "sum",
        "exchange": "geometry",
        "residue_attention": True,
        "fold_geometry": True,
        "pooling": "environments",
    },
    "gvp": GVP,
    "gvp with attention": {**GVP, "residue_attention": True},
}
ONE = [LearnedLabel("", ("a", "b", "c"), False)]
TWO = [LearnedLabel("kind", ("a", "b", "c"), False), LearnedLabel("sites", ("d", "e"), True)]


def network_of(settings, labels=ONE):
    """A network with random weights, none of which is zero."""
    torch.manual_seed(0)
    network = ParToken([len(label.class_names) for label in labels], NetworkSettings(**settings)).eval()
    with torch.no_grad():
        for part in network.parameters():
            part.add_(0.2 * torch.randn_like(part))
    return network


@pytest.fixture(scope="module")
def inputs(chains):
    return collate(chains[:3]).inputs()


def plain_importance(network, inputs, residues, step=1e-3):
    """Finite differences of the log odds over the weights of the types of one chain, in double precision, `[residues]`.

    Each of the 21 changes of a residue's type goes a step in both directions, in a batch of 42 copies of the chain.
    """
    network = network.double()
    coords, types = inputs["coords"].double(), F.one_hot(inputs["sequence"], 21).double()
    around = surroundings(coords, inputs["ptr"]).double()
    length, own = len(types), inputs["sequence"]
    copies = {
        "coords": coords.repeat(42, 1, 1),
        "ptr": torch.arange(43) * length,
        "surroundings": around.repeat(42, 1),
    }
    with torch.no_grad():
        chosen = network(coords, inputs["ptr"], types, surroundings=around).logits.argmax()
        found = []
        for i in residues:
            changed = types.repeat(42, 1, 1)
            for kind in range(21):
                for copy, sign in ((kind, step), (21 + kind, -step)):
                    changed[copy, i, kind] += sign
                    changed[copy, i, own[i]] -= sign
            exp = network(sequence=changed.flatten(0, 1), **copies).logits.exp()
            odds = (exp[:, chosen] / (exp.sum(1) - exp[:, chosen])).log()
            found.append(((odds[:21] - odds[21:]) / (2 * step)).norm())
    return torch.stack(found)


@pytest.mark.parametrize("settings", NETWORKS.values(), ids=NETWORKS)
def test_the_importance_is_that_of_finite_differences_over_types(settings, chains):
    inputs = collate(chains[:1]).inputs()
    found = explain(network_of(settings), ONE, inputs).importance.double()
    residues = torch.linspace(0, len(found) - 1, 4).long()
    expected = plain_importance(network_of(settings), inputs, residues)
    assert expected.min() < 0.9 * expected.max(), "the residues differ"
    torch.testing.assert_close(found[residues] / found[residues].sum(), expected / expected.sum(), atol=1e-5, rtol=2e-3)


def test_the_ranks_of_several_labels_are_multiplied(inputs):
    found = explain(network_of(NETWORKS["sum, attention and fold"], TWO), TWO, inputs, "attention")
    begin, end = inputs["ptr"][:2].tolist()
    weights = found.output.attention[begin:end].double()
    # A residue is equal to itself, which counts half.
    first, second = (((of_label[:, None] > of_label).sum(1) + 0.5).double() / len(weights) for of_label in weights.T)
    expected = first * second
    torch.testing.assert_close(found.importance[begin:end].double(), expected / expected.sum(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("encoder", "method"), [*(("frames", method) for method in METHODS), ("gvp", "substitution")])
def test_a_chain_has_the_same_importance_alone_and_among_others(encoder, method, chains):
    settings = NETWORKS["sum, attention and fold"]
    if encoder == "gvp":
        settings = {**SMALL, "node_h_dim": (12, 2), "edge_h_dim": (8, 1), "residue_attention": True}
    network = network_of(settings, TWO)
    together = explain(network, TWO, collate(chains[:3]).inputs(), method).importance
    alone = torch.cat([explain(network, TWO, collate([chain]).inputs(), method).importance for chain in chains[:3]])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-3)


def test_the_importance_does_not_change_with_a_rotation(rotation, inputs):
    network = network_of(NETWORKS["sum, attention and fold"], TWO)
    turned = {**inputs, "coords": (inputs["coords"].double() @ rotation.T).float()}
    before, after = (explain(network, TWO, given).importance for given in (inputs, turned))
    torch.testing.assert_close(after, before, atol=2e-4, rtol=0.05)
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.999


@pytest.mark.parametrize("method", METHODS)
def test_missing_residues_have_no_importance_and_those_of_a_chain_sum_to_one(method, inputs):
    network = network_of(NETWORKS["sum, attention and fold"], TWO)
    coords = inputs["coords"].clone()
    coords[3:6] = torch.nan
    coords[10, 1] = torch.nan
    found = explain(network, TWO, {**inputs, "coords": coords}, method).importance
    assert found[[3, 4, 5, 10]].eq(0).all() and found.isfinite().all() and (found >= 0).all()
    sums = torch.stack([part.sum() for part in found.split(inputs["ptr"].diff().tolist())])
    torch.testing.assert_close(sums, torch.ones(3))


@pytest.mark.parametrize("encoder", ["frames", "gvp"])
def test_a_network_that_reads_no_types_has_the_gradient_of_its_residue_features(encoder, inputs):
    settings = {**(NETWORKS["gate"] if encoder == "frames" else GVP), "seq_in": False}
    network = network_of(settings)
    found = explain(network, ONE, inputs).importance
    h = network.embed(inputs["coords"], inputs["ptr"])[0].detach().requires_grad_()
    score = log_odds(network(inputs["coords"], inputs["ptr"], embedding=h).logits, False).sum()
    expected = torch.autograd.grad(score, h)[0].norm(dim=1)
    parts = [part / part.sum() for part in expected.split(inputs["ptr"].diff().tolist())]
    torch.testing.assert_close(found, torch.cat(parts))
    assert torch.equal(found, explain(network, ONE, inputs, "gradient").importance)


def test_the_answer_is_that_of_a_prediction_and_keeps_no_graph(inputs):
    network = network_of(NETWORKS["sum, attention and fold"], TWO)
    with torch.inference_mode():  # also with tensors that were made for inference
        expected = network(**inputs)
        found = explain(network, TWO, {**inputs, "coords": inputs["coords"] * 1})
    torch.testing.assert_close(found.output.logits, expected.logits)
    torch.testing.assert_close(found.output.contributions["residues"], expected.contributions["residues"])
    assert torch.equal(found.output.assignment, expected.assignment)
    assert not any(value.requires_grad for value in vars(found.output).values() if isinstance(value, torch.Tensor))
    assert found.importance.dtype == torch.float32 and not found.importance.requires_grad
    assert all(part.requires_grad for part in network.parameters()), "the network can still be trained"
    assert all(part.grad is None for part in network.parameters())


def test_a_frozen_encoder_is_explained_like_another_one(inputs):
    network = network_of(NETWORKS["gate"])
    expected = explain(network, ONE, inputs).importance
    network.freeze_encoder()
    assert torch.equal(explain(network, ONE, inputs).importance, expected)
    assert not any(part.requires_grad for part in network.encoder.parameters())


def test_a_confident_answer_has_the_importance_of_an_unsure_one(inputs):
    network = network_of({**GVP, "drop_rate": 0.0})
    expected = explain(network, ONE, inputs).importance
    with torch.no_grad():
        chosen = int(network(**inputs).logits[0].argmax())
        network.head.classify[-1].bias[chosen] += 200
    found = explain(network, ONE, inputs)
    assert found.output.logits.softmax(1)[0, chosen] == 1
    assert found.importance.count_nonzero() == len(expected)


def test_a_method_that_the_network_cannot_have_is_rejected(inputs):
    network = network_of(GVP)
    with pytest.raises(UserError, match="reads no residues by attention; choose substitution"):
        explain(network, ONE, inputs, "attention")
    with pytest.raises(UserError, match="no substructures"):
        explain(network, ONE, inputs, "substructures")
    with pytest.raises(UserError, match=r"importance=atention: choose .* Did you mean attention"):
        explain(network, ONE, inputs, "atention")


def test_weights_that_need_no_gradient_change_no_other_gradient(inputs):
    """The layers of geometric vector perceptrons compute only the gradients that are asked for."""
    network = network_of(GVP)
    gradients = []
    for learns in (True, False):
        network.requires_grad_(learns)
        types = F.one_hot(inputs["sequence"], 21).float().requires_grad_()
        score = network(inputs["coords"], inputs["ptr"], types).logits.square().sum()
        gradients += torch.autograd.grad(score, types)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert gradients[0].abs().max() > 0
