"""Messages between substructures that know how the substructures lie to each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.arrangement import OWN_NUMBERS, PAIR_NUMBERS, Arrangement
from partoken.system.distributed import Dropout, Rows

__all__ = ["GeometryExchange"]

_TYPICAL_PAIRS = 6.0
"""Sums of messages are divided by this number of pairs, which keeps them near one."""


class GeometryExchange(nn.Module):
    r"""Creates rounds of messages between the substructures of a chain.

    Each substructure $t_i$ first learns its own numbers $o_i$: kind, length, extent and place. In each round,

    $$ t_i \leftarrow t_i + W \sum_j \mathrm{GELU}(A\,\hat t_i + B\,\hat t_j + C\,p_{ij}) / 6 $$

    where $p_{ij}$ are the numbers of a pair, such as distance, angle, handedness and order along the chain, and
    $\hat t$ is $t$ after layer norm. Messages are summed, so a substructure can count its neighbours. Each substructure
    keeps its own part through the residual. After the last round, layer norm brings all substructures to one scale.

    See also:
        `partoken.protein.geometry.arrangement`, which computes the numbers.

    Arguments:
        dim: Channels of a substructure.
        num_layers: Rounds of messages.
        drop_rate: Dropout rate of the messages.
    """

    def __init__(self, dim: int, num_layers: int, drop_rate: float):
        super().__init__()
        self.own = nn.Sequential(nn.Linear(OWN_NUMBERS, dim), nn.GELU(), nn.Linear(dim, dim))
        self.rounds = nn.ModuleList(_Round(dim, drop_rate) for _ in range(num_layers))
        self.after = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, arrangement: Arrangement, rows: Rows | None = None) -> Tensor:
        """Returns the substructures `[B, K, dim]` after all rounds.

        Arguments:
            tokens: Features of the substructures, `[B, K, dim]`.
            arrangement: Numbers of the same substructures.
            rows: The place of the chains in the batch of all devices; None: there is one device.
        """
        tokens = tokens + self.own(arrangement.own.to(tokens.dtype))
        for one in self.rounds:
            tokens = one(tokens, arrangement, rows)
        return self.after(tokens)


class _Round(nn.Module):
    """Creates one round of messages."""

    def __init__(self, dim: int, drop_rate: float):
        super().__init__()
        self.before = nn.LayerNorm(dim)
        self.receiver = nn.Linear(dim, dim)
        self.sender = nn.Linear(dim, dim, bias=False)
        self.pair = nn.Linear(PAIR_NUMBERS, dim, bias=False)
        self.after = nn.Linear(dim, dim)
        self.drop = Dropout(drop_rate)

    def forward(self, tokens: Tensor, arrangement: Arrangement, rows: Rows | None) -> Tensor:
        before = self.before(tokens)
        receiver = self.receiver(before).flatten(0, 1).index_select(0, arrangement.receiver)
        sender = self.sender(before).flatten(0, 1).index_select(0, arrangement.sender)
        message = F.gelu(receiver + sender + self.pair(arrangement.pairs.to(tokens.dtype)))
        # In single precision at least: rounding in half precision would lose the last of many messages.
        message = message.to(torch.promote_types(message.dtype, torch.float32))
        total = message.new_zeros(tokens.shape[0] * tokens.shape[1], tokens.shape[2])
        total = total.index_add(0, arrangement.receiver, message).view(tokens.shape)
        return tokens + self.drop(self.after(total / _TYPICAL_PAIRS), rows)
