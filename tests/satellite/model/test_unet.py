"""The U-Net: sizes, parameters, memory, and what a prediction depends on."""

import pytest
import torch

from partoken.satellite.model.settings import TranslatorSettings
from partoken.satellite.model.translator import Translator
from partoken.satellite.model.unet import Block, UNet, pad_to_multiple
from tests.satellite.made import data_settings


def small(**options):
    torch.manual_seed(0)
    network = UNet(3, 4, channels=(6, 8, 10), depths=(1, 1, 1), **options)
    torch.nn.init.normal_(network.head[-1].weight)
    return network


def test_the_default_network_has_fewer_than_two_million_parameters():
    network = Translator(TranslatorSettings(), data_settings())
    assert 100_000 < sum(parameter.numel() for parameter in network.parameters()) < 2_000_000


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 30), (16, 16), (33, 5)])
def test_an_image_keeps_its_size_whatever_it_is(height, width):
    assert small()(torch.randn(2, 3, height, width)).shape == (2, 4, height, width)


def test_the_output_starts_at_zero():
    network = UNet(3, 4, channels=(6, 8), depths=(1, 1))
    assert not network(torch.randn(1, 3, 8, 8)).any()


def test_checkpointed_activations_give_the_same_output_and_gradients():
    gradients, image = [], torch.randn(1, 3, 16, 12)
    for checkpoint in (False, True):
        network = small(checkpoint_activations=checkpoint, drop_rate=0.3)
        torch.manual_seed(1)
        output = network(image)
        output.square().sum().backward()
        gradients.append([output.detach(), *(parameter.grad for parameter in network.parameters())])
    for stored, computed_again in zip(*gradients, strict=True):
        assert torch.equal(stored, computed_again)


def test_checkpointed_activations_are_not_stored():
    def saved_bytes(checkpoint):
        sizes = []
        network = small(checkpoint_activations=checkpoint)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
            network(torch.randn(1, 3, 32, 32))
        return sum(sizes)

    assert saved_bytes(True) < 0.5 * saved_bytes(False)


def test_a_tile_does_not_depend_on_the_other_tiles_of_its_batch():
    network, images = small().eval(), torch.randn(3, 3, 12, 12)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_a_pixel_depends_on_its_surroundings_only():
    network, image = small().eval(), torch.randn(1, 3, 240, 8)
    other = image.clone()
    other[:, :, :40] += 1
    difference = (network(image) - network(other)).abs().amax((0, 1, 3))
    assert difference[:40].min() > 1e-3
    assert difference[160:].max() == 0


def test_padding_repeats_the_last_row_and_column():
    padded = pad_to_multiple(torch.arange(6.0).view(1, 1, 2, 3), 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]


def test_a_condition_starts_without_effect_and_can_have_one():
    block = Block(6, condition_size=3)
    x = torch.randn(2, 6, 8, 8)
    plain = block(x, torch.zeros(2, 3))
    assert torch.equal(plain, block(x, torch.randn(2, 3)))
    torch.nn.init.normal_(block.modulate.weight)
    assert not torch.allclose(plain, block(x, torch.randn(2, 3)))
