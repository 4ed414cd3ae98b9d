"""A training starts with the encoder that ships: its weights, and what does not fit them."""

from dataclasses import replace

import pytest
import torch

from partoken.errors import UserError
from partoken.protein.model.masked import MaskedResidues
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.saved import load_network
from partoken.protein.model.settings import NetworkSettings
from partoken.protein.model.shipped import ENCODER_WEIGHTS, begin_encoder, load_shipped_encoder

ENCODER = ("encoder", "node_h_dim", "num_layers", "num_neighbors", "seq_in")


@pytest.fixture(scope="module")
def shipped():
    return load_network(ENCODER_WEIGHTS).network


@pytest.fixture
def settings(shipped):
    """Settings of another network with the encoder that ships."""
    encoder = {key: getattr(shipped.settings, key) for key in ENCODER}
    return NetworkSettings(**encoder, max_clusters=3, nhid=8, codebook_size=8)


def encoder_of(network):
    return {
        f"{part}.{name}": value
        for part in network.encoder_parts
        if getattr(network, part) is not None
        for name, value in getattr(network, part).state_dict().items()
    }


@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
def test_the_encoder_has_the_weights_to_the_bit_and_other_parts_keep_theirs(shipped, settings, kind):
    torch.manual_seed(0)
    network = ParToken(3, settings) if kind == "classifier" else MaskedResidues(settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_shipped_encoder(network)
    own, given = encoder_of(network), encoder_of(shipped)
    assert own.keys() == given.keys() and len(own) > 10
    assert all(torch.equal(own[name], given[name]) for name in given)
    assert not any(torch.equal(own[name], before[name]) for name in own if name.endswith("message.weight"))
    others = network.state_dict().keys() - own.keys()
    assert others and all(torch.equal(network.state_dict()[name], before[name]) for name in others)


def test_the_features_are_those_of_the_weights_that_ship(shipped, settings, batch_of):
    network = ParToken(3, settings).eval()
    load_shipped_encoder(network)
    network.freeze_encoder()
    assert network.fingerprint() == shipped.fingerprint()
    coords, ptr = batch_of(30)
    sequence = torch.arange(30) % 20
    torch.testing.assert_close(network.embed(coords, ptr, sequence)[0], shipped.embed(coords, ptr, sequence)[0])


@pytest.mark.parametrize(
    "change",
    [{"encoder": "gvp"}, {"node_h_dim": (40, 1)}, {"num_layers": 3}, {"num_neighbors": 7}, {"seq_in": False}],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_setting_that_does_not_fit_is_named_with_the_value_that_does(shipped, settings, change, device):
    with torch.device(device):
        network = ParToken(3, replace(settings, **change))
    [key] = change
    needed = getattr(shipped.settings, key)
    shown = f"[{needed[0]},{needed[1]}]" if isinstance(needed, tuple) else str(needed).lower()
    with pytest.raises(UserError) as caught:
        load_shipped_encoder(network)
    message = str(caught.value)
    assert f"set model.{key}={shown}, or model.init=random" in message
    assert message.count(f"model.{key}=") == 2


def test_all_settings_that_do_not_fit_are_named_together(settings):
    with pytest.raises(UserError, match=r"than model\.num_layers=4, model\.num_neighbors=9; set "):
        load_shipped_encoder(ParToken(3, replace(settings, num_layers=4, num_neighbors=9)))


def test_numbers_of_vectors_and_edges_do_not_matter_to_an_encoder_without_them(settings):
    usual = ParToken(3, settings)
    other = ParToken(3, replace(settings, node_h_dim=(settings.node_h_dim[0], 5), edge_in_dim=(8, 1)))
    for network in (usual, other):
        load_shipped_encoder(network)
    expected = usual.encoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in other.encoder.state_dict().items())


def test_a_network_that_reads_residue_features_is_refused(settings):
    with pytest.raises(UserError, match=r"data\.residue_features has 12 of each residue"):
        load_shipped_encoder(ParToken(3, replace(settings, feature_width=12)))


def test_an_installation_without_the_weights_is_told_what_to_do(monkeypatch, settings):
    monkeypatch.setattr("partoken.protein.model.shipped.shipped_weights", dict)
    with pytest.raises(UserError, match=r"install partoken again, or set model\.init=random"):
        load_shipped_encoder(ParToken(3, settings))


def test_other_weights_win_and_the_log_says_so(settings, caplog):
    caplog.set_level("INFO")
    network = MaskedResidues(settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    begin_encoder(network, "pretrained", "outputs/a/best.ckpt")
    begin_encoder(network, "random", None)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert "the weights come from outputs/a/best.ckpt, not from the package" in caplog.text
