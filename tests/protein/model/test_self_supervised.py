"""The self-supervised score: against a plain form, on known sites, and what its file may hold."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.chains.batch import collate
from partoken.protein.explanation_checks.ranking import score_ranking
from partoken.protein.explanation_checks.sites import read_sites
from partoken.protein.geometry.surroundings import SURROUNDINGS, surroundings
from partoken.protein.model import self_supervised
from partoken.protein.model.importance import explain
from partoken.protein.model.saved import load_network
from partoken.protein.model.self_supervised import WEIGHTS, load_self_supervised
from partoken.protein.model.shipped import shipped_encoder
from partoken.system.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def network():
    return load_self_supervised()


def inputs_of(chains):
    batch = collate(chains)
    return batch.coords, batch.ptr, batch.sequence, surroundings(batch.coords, batch.ptr)


@torch.no_grad()
def plain(network, chain):
    """The score of one chain with ranks from SciPy and sums over its sixteen nearest residues, one by one."""
    coords, ptr, sequence, around = inputs_of([chain])
    h, graph = network.encoder.embed(coords, ptr, sequence)
    signals = network.signals(h, sequence, around)
    prior = around[:, SURROUNDINGS.index("closeness")] * around[:, SURROUNDINGS.index("pocket")]
    there = np.flatnonzero(graph.mask.numpy())

    def ranks(scores):
        return (rankdata(scores) - 0.5) / len(there)

    product = np.prod([ranks(scores.numpy()[there]) for scores in (*signals, prior)], axis=0)
    ca = coords[there, 1].numpy().astype(np.float64)
    near = np.empty(len(there))
    for i, place in enumerate(ca):
        distance = np.linalg.norm(ca - place, axis=1)
        nearest = np.argsort(distance, kind="stable")[: 1 + network.encoder.settings.num_neighbors]
        near[i] = (np.exp(-(distance[nearest] ** 2) / 18) * product[nearest]).sum()
    score = np.zeros(len(coords))
    score[there] = product * ranks(near)
    return score


def test_the_score_is_that_of_a_plain_form(network, chains):
    with torch.no_grad():
        found = network(*inputs_of(chains[:3]))
    expected = np.concatenate([plain(network, chain) for chain in chains[:3]])
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-3, atol=1e-5)


def test_a_type_that_the_surroundings_ask_for_surprises_less(network, chains):
    coords, ptr, sequence, around = inputs_of(chains[:3])
    with torch.no_grad():
        h, _ = network.encoder.embed(coords, ptr, sequence)
        log_p = network.types(network._standardise(h, around)[:, : network.features]).log_softmax(1)
        asked = log_p.argmax(1)
        found = network.signals(h, asked, around).surprising
    assert (found <= network.signals(h, sequence, around).surprising + 1e-5).all()
    assert found.mean() < 0.8 * np.log(20), "the network knows something of residue types"
    unknown = torch.full_like(sequence, 20)
    with torch.no_grad():
        signals = network.signals(h, unknown, around)
    assert signals.surprising.eq(0).all() and signals.polar.eq(0).all()


def test_charged_types_are_polar_and_hydrophobic_ones_are_not(network):
    polarity = dict(zip("ACDEFGHIKLMNPQRSTVWY", network.polarity.tolist(), strict=False))
    assert min(polarity[letter] for letter in "DEKNQR") > 0 > max(polarity[letter] for letter in "FILMVW")


def test_it_finds_more_catalytic_residues_than_geometry_alone(network):
    """On enzymes of the package; the score has learned from chains without labels, never from a site."""
    sites = read_sites("embedded")
    saved = load_network("enzymes")
    found = {method: [] for method in ("self_supervised", "prior")}
    store = embedded().collection.store
    for chain in store.read(row for row, name in enumerate(store.ids) if name in sites):
        known = sites[chain.id].find(chain.letters)
        for method, scores in found.items():
            importance = explain(saved.network, saved.labels, collate([chain]).inputs(), method).importance
            scores.append(score_ranking(importance.numpy(), known).in_top_tenth)
    assert len(found["prior"]) == 26
    assert np.mean(found["self_supervised"]) > np.mean(found["prior"]) + 0.05


def test_the_weights_belong_to_the_encoder_that_ships_and_hold_no_copy_of_it(network):
    content = read_checkpoint(WEIGHTS)
    assert content["encoder"] == shipped_encoder().fingerprint()
    assert set(content["state_dict"]) == set(network.trained_state())
    assert not [name for name in content["state_dict"] if name.startswith("encoder.")]
    assert WEIGHTS.stat().st_size < 400_000


def test_an_installation_without_the_weights_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(self_supervised, "WEIGHTS", tmp_path / "self_supervised.pt")
    with pytest.raises(UserError, match=r"lacks pretrained/self_supervised\.pt; install partoken again"):
        load_self_supervised.__wrapped__()


def test_chains_without_a_sequence_are_refused(chains):
    inputs = collate(chains[:1]).inputs()
    saved = load_network("enzymes")
    with pytest.raises(UserError, match="no sequence"):
        explain(saved.network, saved.labels, {**inputs, "sequence": None}, "self_supervised")
