"""Low-rank adapters on linear layers: training a large network through few parameters."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from partoken.errors import UserError

__all__ = ["LowRankLinear", "add_adapters", "freeze_all_but_adapters", "merge_adapters"]


class LowRankLinear(nn.Module):
    """A frozen linear layer with a trained low-rank addition: y = W x + b + B A x, in which B starts at zero.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2021), https://arxiv.org/abs/2106.09685

    Arguments:
        base: the layer; its parameters stop learning.
        rank: rows of A and columns of B.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.normal_(self.down, std=base.in_features**-0.5)
        self.to(base.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the layer to `[..., in_features]`."""
        base: Tensor = self.base(x)
        return base + x @ self.down.T @ self.up.T

    def merged(self) -> nn.Linear:
        """Returns one linear layer with the same outputs."""
        with torch.no_grad():
            self.base.weight += self.up @ self.down
        return self.base.requires_grad_(True)


def add_adapters(network: nn.Module, rank: int, targets: Sequence[str]) -> list[str]:
    """Freezes a network and adds adapters to its linear layers whose names match a pattern.

    Arguments:
        network: is changed in place.
        rank: of the adapters, 1 or more.
        targets: patterns in which `*` stands for any letters; a layer's name is the one in `named_modules`.

    Returns:
        The names of the layers with adapters.

    Raises:
        UserError: no linear layer matches.
    """
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in layers if any(fnmatchcase(name, pattern) for pattern in targets)]
    if not chosen:
        listed = ", ".join(layers[:10]) or "none"
        raise UserError(
            f"model.lora_targets={list(targets)}: no linear layer of the backbone has such a name; "
            f"its first linear layers: {listed}"
        )
    network.requires_grad_(False)
    for name in chosen:
        _replace(network, name, LowRankLinear(_linear(network, name), rank))
    return chosen


def freeze_all_but_adapters(network: nn.Module) -> None:
    """Stops the gradients of all parameters that are not of adapters; without adapters it changes nothing."""
    adapters = [module for module in network.modules() if isinstance(module, LowRankLinear)]
    own = {id(parameter) for adapter in adapters for parameter in (adapter.down, adapter.up)}
    for parameter in network.parameters() if adapters else ():
        if id(parameter) not in own:
            parameter.requires_grad_(False)


def merge_adapters(network: nn.Module) -> None:
    """Replaces each layer that has an adapter by one linear layer with the same outputs, in place.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        >>> add_adapters(network, rank=1, targets=["0"])
        ['0']
        >>> merge_adapters(network)
        >>> network[0]
        Linear(in_features=3, out_features=3, bias=True)
    """
    adapted = [(name, module) for name, module in network.named_modules() if isinstance(module, LowRankLinear)]
    for name, adapter in adapted:
        _replace(network, name, adapter.merged())


def _linear(network: nn.Module, name: str) -> nn.Linear:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, layer)
