"""Low-rank adapters: what they change, what learns, and merging."""

import pytest
import torch
from torch import nn

from partoken.errors import UserError
from partoken.satellite.model.lora import (
    LowRankLinear,
    add_adapters,
    freeze_all_but_adapters,
    merge_adapters,
)


class Transformer(nn.Module):
    """Named like one: attention and MLP layers, and a head that gets no adapter."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(6, 18), "proj": nn.Linear(6, 6)})
        self.mlp = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6, bias=False))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        q, k, v = self.attn["qkv"](x).chunk(3, -1)
        x = x + self.attn["proj"]((q @ k.mT).softmax(-1) @ v)
        return self.head(x + self.mlp(x))


def adapted():
    network = Transformer()
    add_adapters(network, rank=2, targets=["*attn*", "*mlp*"])
    return network


def train(network):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    torch.manual_seed(1)
    for _ in range(5):
        optimizer.zero_grad()
        network(torch.randn(2, 5, 6)).square().mean().backward()
        optimizer.step()


def test_attention_and_mlp_layers_get_adapters_that_start_without_effect():
    x = torch.randn(2, 5, 6)
    network = adapted()
    names = [name for name, module in network.named_modules() if isinstance(module, LowRankLinear)]
    assert names == ["attn.qkv", "attn.proj", "mlp.0", "mlp.2"]
    assert torch.equal(network(x), Transformer()(x))


def test_only_the_adapters_learn():
    network, before = adapted(), Transformer().state_dict()
    train(network)
    changed = {name for name, value in network.state_dict().items() if value.any() and name.endswith(".up")}
    assert len(changed) == 4
    after = {name.replace(".base.", "."): value for name, value in network.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert all(name.endswith((".up", ".down")) for name in learning)
    assert len(learning) == 8


def test_merged_layers_have_the_same_outputs_and_the_names_of_the_original():
    network, x = adapted().double(), torch.randn(2, 5, 6).double()
    train(network.float())
    network.double()
    expected = network(x)
    assert not torch.allclose(expected, Transformer().double()(x))
    merge_adapters(network)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)
    assert list(network.state_dict()) == list(Transformer().state_dict())


def test_freezing_again_leaves_a_frozen_adapter_frozen():
    network = adapted().requires_grad_(True)
    network.mlp[0].up.requires_grad_(False)
    freeze_all_but_adapters(network)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert len(learning) == 7
    assert "mlp.0.up" not in learning
    plain = Transformer()
    freeze_all_but_adapters(plain)
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_patterns_without_a_layer_are_rejected_with_the_names_that_exist():
    with pytest.raises(UserError, match=r"\['\*query\*'\]: no linear layer .* linear layers: attn\.qkv, attn\.proj"):
        add_adapters(Transformer(), rank=2, targets=["*query*"])
