"""Reading the residues of a chain by attention: each label looks for the residues that decide its class.

References:
    Attention-based Deep Multiple Instance Learning (Ilse, Tomczak and Welling, ICML 2018) for weights over the parts of
    a whole that alone has a label.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.surroundings import SURROUNDINGS
from partoken.protein.model.standardise import Standardise
from partoken.system.distributed import Dropout

__all__ = ["AttentionReading", "ResidueReading", "prior_scores", "softmax_over_chains"]

_LEAST_PRIOR = 0.01
"""Added to the prior, so that no residue is out of reach."""


class ResidueReading(NamedTuple):
    """What L labels with C classes in all read in B chains with N residues."""

    logits: Tensor
    """Scores to add to those of the classes, `[B, C]`."""
    attention: Tensor
    """Weight of each residue for each label, `[N, L]`: sum 1 over a chain, 0 for a missing residue."""


class AttentionReading(nn.Module):
    """Creates the attention of each label over the residues of a chain.

    A small network scores each residue from its features and surroundings. The softmax of the scores over the chain are
    the weights with which the label averages features and surroundings; a linear layer turns the average into scores of
    its classes. They are added to the other scores of these classes, so in evaluation each residue has an exact share.

    The prior multiplies the weight of each residue by closeness x pocket + 0.01, see `geometry.surroundings`. At the
    start the weights are the prior's, or equal without it.

    Arguments:
        dim: Channels of a residue.
        num_classes: Number of classes of each label, L numbers.
        prior: True multiplies the weights by the prior.
        drop_rate: Dropout rate.
    """

    def __init__(self, dim: int, num_classes: Sequence[int], *, prior: bool, drop_rate: float):
        super().__init__()
        self.prior = prior
        width, labels = dim + len(SURROUNDINGS), len(num_classes)
        self.norm = nn.LayerNorm(dim)
        scores = nn.Linear(dim, labels, bias=False)
        nn.init.zeros_(scores.weight)
        self.score = nn.Sequential(nn.Linear(width, dim), nn.GELU(), scores)
        self.standardise = Standardise(labels * width)
        self.drop = Dropout(drop_rate)
        self.classify = nn.ModuleList(nn.Linear(width, count, bias=False) for count in num_classes)

    def forward(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor) -> ResidueReading:
        """Reads chains.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            surroundings: Surroundings of the residues, `[N, S]`; see `geometry.surroundings`.
        """
        attention, average = self._average(h, graph, surroundings)
        read = self.drop(self.standardise(average), graph.share and graph.share.chains)
        parts = read.chunk(len(self.classify), dim=-1)
        logits = torch.cat([layer(part) for layer, part in zip(self.classify, parts, strict=True)], dim=-1)
        return ResidueReading(logits.to(average.dtype), attention)

    def average(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor) -> Tensor:
        """Averages the residues of each chain for each label, `[B, L * (dim + S)]`, before it is standardised."""
        return self._average(h, graph, surroundings)[1]

    def attend(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor) -> Tensor:
        """Computes the weight of each residue for each label alone, `[N, L]`."""
        return self._attend(self._read(h, surroundings), graph, surroundings)

    def _average(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weights `[N, L]` and the averages."""
        x = self._read(h, surroundings)
        attention = self._attend(x, graph, surroundings)
        weighted = [weight[:, None] * x.to(attention.dtype) for weight in attention.unbind(1)]
        average = attention.new_zeros(graph.num_chains, attention.shape[1] * x.shape[1])
        return attention, average.index_add(0, graph.chain, torch.cat(weighted, dim=1))

    def _read(self, h: Tensor, surroundings: Tensor) -> Tensor:
        """Joins features and surroundings, `[N, dim + S]`."""
        x = self.norm(h)
        return torch.cat([x, surroundings.to(x.dtype)], dim=-1)

    def _attend(self, x: Tensor, graph: ResidueGraph, surroundings: Tensor) -> Tensor:
        scores = self.score(x)
        # In single precision at least, as all sums over residues.
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.prior:
            scores = scores + prior_scores(surroundings)[:, None].to(scores.dtype)
        return softmax_over_chains(scores, graph)


def prior_scores(surroundings: Tensor) -> Tensor:
    """Computes log(closeness x pocket + 0.01) from surroundings `[N, S]`, `[N]`."""
    closeness, pocket = (surroundings[:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
    return torch.log(closeness * pocket + _LEAST_PRIOR)


def softmax_over_chains(scores: Tensor, graph: ResidueGraph) -> Tensor:
    """Computes the softmax of scores `[N, L]` over the residues of each chain, 0 for a missing residue, `[N, L]`."""
    scores = scores.masked_fill(~graph.mask[:, None], torch.finfo(scores.dtype).min)
    index = graph.chain[:, None].expand_as(scores)
    shape = (graph.num_chains, scores.shape[1])
    largest = scores.detach().new_full(shape, torch.finfo(scores.dtype).min)
    largest = largest.scatter_reduce(0, index, scores.detach(), "amax")
    weight = (scores - largest.index_select(0, graph.chain)).exp() * graph.mask[:, None]
    norm = scores.new_zeros(shape).index_add(0, graph.chain, weight)
    return weight / norm.clamp(min=torch.finfo(scores.dtype).tiny).index_select(0, graph.chain)
