"""The encoder in local frames: invariant, blind to a residue's own type, and the same whoever is in the batch."""

import pytest
import torch

from partoken.protein.model.masked import MaskedResidues
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.residues import UNKNOWN, ResidueNetwork
from partoken.protein.model.settings import NetworkSettings

SMALL = {"encoder": "frames", "node_h_dim": (16, 1), "num_layers": 2, "num_neighbors": 6, "seq_in": True}


def network(kind=ResidueNetwork, **settings):
    torch.manual_seed(0)
    return kind(NetworkSettings(**{**SMALL, **settings})).eval()


def random_types(count):
    return torch.randint(UNKNOWN, (count,), generator=torch.Generator().manual_seed(1))


def test_features_do_not_depend_on_rotation_or_translation(batch_of, rotation):
    coords, ptr = batch_of(30, 20)
    model, types = network(), random_types(50)
    h, _ = model.embed(coords, ptr, types)
    moved, _ = model.embed(coords @ rotation.float().T + 7, ptr, types)
    torch.testing.assert_close(moved, h, atol=1e-3, rtol=0)


def test_a_mirror_image_has_other_features(batch_of):
    coords, ptr = batch_of(30)
    model, types = network(), random_types(30)
    mirrored = coords * torch.tensor([1.0, 1.0, -1.0])
    assert not torch.allclose(model.embed(coords, ptr, types)[0], model.embed(mirrored, ptr, types)[0], atol=1e-2)


def test_the_surroundings_of_a_residue_never_hold_its_own_type(batch_of):
    """Its features are equal to the bit if its own type changes, and those of its neighbours are not."""
    coords, ptr = batch_of(40)
    model, types = network(), random_types(40)
    changed = types.clone()
    changed[17] = (types[17] + 1) % UNKNOWN
    graph = model.featurize(coords, ptr)
    before, after = (model.encode_surroundings(graph, sequence) for sequence in (types, changed))
    assert torch.equal(before[17], after[17])
    reads_it = (graph.neighbors == 17).any(1) & graph.neighbor_mask.any(1)
    assert not torch.isclose(before[reads_it], after[reads_it]).all(1).any()


def test_the_own_type_follows_the_features(batch_of):
    coords, ptr = batch_of(10)
    coords[3, 0] = torch.nan
    types = random_types(10)
    h, _ = network().embed(coords, ptr, types)
    assert h.shape == (10, 16 + UNKNOWN + 1) and network().residue_channels == h.shape[1]
    own = torch.nn.functional.one_hot(types, UNKNOWN + 1).float()
    own[3] = 0
    assert torch.equal(h[:, 16:], own)


def test_every_residue_is_predicted_in_one_pass(batch_of):
    coords, ptr = batch_of(25)
    model, types = network(MaskedResidues), random_types(25)
    assert model.predicts_all
    everyone = model(coords, ptr, types, torch.ones(25, dtype=torch.bool))
    alone = model(coords, ptr, types, torch.arange(25) == 4)
    torch.testing.assert_close(everyone[4:5], alone, atol=1e-6, rtol=0)


def test_residue_features_are_hidden_with_their_residue(batch_of):
    coords, ptr = batch_of(25)
    model, types = network(MaskedResidues, feature_width=3), random_types(25)
    assert not model.predicts_all
    hidden, features = torch.arange(25) == 4, torch.randn(25, 3)
    other = features.clone()
    other[4] += 1
    assert torch.equal(
        model(coords, ptr, types, hidden, features=features), model(coords, ptr, types, hidden, features=other)
    )


@pytest.mark.parametrize("seq_in", [True, False], ids=["with types", "geometry alone"])
def test_chains_of_a_batch_do_not_change_each_other(batch_of, seq_in):
    coords, ptr = batch_of(30, 20)
    model, types = network(seq_in=seq_in), random_types(50)
    together, _ = model.embed(coords, ptr, types)
    alone, _ = model.embed(coords[30:], torch.tensor([0, 20]), types[30:])
    torch.testing.assert_close(together[30:], alone, atol=1e-5, rtol=0)


def test_a_missing_residue_has_no_features_and_is_seen_by_none(batch_of):
    coords, ptr = batch_of(30)
    coords[11] = torch.nan
    model, types = network(), random_types(30)
    h, _ = model.embed(coords, ptr, types)
    types[11] = (types[11] + 1) % UNKNOWN
    assert (h[11] == 0).all() and torch.equal(h, model.embed(coords, ptr, types)[0])


@pytest.mark.parametrize("partition", ["learned", "none"])
def test_every_weight_of_the_encoder_gets_a_gradient(batch_of, partition):
    coords, ptr = batch_of(30, 20)
    torch.manual_seed(0)
    model = ParToken(3, NetworkSettings(**SMALL, partition=partition))
    model(coords, ptr, random_types(50)).logits.logsumexp(1).sum().backward()
    without = [name for name, value in model.encoder.named_parameters() if value.grad is None]
    assert not without
