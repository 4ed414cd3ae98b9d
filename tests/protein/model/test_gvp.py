"""The encoder: the published function, its symmetries, and the fast form compared with the plain form."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from partoken.config import CONF
from partoken.protein.geometry.graph import featurize
from partoken.protein.model import message
from partoken.protein.model.gvp import GVP, Encoder, FeatureDropout
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import split_settings

ROOT = Path(__file__).parents[3]
FIXTURE = ROOT / "tests" / "protein" / "data" / "gvp_encoder.npz"

# Names of the published modules, and ours. The published `dummy_param` is empty and has no counterpart.
PUBLISHED_NAMES = {
    "node_encoder": "node_input",
    "edge_encoder": "edge_input",
    "gvp_layers": "layers",
    "conv.message_func": "message",
    "ff_func": "feed_forward",
    "output_projection": "output",
}


def plain_encoder(encoder):
    """Loads the plain form from the benchmarks, which are not a package."""
    plain = ROOT / "benchmarks" / "plain.py"
    if not plain.exists():
        pytest.skip("the plain form is part of a clone")
    spec = importlib.util.spec_from_file_location("plain", plain)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlainEncoder(encoder)


def published_weights(arrays):
    weights = {}
    for key in arrays.files:
        if key.startswith("weight/") and not key.endswith("dummy_param"):
            name = key.removeprefix("weight/")
            for theirs, ours in PUBLISHED_NAMES.items():
                name = name.replace(theirs, ours)
            weights[name] = torch.from_numpy(arrays[key])
    return weights


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(drop_rate=0.0).double()


@pytest.fixture
def graph(batch_of):
    """Three chains, the first shorter than the neighbour count, with two missing residues, in float64."""
    coords, ptr = batch_of(10, 50, 40)
    coords[33] = torch.nan
    coords[60, 0] = torch.nan
    return featurize(coords.double(), ptr)


def vectors_of(encoder, graph):
    """Vector channels `[3, N, v]` after the last layer."""
    node = encoder.node_input((graph.node_s, graph.node_v.movedim(-1, 0)))
    edge = encoder.edge_input((graph.edge_s, graph.edge_v.movedim(-1, 0)))
    for layer in encoder.layers:
        node = layer(node, edge, graph)
    return node


def test_layers_and_output_equal_those_of_the_published_implementation():
    arrays = np.load(FIXTURE)
    conf = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "published.yaml"))
    network = ParToken(2, split_settings({key: conf[key] for key in conf if key != "_target_"})[0]).eval()
    encoder = network.encoder
    encoder.load_state_dict(published_weights(arrays))
    graph = network.featurize(torch.from_numpy(arrays["coords"]), torch.from_numpy(arrays["ptr"]))
    with torch.no_grad():
        node = encoder.node_input((graph.node_s, graph.node_v.movedim(-1, 0)))
        edge = encoder.edge_input((graph.edge_s, graph.edge_v.movedim(-1, 0)))
        for number, layer in enumerate(encoder.layers):
            node = layer(node, edge, graph)
            np.testing.assert_allclose(node[0], arrays[f"layer{number}_s"], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(node[1].movedim(0, -1), arrays[f"layer{number}_v"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoder(graph), arrays["output"], rtol=1e-4, atol=1e-4)


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("edges", [170, 100_000])
def test_the_fast_and_the_plain_encoder_compute_the_same_function(monkeypatch, encoder, graph, edges, threads):
    monkeypatch.setitem(message._BLOCK, "cpu", edges)
    fast, plain = encoder(graph), plain_encoder(encoder)(graph)
    torch.testing.assert_close(fast, plain, atol=1e-12, rtol=1e-12)
    weight = torch.randn_like(fast)
    parameters = dict(encoder.named_parameters())
    ours = torch.autograd.grad((fast * weight).sum(), parameters.values())
    theirs = torch.autograd.grad((plain * weight).sum(), parameters.values())
    for name, a, b in zip(parameters, ours, theirs, strict=True):
        assert b.abs().max() > 0, name
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10, msg=name)


def test_the_encoder_computes_the_same_in_every_gradient_mode(encoder, graph, threads):
    expected = encoder(graph).detach()
    with torch.no_grad():
        assert torch.equal(encoder(graph), expected)
    with torch.inference_mode():
        assert torch.equal(encoder(graph), expected)


@pytest.mark.parametrize("edge_dims", [(4, 1), (3, 2)])
def test_the_gradient_of_the_message_equals_finite_differences(monkeypatch, batch_of, edge_dims):
    monkeypatch.setitem(message._BLOCK, "cpu", 16)
    torch.manual_seed(1)
    coords, ptr = batch_of(3, 6)
    graph = featurize(coords.double(), ptr, num_neighbors=4)
    gvps = torch.nn.ModuleList(
        [
            GVP((2 * 5 + edge_dims[0], 2 * 2 + edge_dims[1]), (5, 2)),
            GVP((5, 2), (5, 2)),
            GVP((5, 2), (5, 2), activated=False),
        ]
    ).double()
    names, values = zip(*gvps.named_parameters(), strict=True)
    n, k = graph.neighbors.shape
    given = [
        torch.randn(n, 5),
        torch.randn(3, n, 2),
        torch.randn(n, k, edge_dims[0]),
        torch.randn(3, n, k, edge_dims[1]),
    ]
    given = [x.double().requires_grad_() for x in given]

    def value(s, v, edge_s, edge_v, *parameters):
        originals = dict(zip(names, parameters, strict=True))
        for name, parameter in originals.items():
            module, _, leaf = name.rpartition(".")
            monkeypatch.setitem(gvps.get_submodule(module)._parameters, leaf, parameter)
        return message.mean_message(gvps, (s, v), (edge_s, edge_v), graph)

    assert torch.autograd.gradcheck(value, (*given, *values), fast_mode=True)


def test_scalars_are_invariant_and_vectors_equivariant(encoder, graph, batch_of, rotation):
    coords, ptr = batch_of(10, 50, 40)
    coords = coords.double()
    s, v = vectors_of(encoder, featurize(coords, ptr))
    turned_s, turned_v = vectors_of(encoder, featurize(coords @ rotation.T + 7.0, ptr))
    torch.testing.assert_close(turned_s, s, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned_v, torch.einsum("ab,bnc->anc", rotation, v), atol=1e-4, rtol=1e-4)
    assert (turned_v - v).abs().max() > 0.1


def test_a_residue_without_neighbours_receives_nothing(encoder):
    coords = torch.randn(1, 4, 3).double()
    graph = featurize(coords, torch.tensor([0, 1]))
    layer = encoder.layers[0]
    node = encoder.node_input((graph.node_s, graph.node_v.movedim(-1, 0)))
    edge = encoder.edge_input((graph.edge_s, graph.edge_v.movedim(-1, 0)))
    s, v = message.mean_message(layer.message, node, edge, graph)
    assert not s.any() and not v.any()


def test_a_missing_residue_has_no_output_and_no_influence(encoder, graph, batch_of):
    coords, ptr = batch_of(10, 50, 40)
    coords[33] = torch.nan
    coords[60, 0] = torch.nan
    other = coords.clone()
    other[60, 1:] += 100.0
    output = encoder(featurize(coords.double(), ptr))
    assert torch.equal(output, encoder(featurize(other.double(), ptr)))
    assert not output[[33, 60]].any()


def test_dropout_drops_single_scalars_and_whole_vectors():
    torch.manual_seed(0)
    dropout = FeatureDropout(0.25)
    s, v = dropout((torch.ones(200, 100), torch.ones(3, 200, 16)))
    assert abs((s == 0).float().mean() - 0.25) < 0.02 and abs((v[0] == 0).float().mean() - 0.25) < 0.03
    assert torch.equal(v[0], v[1]) and torch.equal(v[0], v[2])
    torch.testing.assert_close(s.unique(), torch.tensor([0.0, 4 / 3]))
    torch.testing.assert_close(v.unique(), torch.tensor([0.0, 4 / 3]))
    s, v = dropout.eval()((torch.ones(5, 4), torch.ones(3, 5, 2)))
    assert (s == 1).all() and (v == 1).all()


def test_bfloat16_computes_nearly_the_same(encoder, graph, batch_of):
    encoder = encoder.float()
    graph = featurize(*batch_of(10, 50, 40))
    exact = encoder(graph)
    weight = torch.randn_like(exact)
    exact_grad = torch.autograd.grad((exact * weight).sum(), list(encoder.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = encoder(graph)
    rough_grad = torch.autograd.grad((rough * weight).sum(), list(encoder.parameters()))
    assert (rough - exact).norm() < 0.05 * exact.norm()
    flat = [torch.cat([g.flatten() for g in grads]) for grads in (exact_grad, rough_grad)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.99
