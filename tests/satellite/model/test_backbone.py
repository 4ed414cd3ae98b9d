"""The three backbones behind one interface; TerraTorch is a made module with the registry's interface."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from partoken.errors import UserError
from partoken.satellite.baselines import predict_baseline
from partoken.satellite.model.lora import LowRankLinear
from partoken.satellite.model.settings import TranslatorSettings
from partoken.satellite.model.translator import Translator
from tests.satellite.made import data_settings, make_batch

SMALL = {"channels": (6, 8), "depths": (1, 1)}


class UsersNetwork(nn.Module):
    """A network of a user, whose weights are in a file."""

    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 4, 1))

    def forward(self, radar):
        return self.layers(radar / 20)


class Halved(nn.Module):
    """Returns the wrong size."""

    def forward(self, radar):
        return torch.cat([radar, radar], 1)[..., ::2, ::2]


class Generator(nn.Module):
    """Has the interface of TerraMind: a dictionary of modalities in, 12 bands of reflectance x 10,000 out."""

    def __init__(self, num_bands=12):
        super().__init__()
        self.attn = nn.Linear(2, 2)
        self.num_bands = num_bands

    def forward(self, x, timesteps):
        assert list(x) == ["S1GRD"]
        assert x["S1GRD"].shape[2] % 16 == x["S1GRD"].shape[3] % 16 == 0
        radar = self.attn(x["S1GRD"].movedim(1, -1))[..., :1].movedim(-1, 1)
        numbers = torch.arange(1.0, 1 + self.num_bands).view(1, -1, 1, 1)
        return {"S2L2A": 1000 * numbers + timesteps + 0 * radar}


@pytest.fixture
def terratorch(monkeypatch):
    """A made `terratorch.registry`, and what was asked of it."""
    calls, options = [], {}

    def build(name, **arguments):
        calls.append((name, arguments))
        if name == "missing":
            raise KeyError(f"{name} not in registry")
        return Generator(**options)

    registry = ModuleType("terratorch.registry")
    registry.FULL_MODEL_REGISTRY = SimpleNamespace(build=build)
    monkeypatch.setitem(sys.modules, "terratorch", ModuleType("terratorch"))
    monkeypatch.setitem(sys.modules, "terratorch.registry", registry)
    return SimpleNamespace(calls=calls, options=options)


def translator(**options):
    torch.manual_seed(0)
    return Translator(TranslatorSettings(**options), data_settings()).eval()


@pytest.fixture
def scripted(tmp_path):
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(UsersNetwork()).save(str(tmp_path / "network.pt"))
    return tmp_path / "network.pt"


def test_an_untrained_unet_answers_as_the_ridge_regression_or_the_mean():
    batch, data = make_batch(2, missing=0.0), data_settings()
    expected = predict_baseline("ridge", data["baselines"], batch)
    torch.testing.assert_close(translator(**SMALL)(batch.s1, batch.s1_mask), expected, atol=1e-5, rtol=1e-4)
    mean = torch.tensor(data["s2_mean"]).view(1, 4, 1, 1).expand_as(expected)
    torch.testing.assert_close(translator(**SMALL, start_from="mean")(batch.s1, batch.s1_mask), mean)


def test_missing_radar_may_have_any_value_and_reflectance_is_never_negative():
    batch, network = make_batch(2), translator(**SMALL)
    nn.init.normal_(network.backbone.unet.head[-1].weight, std=3.0)
    output = network(batch.s1, batch.s1_mask)
    spoilt = torch.where(batch.s1_mask[:, None], batch.s1, float("nan"))
    torch.testing.assert_close(network(spoilt, batch.s1_mask), output)
    assert output.min() == 0


def test_a_torchscript_file_is_used_as_it_is(scripted):
    batch = make_batch(2, missing=0.0)
    network = translator(backbone="file", backbone_file=str(scripted))
    state = network.backbone.network.state_dict()
    expected = UsersNetwork()
    expected.load_state_dict(state)
    torch.testing.assert_close(network(batch.s1, batch.s1_mask), expected(batch.s1).clamp(min=0))


def test_a_state_dict_is_loaded_into_the_users_class(tmp_path):
    batch, users = make_batch(2, missing=0.0), UsersNetwork(width=3)
    torch.save(users.state_dict(), tmp_path / "weights.pt")
    kind = {"_target_": f"{__name__}.UsersNetwork", "width": 3}
    sys.modules.setdefault(__name__, sys.modules[UsersNetwork.__module__])
    network = translator(backbone="file", backbone_file=str(tmp_path / "weights.pt"), backbone_class=kind)
    torch.testing.assert_close(network(batch.s1, batch.s1_mask), users(batch.s1).clamp(min=0))


def test_a_file_that_cannot_be_used_is_rejected_by_its_key(tmp_path):
    file = tmp_path / "weights.pt"
    with pytest.raises(UserError, match=r"model\.backbone_file=.*: no such file"):
        translator(backbone="file", backbone_file=str(file))
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"is no TorchScript file; for a state_dict, also set model\.backbone_class"):
        translator(backbone="file", backbone_file=str(file))
    with pytest.raises(UserError, match=r"does not fit Conv2d of model\.backbone_class"):
        kind = {"_target_": "torch.nn.Conv2d", "in_channels": 2, "out_channels": 4, "kernel_size": 1}
        translator(backbone="file", backbone_file=str(file), backbone_class=kind)
    for target in ("torch.nn.Missing", "tests.Network", "torch.nn.Conv2d"):
        with pytest.raises(UserError, match=r"model\.backbone_class\._target_=.*: cannot be created"):
            translator(backbone="file", backbone_file=str(file), backbone_class={"_target_": target})
    with pytest.raises(UserError, match=r"creates no torch\.nn\.Module"):
        translator(backbone="file", backbone_file=str(file), backbone_class={"_target_": "torch.optim.SGD"})


def test_a_network_that_returns_another_shape_is_rejected_with_both_shapes(tmp_path):
    torch.save(Halved().state_dict(), tmp_path / "weights.pt")
    sys.modules.setdefault(__name__, sys.modules[Halved.__module__])
    batch = make_batch(1)
    network = translator(
        backbone="file",
        backbone_file=str(tmp_path / "weights.pt"),
        backbone_class={"_target_": f"{__name__}.Halved"},
    )
    with pytest.raises(UserError, match=r"returns \(1, 4, 12, 10\) .* must return a tensor of shape \(1, 4, 24, 20\)"):
        network(batch.s1, batch.s1_mask)


def test_terratorch_is_asked_for_radar_to_optical_and_four_of_its_bands_are_used(terratorch):
    batch = make_batch(2)
    network = translator(backbone="terratorch", terratorch_timesteps=7)
    asked = {"modalities": ["S1GRD"], "output_modalities": ["S2L2A"], "pretrained": True, "standardize": True}
    assert terratorch.calls == [("terramind_v1_base_generate", asked)]
    output = network(batch.s1, batch.s1_mask)
    assert output.shape == (2, 4, 24, 20)
    assert output[0, :, 3, 3].tolist() == pytest.approx([0.2007, 0.3007, 0.4007, 0.8007])


def test_a_checkpoint_brings_the_weights_so_terratorch_downloads_none(terratorch):
    Translator(TranslatorSettings(backbone="terratorch"), data_settings(), read_weights=False)
    assert terratorch.calls[0][1]["pretrained"] is False


def test_another_backbone_can_have_adapters(terratorch):
    network = translator(backbone="terratorch", lora_rank=2)
    assert isinstance(network.backbone.network.attn, LowRankLinear)


def test_a_model_that_terratorch_cannot_build_is_rejected(terratorch):
    with pytest.raises(UserError, match=r"model\.terratorch_name=missing: .*missing not in registry"):
        translator(backbone="terratorch", terratorch_name="missing")
    terratorch.options["num_bands"] = 13
    batch = make_batch(1)
    with pytest.raises(UserError, match="returns 13 bands, S2L2A has 12"):
        translator(backbone="terratorch")(batch.s1, batch.s1_mask)


def test_without_terratorch_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "terratorch.registry", None)
    with pytest.raises(UserError, match=r"model\.backbone=terratorch: .* pip install 'partoken\[terratorch\]'"):
        translator(backbone="terratorch")
