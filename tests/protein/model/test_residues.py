"""The encoder that networks over residues share: frozen, fingerprinted, and replaced by what it computed before."""

import pytest
import torch

from partoken.protein.geometry.graph import featurize
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings

SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 6, "max_clusters": 4, "codebook_size": 16}


def network(**settings):
    torch.manual_seed(0)
    return ParToken(3, NetworkSettings(**{**SMALL, **settings}))


@pytest.mark.parametrize("partition", ["learned", "none"])
def test_given_embeddings_replace_the_encoder(batch_of, partition):
    model = network(partition=partition).eval()
    coords, ptr = batch_of(30, 50)
    with torch.no_grad():
        embedding, _ = model.embed(coords, ptr)
        whole, given = model(coords, ptr), model(coords, ptr, embedding=embedding)
        other = model(coords, ptr, embedding=embedding.flip(0))
    assert torch.equal(whole.logits, given.logits)
    assert torch.equal(whole.assignment, given.assignment)
    assert not torch.allclose(whole.logits, other.logits)


def test_a_graph_without_features_has_the_same_neighbours(batch_of):
    coords, ptr = batch_of(30, 50)
    coords[3, 1] = torch.nan
    full, bare = featurize(coords, ptr, 7), featurize(coords, ptr, 7, features=False)
    for name in ("neighbors", "neighbor_mask", "mask", "chain", "ptr"):
        assert torch.equal(getattr(full, name), getattr(bare, name))
    assert bare.node_s.numel() == bare.edge_s.numel() == 0
    assert featurize(coords, ptr, 0, features=False).neighbors.shape == (80, 0)


def test_a_frozen_encoder_gets_no_gradient_and_has_no_dropout(batch_of):
    model = network(drop_rate=0.5, seq_in=True)
    model.freeze_encoder()
    model.train()
    coords, ptr = batch_of(30, 50)
    sequence = torch.zeros(80, dtype=torch.int64)
    assert torch.equal(model.embed(coords, ptr, sequence)[0], model.embed(coords, ptr, sequence)[0])
    model(coords, ptr, sequence).logits.sum().backward()
    taught = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert taught.isdisjoint({"encoder", "residue_type"}) and "head" in taught


def test_the_fingerprint_of_an_encoder_follows_its_weights_and_its_neighbours():
    model, prints = network(), set()
    prints.add(model.fingerprint())
    assert network().fingerprint() in prints
    prints.add(network(num_neighbors=7).fingerprint())
    next(model.encoder.parameters()).data += 1e-3
    prints.add(model.fingerprint())
    assert len(prints) == 3


def test_the_fingerprint_of_an_encoder_does_not_depend_on_what_reads_it():
    """Otherwise each head would compute its embeddings again."""
    model = network()
    model.head.classify[0].weight.data += 1
    assert model.fingerprint() == network().fingerprint()
    assert network(pooling="mean", partition="none", drop_rate=0.3).fingerprint() == network().fingerprint()


@pytest.mark.parametrize("encoder", ["gvp", "frames"])
def test_more_neighbours_than_residues_change_no_result_and_are_said_once(batch_of, encoder, caplog):
    coords, ptr = batch_of(20, 9)
    sequence = torch.zeros(29, dtype=torch.int64)
    exact, more = (network(encoder=encoder, seq_in=True, num_neighbors=k).eval() for k in (19, 100_000))
    with torch.no_grad():
        assert torch.equal(exact(coords, ptr, sequence).logits, more(coords, ptr, sequence).logits)
    exact.note_longest(20)
    assert caplog.text == ""
    more.note_longest(20)
    assert "model.num_neighbors=100000: the longest chain has 20 residues" in caplog.text
