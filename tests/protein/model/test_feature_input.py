"""Residue features that users bring, as the networks read them."""

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.model.masked import MaskedResidues
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings, split_settings

WIDTH = 7
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}


def network(kind=ParToken, **settings):
    torch.manual_seed(0)
    own = NetworkSettings(**{**SMALL, "feature_width": WIDTH, **settings})
    return (kind(3, own) if kind is ParToken else kind(own)).eval()


@pytest.fixture
def chains(batch_of):
    coords, ptr = batch_of(20, 40)
    return coords, ptr, torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(1))


def test_features_change_the_answer_of_their_chain_only(chains):
    coords, ptr, features = chains
    changed = features.clone()
    changed[25] += torch.arange(WIDTH)  # a residue of the second chain
    one, two = (network()(coords, ptr, features=f).logits for f in (features, changed))
    assert torch.equal(one[0], two[0])
    assert not torch.allclose(one[1], two[1], atol=1e-5)


def test_a_rotation_does_not_change_the_answer(chains, rotation):
    coords, ptr, features = chains
    model = network(seq_in=True).double()
    coords, features, sequence = coords.double(), features.double(), torch.arange(60) % 21
    one = model(coords, ptr, sequence, features=features)
    two = model(coords @ rotation.T + 5, ptr, sequence, features=features)
    torch.testing.assert_close(one.logits, two.logits)


def test_features_of_a_residue_without_coordinates_do_not_count(chains):
    coords, ptr, features = chains
    coords[25] = float("nan")
    changed = features.clone()
    changed[25] += 100 * torch.arange(WIDTH)
    one, two = (network()(coords, ptr, features=f).logits for f in (features, changed))
    assert torch.equal(one, two)


def test_without_a_width_nothing_is_drawn_or_read(chains):
    coords, ptr, features = chains
    model = network(feature_width=0)
    torch.manual_seed(0)
    default = ParToken(3, NetworkSettings(**SMALL)).eval()
    assert model.state_dict().keys() == default.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), default.parameters(), strict=True))
    assert torch.equal(model(coords, ptr, features=features).logits, default(coords, ptr).logits)


def test_the_channels_are_those_asked_for_or_the_hidden_scalars():
    assert network().feature_input.linear.out_features == 16
    assert network(feature_channels=5).feature_input.linear.out_features == 5


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (None, "reads 7 features of each residue and was given none: .*data.residue_features=FILE"),
        (torch.ones(60, 3), "reads 7 features of each residue and was given 3"),
    ],
    ids=["missing", "another width"],
)
def test_features_that_do_not_fit_are_one_message(chains, features, words):
    coords, ptr, _ = chains
    with pytest.raises(UserError, match=words):
        network()(coords, ptr, features=features)
    with pytest.raises(UserError, match=words):
        network().calibrate([{"coords": coords, "ptr": ptr, "features": features}])


def test_codes_and_averages_are_measured_with_the_features(chains):
    coords, ptr, features = chains
    for method in ("calibrate", "init_codebook"):
        states = []
        for scale in (1.0, 1.0, -1.0):
            model = network()
            torch.manual_seed(2)
            getattr(model, method)([{"coords": coords, "ptr": ptr, "features": scale * features}])
            states.append(torch.cat([b.double().flatten() for b in model.buffers()]))
        assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_pretraining_does_not_read_the_features_of_hidden_residues(chains):
    coords, ptr, features = chains
    sequence, hidden = torch.arange(60) % 20, torch.arange(60) == 25
    model = network(MaskedResidues, seq_in=True)
    for residue, is_same in ((25, True), (26, False)):
        changed = features.clone()
        changed[residue] += torch.arange(WIDTH)
        one, two = (model(coords, ptr, sequence, hidden, features=f) for f in (features, changed))
        assert torch.equal(one, two) == is_same


def test_the_width_is_no_key_of_the_model():
    with pytest.raises(UserError, match=r"model\.feature_width is not a setting"):
        split_settings({"feature_width": 3})
