"""From the residues of a chain to its summary."""

import torch
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.geometry.secondary_structure import COIL, HELIX, STRAND, secondary_structure
from partoken.protein.geometry.surroundings import SURROUNDINGS

__all__ = ["ChainPooling"]

# Sums are divided by this number of residues, which keeps the first layer's inputs near one.
_TYPICAL_LENGTH = 100.0
_LEAST_VARIANCE = 1e-6
"""Added to variances, so that the gradient of their root is finite."""
_NUM_ENVIRONMENTS = 5


class ChainPooling(nn.Module):
    """Creates a pooling of each chain's residues.

    Arguments:
        dim: Channels of a residue.
        pooling: `"sum"` (in units of 100 residues), `"mean"`, `"max"`, `"attention"` (learned weights of sum 1), or
            `"moments"`: mean and standard deviation; or `"environments"`: these two, and the means over the residues in
            helices, in strands, in neither, in the quarter closest to the centroid, and deep in a pocket
            (closeness x pocket above one half).
    """

    def __init__(self, dim: int, pooling: str):
        super().__init__()
        self.pooling = pooling
        self.width = dim * {"moments": 2, "environments": 2 + _NUM_ENVIRONMENTS}.get(pooling, 1)
        self.score = nn.Linear(dim, 1, bias=False) if pooling == "attention" else None

    @property
    def reads_surroundings(self) -> bool:
        """Whether the pooling depends on the surroundings of the residues."""
        return self.pooling == "environments"

    def forward(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor | None = None) -> Tensor:
        """Pools residue features into the summaries of the chains, `[B, width]`.

        Arguments:
            h: The features, `[N, dim]`.
            graph: The batch of chains.
            surroundings: Surroundings of the residues, `[N, S]`, see `geometry.surroundings`; for `"environments"`.
        """
        # In single precision at least: the rounding of a bfloat16 sum is larger than the differences between chains.
        h = h.to(torch.promote_types(h.dtype, torch.float32))
        present = graph.mask.to(h.dtype)
        total = h.new_zeros(graph.num_chains, h.shape[1])
        if self.pooling == "max":
            # The encoder's features are not negative, so zero is the minimum.
            index = graph.chain[:, None].expand_as(h)
            return total.scatter_reduce(0, index, h * present[:, None], "amax")
        if self.pooling == "sum":
            weight = present / _TYPICAL_LENGTH
        else:
            weight = present
            if self.score is not None:
                weight = weight * self.score(h).squeeze(-1).clamp(-30, 30).exp()
            norm = weight.new_zeros(graph.num_chains).index_add(0, graph.chain, weight)
            weight = weight / norm.clamp(min=torch.finfo(h.dtype).tiny).index_select(0, graph.chain)
        pooled = total.index_add(0, graph.chain, h * weight[:, None])
        if self.pooling not in ("moments", "environments"):
            return pooled
        # From the deviations, because the difference of the mean square and the squared mean would lose digits.
        square = (h - pooled.index_select(0, graph.chain)).square()
        variance = total.index_add(0, graph.chain, square * weight[:, None])
        parts = [pooled, (variance + _LEAST_VARIANCE).sqrt()]
        if self.reads_surroundings:
            parts.append(self._pool_environments(h, graph, surroundings))
        return torch.cat(parts, dim=-1)

    def _pool_environments(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor | None) -> Tensor:
        """Averages the residues in each environment, `[B, environments * dim]`; 0 if there is none."""
        assert surroundings is not None, "this pooling reads surroundings"
        members = _environments(graph, surroundings).to(h.dtype)
        size = h.new_zeros(graph.num_chains, _NUM_ENVIRONMENTS).index_add(0, graph.chain, members)
        weight = members / size.clamp(min=1).index_select(0, graph.chain)
        total = h.new_zeros(graph.num_chains, h.shape[1])
        means = [total.index_add(0, graph.chain, h * of_one[:, None]) for of_one in weight.unbind(1)]
        return torch.cat(means, dim=-1)


def _environments(graph: ResidueGraph, surroundings: Tensor) -> Tensor:
    """Marks the residues in each environment, `[N, environments]` bool."""
    state = secondary_structure(graph)
    closeness, pocket = (surroundings[:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
    inside = [state == HELIX, state == STRAND, state == COIL, closeness > 0.75, closeness * pocket > 0.5]
    return torch.stack(inside, dim=1) & graph.mask[:, None]
