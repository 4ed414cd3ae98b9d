"""The whole network: shapes, symmetries, gradients, effects of the settings, and faults of the published code."""

import io

import pytest
import torch
import torch.nn.functional as F

from partoken.errors import UserError
from partoken.protein.chains.batch import collate
from partoken.protein.model.head import Head
from partoken.protein.model.partition import Partition
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {
    "node_h_dim": (24, 4),
    "edge_in_dim": (8, 1),
    "edge_h_dim": (8, 1),
    "num_layers": 2,
    "max_clusters": 5,
    "nhid": 12,
    "codebook_size": 32,
    "num_neighbors": 12,
}
LOSSES = ("vq", "entropy", "coverage")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def named(coords, ptr, sequence=None):
    """Returns a batch as `init_codebook` and `calibrate` take it."""
    return {"coords": coords, "ptr": ptr, "sequence": sequence}


def network(**settings):
    torch.manual_seed(0)
    return ParToken(3, NetworkSettings(**(SMALL | settings)))


def sequence_of(coords):
    return torch.arange(len(coords)) % 21


def step(model, coords, ptr, weights=(1.0, 1e-3, 1e-2)):
    output = model(coords, ptr)
    loss = F.cross_entropy(output.logits, torch.arange(len(ptr) - 1) % 3)
    loss = loss + sum(w * output.losses[name] for w, name in zip(weights, LOSSES, strict=True))
    loss.backward()
    return output


# Shapes and symmetries.


def test_the_output_has_the_documented_shapes(batch_of):
    coords, ptr = batch_of(10, 40, 200)
    output = network()(coords, ptr)
    assert output.logits.shape == (3, 3)
    assert output.importance.shape == output.cluster_mask.shape == output.tokens.shape == (3, 5)
    assert output.assignment.shape == output.membership.shape == (250,)
    assert torch.equal(output.tokens >= 0, output.cluster_mask)
    assert not output.importance[~output.cluster_mask].any()
    torch.testing.assert_close(output.importance.sum(1), torch.ones(3))
    assert set(output.losses) == set(LOSSES)
    assert all(value.shape == () and value.requires_grad for value in output.losses.values())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"partition": "random"},
        {"partition": "none"},
        {"pooling": "attention"},
        {"exchange": "geometry"},
        {"partition": "elements", "exchange": "geometry", "exchange_layers": 2},
    ],
)
def test_fault_6_a_chain_gets_the_same_answer_alone_in_any_batch_in_any_order_and_twice(batch_of, settings):
    model = network(**settings).eval()
    coords, ptr = batch_of(10, 60, 35)
    parts = coords.split(ptr.diff().tolist())
    together = model(coords, ptr)
    again = model(coords, ptr)
    assert torch.equal(together.logits, again.logits) and torch.equal(together.assignment, again.assignment)
    turned = model(torch.cat(parts[::-1]), torch.tensor([0, 35, 95, 105]))
    torch.testing.assert_close(turned.logits.flip(0), together.logits, atol=1e-5, rtol=1e-4)
    for number, part in enumerate(parts):
        alone = model(part, torch.tensor([0, len(part)]))
        torch.testing.assert_close(alone.logits[0], together.logits[number], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.importance[0], together.importance[number], atol=1e-5, rtol=1e-4)
        assert torch.equal(alone.tokens[0], together.tokens[number])


def test_rotating_and_shifting_a_chain_does_not_change_the_answer(batch_of, rotation):
    model = network().eval().double()
    coords, ptr = batch_of(10, 60)
    coords = coords.double()
    before, after = model(coords, ptr), model(coords @ rotation.T + torch.tensor([20.0, -4.0, 1.0]), ptr)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(after.assignment, before.assignment)


def test_a_mirrored_chain_gets_another_answer(batch_of):
    model = network().eval()
    coords, ptr = batch_of(60)
    assert (model(coords, ptr).logits - model(-coords, ptr).logits).abs().max() > 1e-3


def test_missing_residues_do_not_influence_the_answer(batch_of):
    model = network(seq_in=True, partition="learned").eval()
    coords, ptr = batch_of(30, 50)
    coords[40:45, 1] = torch.nan
    sequence = sequence_of(coords)
    before = model(coords, ptr, sequence)
    coords[40:45, 0] += 50.0
    sequence[40:45] = 3
    after = model(coords, ptr, sequence)
    assert torch.equal(before.logits, after.logits)
    assert (before.assignment[40:45] == -1).all() and not before.membership[40:45].any()


def test_one_batch_can_hold_chains_of_ten_and_three_thousand_residues_and_an_empty_one(batch_of):
    coords, ptr = batch_of(10, 3000, 6, 40)
    coords[3010:3016] = torch.nan
    model = network(k_hop=2)
    output = step(model, coords, ptr)
    assert output.logits.isfinite().all()
    assert output.importance[2].sum() == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("exchange", ["touching", "geometry"])
def test_elements_and_kept_embeddings_give_the_answer_of_the_whole_network(chains, exchange):
    model = network(partition="elements", exchange=exchange, max_clusters=9).eval()
    batch = collate(chains[:4])
    output = model(batch.coords, batch.ptr)
    assert (output.assignment >= 0).all() and output.cluster_mask.any(1).all()
    h, _ = model.embed(batch.coords, batch.ptr)
    kept = model(batch.coords, batch.ptr, embedding=h)
    assert torch.equal(kept.assignment, output.assignment)
    torch.testing.assert_close(kept.logits, output.logits)
    torch.testing.assert_close(kept.importance, output.importance)


# Faults of the published code.


@pytest.mark.parametrize("pooling", ["sum", "mean", "max", "attention"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tokens_from": "features", "classify_from": "substructures"},
        {"codebook_dim": 7, "seq_in": True},
        {"exchange": "geometry", "exchange_layers": 3},
    ],
)
def test_fault_1_the_task_loss_alone_reaches_every_parameter(batch_of, pooling, settings):
    model = network(pooling=pooling, **settings)
    coords, ptr = batch_of(50, 90, 40)
    sequence = sequence_of(coords)
    logits = model(coords, ptr, sequence).logits
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_fault_1_seed_growth_and_context_networks_move(batch_of):
    model = network()
    coords, ptr = batch_of(50, 90, 40)
    before = {name: value.detach().clone() for name, value in model.partitioner.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    step(model, coords, ptr, weights=(0.0, 0.0, 0.0))
    optimizer.step()
    for name, value in model.partitioner.named_parameters():
        assert (value - before[name]).abs().max() > 1e-6, name


def test_fault_2_the_temperature_anneals_is_saved_and_changes_the_training(batch_of):
    model = network(tau_init=0.8, tau_min=0.1, tau_decay=0.5)
    temperatures = []
    for epoch in (0, 1, 2, 3, 40):
        model.set_epoch(epoch)
        temperatures.append(float(model.tau))
    assert temperatures == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.1])
    other = network(tau_init=0.8)
    other.load_state_dict(model.state_dict())
    assert float(other.tau) == pytest.approx(0.1)

    coords, ptr = batch_of(50, 90)
    gradients = []
    for epoch in (0, 3):
        model.set_epoch(epoch)
        model.zero_grad()
        torch.manual_seed(1)
        step(model, coords, ptr)
        gradients.append(model.partitioner.growth.score.weight.grad.clone())
    assert not torch.allclose(*gradients, rtol=0.01)


@pytest.mark.parametrize("term", range(3))
def test_fault_3_every_loss_trains_encoder_and_partitioner(batch_of, term):
    model = network()
    coords, ptr = batch_of(50, 90, 40)
    with torch.no_grad():
        model(coords, ptr)
    gradients = []
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        model.zero_grad()
        weights = [0.0, 0.0, 0.0]
        weights[term] = weight
        step(model, coords, ptr, weights)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    learned = [name for name in gradients[0] if name.startswith(("encoder", "partitioner"))]
    for name in learned:
        assert not torch.equal(gradients[0][name], gradients[1][name]), name


def test_fault_5_a_frozen_codebook_does_not_change_while_the_rest_learns(batch_of):
    model = network(codebook_decay=0.5)
    coords, ptr = batch_of(50, 90, 40)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def train():
        for _ in range(5):
            optimizer.zero_grad()
            step(model, coords, ptr)
            optimizer.step()
        return {name: value.clone() for name, value in model.codebook.state_dict().items()}

    train()
    model.codebook.frozen = True
    before = {name: value.clone() for name, value in model.codebook.state_dict().items()}
    weight = model.encoder.output[1].ws.weight.detach().clone()
    after = train()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(weight, model.encoder.output[1].ws.weight)
    model.codebook.frozen = False
    assert not torch.equal(train()["codes"], before["codes"])


def test_fault_7_chains_of_forty_residues_are_no_special_case(batch_of):
    coords, ptr = batch_of(40, 40, 40, 40)
    assert step(network(), coords, ptr).logits.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"seq_in": True}, {"codebook_distance": "cosine"}])
def test_fault_8_the_codebook_starts_from_real_substructures(batch_of, settings):
    model = network(**settings)
    first, second = batch_of(50, 90), batch_of(40, 70, seed=1)
    batches = [(*batch, sequence_of(batch[0])) for batch in (first, second)]
    model.init_codebook(named(*batch) for batch in batches)
    assert model.training and model.codebook.started
    model.eval()
    output = model(*batches[0])
    # With 20 substructures and 32 codes, every substructure has a code of its own.
    assert output.losses["vq"] < 1e-4
    # The first training batch must not repeat the k-means start.
    codes = model.codebook.codes.clone()
    model.train()(*batches[0])
    assert (model.codebook.codes - codes).norm() < codes.norm()


@pytest.mark.parametrize("settings", [{}, {"partition": "none"}])
def test_calibrating_measures_the_averages_with_the_present_weights(batch_of, settings):
    model = network(drop_rate=0.3, **settings)
    batches = [batch_of(50, 90, 30), batch_of(40, 70, 60, seed=1)]
    for _ in range(3):  # gives averages that no single batch has
        model(*batches[1])
    codes = None if model.codebook is None else model.codebook.codes.clone()
    model.calibrate(named(*batch) for batch in batches)
    assert model.training
    model.eval()
    with torch.no_grad():
        graphs = [model.featurize(*batch) for batch in batches]
        features = [model.encode(graph) for graph in graphs]
        summaries = torch.cat([model.head.pool(h, graph) for h, graph in zip(features, graphs, strict=True)])
    torch.testing.assert_close(model.head.standardise.running_mean, summaries.mean(0))
    torch.testing.assert_close(model.head.standardise.running_var, summaries.var(0, unbiased=False))
    if codes is not None:
        with torch.no_grad():
            parts = [model.partition(h, graph) for h, graph in zip(features, graphs, strict=True)]
        substructures = torch.cat([part.features[part.mask] for part in parts])
        torch.testing.assert_close(model.codebook.mean, substructures.mean(0))
        torch.testing.assert_close(model.codebook.variance, substructures.var(0, unbiased=False))
        assert torch.equal(model.codebook.codes, codes)
        model.codebook.frozen = True
        model.calibrate([named(*batches[0])])
        torch.testing.assert_close(model.codebook.mean, substructures.mean(0))


def test_fault_11_substructures_differ_in_importance(batch_of):
    model = network()
    coords, ptr = batch_of(80, 120)
    model.init_codebook([named(coords, ptr)])
    importance = model.eval()(coords, ptr).importance
    assert (importance.max(1).values - importance.min(1).values > 1e-3).all()


@pytest.mark.parametrize("exchange", ["touching", "geometry"])
def test_fault_11_substructures_that_all_touch_keep_different_importance(batch_of, exchange):
    """On a complete graph of substructures, plain averaging would make them equal."""
    head = Head(16, 3, pooling="mean", drop_rate=0.0, exchange=exchange)
    coords, ptr = batch_of(30)
    graph = network().featurize(coords, ptr)
    partition = Partition(
        features=torch.randn(1, 4, 16),
        mask=torch.ones(1, 4, dtype=torch.bool),
        assignment=torch.arange(30) % 4,
        membership=torch.ones(30),
    )
    importance = head(torch.rand(30, 16), graph, partition.features, partition).importance
    assert importance.std() > 1e-3


# Training in practice.


def test_bfloat16_trains_without_nan(batch_of):
    model = network()
    coords, ptr = batch_of(30, 50, 15)
    coords[3] = torch.nan
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = step(model, coords, ptr)
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    assert output.logits.dtype == torch.float32


def test_the_network_can_memorise_a_few_chains(batch_of):
    model = network(drop_rate=0.0)
    coords, ptr = batch_of(40, 50, 30, 45, 60, 35)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(140):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(coords, ptr).logits, labels))
        losses[-1].backward()
        optimizer.step()
    # Each step draws another partition; the loss starts at 1.1.
    assert torch.stack(losses[-20:]).mean() < 0.5
    assert (model.eval()(coords, ptr).logits.argmax(1) == labels).sum() >= 4


def test_a_restored_network_gives_the_same_answer_to_the_bit(batch_of):
    model = network()
    coords, ptr = batch_of(40, 50)
    step(model, coords, ptr)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = network()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(coords, ptr).logits, model.eval()(coords, ptr).logits)


# Settings.


CHANGED = {
    "node_in_dim": (4, 2),
    "node_h_dim": (20, 4),
    "edge_in_dim": (16, 1),
    "edge_h_dim": (8, 2),
    "num_layers": 1,
    "drop_rate": 0.5,
    "pooling": "mean",
    "seq_in": True,
    "max_clusters": 2,
    "nhid": 5,
    "k_hop": 2,
    "cluster_size_max": 3,
    "termination_threshold": 0.1,
    "tau_init": 0.2,
    "codebook_size": 4,
    "codebook_dim": 6,
    "codebook_beta": 0.9,
    "codebook_distance": "cosine",
    "psc_temp": 3.0,
    "num_neighbors": 4,
    "tokens_from": "features",
    "partition": "random",
    "classify_from": "substructures",
    "exchange": "geometry",
}


def answer(model, coords, ptr):
    """Trains two steps; returns logits, losses and the norm of the gradient in one vector."""
    torch.manual_seed(5)
    step(model, coords, ptr)
    output = step(model, coords, ptr)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return torch.cat(
        [output.logits.flatten(), *(x[None] for x in output.losses.values()), gradient.norm()[None]]
    ).detach()


@pytest.mark.parametrize("key", CHANGED)
def test_every_setting_changes_the_training(batch_of, key):
    coords, ptr = batch_of(50, 90)
    model = network(**{key: CHANGED[key]})
    if key == "seq_in":
        model.forward = lambda coords, ptr, forward=model.forward: forward(coords, ptr, sequence_of(coords))
    assert not torch.allclose(answer(network(), coords, ptr), answer(model, coords, ptr), rtol=1e-4)


def test_the_rounds_of_messages_and_the_elements_change_the_training(batch_of):
    batch = batch_of(50, 90)
    kinds = ({}, {"exchange_layers": 2}, {"partition": "elements"})
    first, *others = (answer(network(exchange="geometry", **kind), *batch) for kind in kinds)
    assert not any(torch.allclose(first, other, rtol=1e-4) for other in others)


def test_the_decay_of_the_codebook_changes_the_codes(batch_of):
    coords, ptr = batch_of(50, 90)
    codes = []
    for decay in (0.5, 0.99):
        model = network(codebook_decay=decay)
        model.codebook.updates.fill_(10_000)
        answer(model, coords, ptr)
        codes.append(model.codebook.codes)
    assert not torch.allclose(*codes)


def test_a_network_that_reads_sequences_rejects_chains_without_one(batch_of):
    with pytest.raises(UserError, match=r"model\.seq_in"):
        network(seq_in=True)(*batch_of(20))


def test_the_default_settings_are_those_of_no_settings():
    assert ParToken(2).settings == NetworkSettings()


def test_parameters_and_buffers_keep_their_names_and_order():
    """Checkpoints depend on the names; the random initial weights depend on the order."""
    names = [name.split(".")[0] for name in network(seq_in=True, codebook_dim=6).state_dict()]
    order = ["tau", "residue_type", "encoder", "partitioner", "to_code", "codebook", "from_code", "head"]
    assert list(dict.fromkeys(names)) == order
    codebook = list(network().codebook.state_dict())
    assert codebook == ["codes", "usage", "mean", "variance", "updates", "started"]
