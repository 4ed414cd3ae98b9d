"""The refiner and its condition, and the discriminator."""

import pytest
import torch

from partoken.satellite.model.discriminator import PatchDiscriminator
from partoken.satellite.model.refiner import Condition, Refiner, TwoStages, month_waves
from partoken.satellite.model.settings import RefinerSettings, TranslatorSettings
from partoken.satellite.model.translator import Translator
from tests.satellite.made import data_settings, make_batch


def refiner(**options):
    torch.manual_seed(0)
    return Refiner(RefinerSettings(refiner_channels=8, refiner_blocks=2, **options), data_settings()).eval()


def trained(**options):
    """A refiner whose zeros have become numbers."""
    network = refiner(**options)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def refine(network, batch, **changes):
    batch = type(batch)(**{**vars(batch), **changes})
    return network(batch.s2, batch.s1, batch.s1_mask, batch.month, batch.biome)


def test_an_untrained_refiner_changes_nothing():
    batch = make_batch(3, height=13, width=9)
    assert torch.equal(refine(refiner(), batch), batch.s2)


def test_month_and_biome_change_the_output_where_they_are_given():
    network, batch = trained(), make_batch(1)
    none, month = torch.tensor([0]), torch.tensor([7])
    unknown = refine(network, batch, month=none, biome=none - 1)
    assert not torch.equal(unknown, refine(network, batch, month=month, biome=none - 1))
    assert not torch.equal(unknown, refine(network, batch, month=none, biome=none))
    for switched_off, key, known in (("use_month", "month", month), ("use_biome", "biome", none)):
        network = trained(**{switched_off: False})
        given = {"month": none, "biome": none - 1} | {key: known}
        assert torch.equal(refine(network, batch, **given), refine(network, batch, month=none, biome=none - 1))


def test_an_unknown_month_and_biome_give_the_zero_vector():
    condition = Condition(5, use_month=True, use_biome=True)
    assert not condition(torch.tensor([0]), torch.tensor([-1])).any()


def test_december_and_january_are_neighbours():
    waves = month_waves(torch.arange(1, 13))
    steps = (waves - waves.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(12))
    assert (waves[0] - waves[6]).norm() > 1.5 * steps[0]


def test_missing_radar_may_have_any_value():
    network, batch = trained(), make_batch(2)
    spoilt = torch.where(batch.s1_mask[:, None], batch.s1, float("nan"))
    assert torch.equal(refine(network, batch), refine(network, batch, s1=spoilt))


def test_checkpointed_activations_give_the_same_gradients():
    gradients = []
    for checkpoint in (False, True):
        network = trained(checkpoint_activations=checkpoint).train()
        torch.manual_seed(1)
        refine(network, make_batch(2)).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for stored, computed_again in zip(*gradients, strict=True):
        assert torch.equal(stored, computed_again)


def test_stage_1_does_not_learn_and_has_no_dropout_inside_stage_2():
    settings = TranslatorSettings(channels=(6, 8), depths=(1, 1), drop_rate=0.5)
    network = TwoStages(Translator(settings, data_settings()), refiner(drop_rate=0.5)).train()
    batch = make_batch(1)
    first, refined = network(batch.s1, batch.s1_mask, batch.month, batch.biome)
    assert network.refiner.training and not network.translator.backbone.unet.training
    refined.sum().backward()
    assert not first.requires_grad
    assert all(parameter.grad is None for parameter in network.translator.parameters())
    assert network.refiner.head.weight.grad.any()


def test_the_discriminator_scores_patches_and_sees_no_missing_pixel():
    torch.manual_seed(0)
    discriminator, batch = PatchDiscriminator(4), make_batch(2, height=120, width=120)
    mask = batch.s1_mask & batch.s2_mask
    scores = discriminator(batch.s2, batch.s1, mask)
    assert scores.shape == (2, 1, 28, 28)
    spoilt = torch.where(mask[:, None], batch.s2, 5.0)
    assert torch.equal(discriminator(spoilt, batch.s1, mask), scores)


@pytest.mark.parametrize("size", [15, 16, 24, 33])
def test_the_discriminator_takes_small_tiles(size):
    batch = make_batch(1, height=size, width=size)
    assert PatchDiscriminator(4)(batch.s2, batch.s1, batch.s1_mask).isfinite().all()


def test_a_score_sees_a_patch_of_34_pixels():
    discriminator = PatchDiscriminator(2).double()
    optical = torch.randn(1, 4, 120, 120, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 120, 120, dtype=torch.bool)
    discriminator(optical, torch.randn(1, 2, 120, 120).double(), mask)[0, 0, 14, 14].backward()
    rows = optical.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 34
