"""The partitioner: cuts each chain into a few connected substructures, one after another."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.system.distributed import draw

__all__ = ["Partition", "Partitioner"]

_EPS = 1e-8


@dataclass(frozen=True)
class Partition:
    """Up to K substructures of each of B chains."""

    features: Tensor
    """Membership-weighted mean of the residues of each substructure, `[B, K, dim]`, zero where there is none."""
    mask: Tensor
    """True where a substructure exists, `[B, K]` bool."""
    assignment: Tensor
    """Substructure of each residue, numbered within its chain, `[N]` int64, -1 for none."""
    membership: Tensor
    """Probability with which its substructure took each residue, `[N]`: 1 for a seed, 0 for a residue without one."""
    core: Tensor | None = None
    """Residues that give a substructure its place and direction, `[N]` bool; None: all of its residues."""
    weight: Tensor | None = None
    """Weight of each substructure in the answer, `[B, K]`, sum 1 over a chain; None: the classifier decides."""


class Partitioner(nn.Module):
    """Creates a partitioner of residue graphs.

    In every chain, up to `max_clusters` times:

    1. The partitioner draws a seed among the free residues; in evaluation it takes the residue with the best score.
    2. It computes a probability for each free residue within `k_hop` edges of the seed.
    3. Residues with a probability above one half join the seed, at most `cluster_size_max` residues in all.

    Both choices are hard in the forward pass and soft in the backward pass, so the loss of the task trains them. Scores
    are standardised first: seed scores over the free residues of a chain, member scores over the candidates. The
    residues of a chain have similar features. Without standardising, the choice of the seed stays uniform, and the
    common part of the scores lets all candidates join or none.

    All chains of a batch take each step together. Memory and time are linear in the number of residues.

    Arguments:
        dim: Channels of a residue feature.
        hidden: Channels of the context vector and of the scoring networks.
        max_clusters: Largest number K of substructures in a chain.
        k_hop: Largest distance of a substructure's residue from its seed, in edges.
        cluster_size_max: Largest number of residues in a substructure, the seed included.
        termination_threshold: The partitioner leaves a chain when this fraction of its residues is assigned.
        learned: True: networks choose seeds and members. False: random numbers do, in evaluation a fixed hash of the
            position in the chain; comparing both measures the benefit of the networks.

    Example:
        >>> from partoken.protein.geometry.graph import featurize
        >>> _ = torch.manual_seed(0)
        >>> graph = featurize(torch.randn(50, 4, 3).cumsum(0), torch.tensor([0, 20, 50]))
        >>> partition = Partitioner(8, max_clusters=4)(torch.randn(50, 8), graph, torch.tensor(1.0))
        >>> partition.features.shape, partition.assignment.shape
        (torch.Size([2, 4, 8]), torch.Size([50]))
    """

    def __init__(
        self,
        dim: int,
        hidden: int = 50,
        *,
        max_clusters: int = 10,
        k_hop: int = 1,
        cluster_size_max: int = 15,
        termination_threshold: float = 0.95,
        learned: bool = True,
    ):
        super().__init__()
        self.max_clusters = max_clusters
        self.k_hop = k_hop
        self.cluster_size_max = cluster_size_max
        self.termination_threshold = termination_threshold
        self.learned = learned
        if learned:
            self.context_start = nn.Linear(dim, hidden)
            self.context_update = nn.GRUCell(dim, hidden)
            self.seed = _PairScore(dim, hidden, hidden)
            self.growth = _PairScore(dim, dim, hidden)
            self.threshold = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor, graph: ResidueGraph, tau: Tensor) -> Partition:
        """Partitions the chains of a graph.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            tau: Temperature of both choices, a scalar tensor.
        """
        num_chains, size = graph.num_chains, h.shape[0]
        chain = graph.chain
        present = _segment_sum(graph.mask.to(h.dtype), chain, num_chains)
        context = self._start(h, graph, present)
        # One more slot than residues: writes that must not reach any residue go to the last slot.
        free = F.pad(graph.mask, (0, 1))
        assignment = torch.full((size + 1,), -1, device=h.device)
        membership = h.new_zeros(size + 1)
        assigned = torch.zeros_like(present)
        seed_part, growth_part = self._residue_parts(h)
        features, masks = [], []
        for number in range(self.max_clusters):
            active = (assigned < present) & (assigned < self.termination_threshold * present)
            scores = self._seed_scores(seed_part, context, free[:-1], graph, number) / tau
            noise = self._gumbel(scores, graph) if self.training and self.learned else None
            soft, seed = _draw(scores, free[:-1], chain, num_chains, noise)
            seed_feature = _Pick.apply(soft, h, seed, chain)

            candidates = _within(seed, graph, self.k_hop)
            eligible = free[candidates] & active[:, None] & (candidates != seed[:, None])
            eligible &= _first_of_each(candidates)
            logits = self._growth_logits(growth_part, seed_feature, candidates, eligible, graph, number) / tau
            probability = logits.sigmoid() * eligible
            taken = (probability > 0.5) & (_rank(logits, eligible) < self.cluster_size_max - 1)
            weight = taken + (probability - probability.detach())
            total = seed_feature + torch.einsum("bm,bmd->bd", weight, _rows(h, candidates))
            feature = total / (1 + weight.sum(1, keepdim=True)) * active[:, None]

            members = (candidates, taken, probability)
            seeds = (seed[:, None], active[:, None], None)
            for index, chosen, value in (members, seeds):
                target = torch.where(chosen, index, size).flatten()
                assignment.index_fill_(0, target, number)
                free = free.index_fill(0, target, False)
                value = h.new_ones(()) if value is None else value.detach().flatten()
                membership = membership.index_put((target,), value.to(membership.dtype))
            assigned = assigned + taken.sum(1) + active
            context = self._update(feature, context, active)
            features.append(feature)
            masks.append(active)
        return Partition(
            features=torch.stack(features, dim=1),
            mask=torch.stack(masks, dim=1),
            assignment=assignment[:-1],
            membership=membership[:-1],
        )

    def _start(self, h: Tensor, graph: ResidueGraph, present: Tensor) -> Tensor | None:
        """Computes the first context of each chain, `[B, hidden]`, from the mean of its residues."""
        if not self.learned:
            return None
        mean = _segment_sum(h, graph.chain, graph.num_chains) / present.clamp(min=1)[:, None]
        return self.context_start(mean).tanh()

    def _update(self, feature: Tensor, context: Tensor | None, active: Tensor) -> Tensor | None:
        """Adds a new substructure `[B, dim]` to the context `[B, hidden]` of each active chain."""
        if not self.learned:
            return None
        return torch.where(active[:, None], self.context_update(feature, context), context)

    def _residue_parts(self, h: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Computes each residue's part of the hidden layers of both scores, `[N, hidden]`, once for all steps."""
        return (self.seed.left(h), self.growth.left(h)) if self.learned else (None, None)

    def _seed_scores(
        self,
        part: Tensor | None,
        context: Tensor | None,
        free: Tensor,
        graph: ResidueGraph,
        number: int,
    ) -> Tensor:
        """Scores each residue as the seed of substructure `number`, `[N]`."""
        if not self.learned:
            return self._noise(graph, 2 * number)
        chain, num_chains = graph.chain, graph.num_chains
        count = _segment_sum(free.to(context.dtype), chain, num_chains).clamp(min=1)
        scores = self.seed(part, self.seed.right(context).index_select(0, chain))

        def chain_mean(x: Tensor) -> Tensor:
            return (_segment_sum(x, chain, num_chains) / count).index_select(0, chain)

        return _standardise(scores, free, chain_mean)

    def _growth_logits(
        self,
        part: Tensor | None,
        seed_feature: Tensor,
        candidates: Tensor,
        eligible: Tensor,
        graph: ResidueGraph,
        number: int,
    ) -> Tensor:
        """Computes the logit with which each candidate joins substructure `number`, `[B, M]`."""
        if not self.learned:
            return self._noise(graph, 2 * number + 1)[candidates] - 0.5
        count = eligible.sum(1, keepdim=True).clamp(min=1)
        scores = self.growth(_rows(part, candidates), self.growth.right(seed_feature)[:, None])
        standard = _standardise(scores, eligible, lambda x: x.sum(1, keepdim=True) / count)
        return standard - self.threshold

    def _gumbel(self, scores: Tensor, graph: ResidueGraph) -> Tensor:
        """Draws Gumbel noise for each residue, `[N]`."""
        exponential = draw(scores, Tensor.exponential_, graph.share and graph.share.residues)
        return -exponential.clamp(min=torch.finfo(scores.dtype).tiny).log()

    def _noise(self, graph: ResidueGraph, number: int) -> Tensor:
        """Draws a number in [0, 1) for each residue, `[N]`; in evaluation it is a hash of the position in the chain."""
        if self.training:
            like = torch.empty(graph.chain.shape[0], device=graph.chain.device)
            return draw(like, Tensor.uniform_, graph.share and graph.share.residues)
        position = torch.arange(graph.chain.shape[0], device=graph.chain.device) - graph.ptr[graph.chain]
        mixed = (position + 1) * 2654435761 + (number + 1) * 40503 * 65537
        mixed = (mixed ^ (mixed >> 15)) * 2246822519
        return ((mixed ^ (mixed >> 13)) & 0xFFFFFF).to(torch.get_default_dtype()) / 2**24


class _PairScore(nn.Module):
    """Creates a score of pairs with one hidden layer; `left` and `right` compute their parts of it separately."""

    def __init__(self, left_dim: int, right_dim: int, hidden: int):
        super().__init__()
        self.left = nn.Linear(left_dim, hidden)
        self.right = nn.Linear(right_dim, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Scores pairs `[...]` by the two parts of their hidden layer, `[..., hidden]`."""
        return self.score(F.relu(left + right)).squeeze(-1)


class _Pick(torch.autograd.Function):
    """Selects the feature of each chain's seed, `[B, dim]`, with a gradient for the choice.

    The value is `h[seed]`. The gradient with respect to `soft` is that of the sum of `soft * h` over the chain.
    """

    @staticmethod
    def forward(ctx, soft: Tensor, h: Tensor, seed: Tensor, chain: Tensor) -> Tensor:
        ctx.save_for_backward(h, seed, chain)
        return h.index_select(0, seed)

    @staticmethod
    def backward(ctx, grad: Tensor):
        h, seed, chain = ctx.saved_tensors
        grad_soft = (grad.index_select(0, chain) * h).sum(-1)
        return grad_soft, torch.zeros_like(h).index_add_(0, seed, grad), None, None


def _standardise(scores: Tensor, among: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
    """Standardises scores over competing residues: `among` marks them, `mean` averages over them."""
    centred = scores - mean(scores * among)
    return centred * (mean(centred.square() * among) + _EPS).rsqrt()


def _draw(
    scores: Tensor,
    free: Tensor,
    chain: Tensor,
    num_chains: int,
    noise: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Draws one free residue of each chain from the softmax of the scores.

    Arguments:
        scores: Score of each residue, `[N]`.
        free: True for residues that may be drawn, `[N]` bool.
        chain: Number of each residue's chain, `[N]` int64.
        num_chains: Number of chains B.
        noise: Gumbel noise, `[N]`, by which a residue is drawn; None takes the best residue.

    Returns:
        The softmax of the perturbed scores, `[N]`, and the residue drawn in each chain, `[B]` (an arbitrary one if no
        residue is free).
    """
    if noise is not None:
        scores = scores + noise
    lowest = torch.finfo(scores.dtype).min
    scores = scores.masked_fill(~free, lowest)
    peak = torch.full((num_chains,), lowest, device=scores.device, dtype=scores.dtype)
    peak = peak.scatter_reduce(0, chain, scores.detach(), "amax").index_select(0, chain)
    weight = (scores - peak).exp() * free
    total = _segment_sum(weight, chain, num_chains).clamp(min=torch.finfo(scores.dtype).tiny)
    index = torch.arange(len(chain), device=chain.device)
    last = len(chain) - 1
    best = torch.where(free & (scores == peak), index, last)
    seed = torch.full((num_chains,), last, device=chain.device).scatter_reduce(0, chain, best, "amin")
    return weight / total.index_select(0, chain), seed


def _within(seed: Tensor, graph: ResidueGraph, hops: int) -> Tensor:
    """Lists the residues within `hops` edges of each seed `[B]`, `[B, M]`; a residue may occur more than once."""
    reached = seed[:, None]
    for _ in range(hops):
        around = graph.neighbors[reached].flatten(1)
        reached = torch.cat([reached, around], dim=1)
        if reached.shape[1] > graph.max_length:
            # No row has more distinct residues than the longest chain, so only repetitions are cut off.
            ordered = reached.sort(dim=1).values
            repeated = F.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
            order = repeated.sort(dim=1, stable=True).indices[:, : graph.max_length]
            reached = ordered.gather(1, order)
    return reached


def _first_of_each(index: Tensor) -> Tensor:
    """Marks the first occurrence of every value in each row `[B, M]`."""
    ordered, order = index.sort(dim=1, stable=True)
    fresh = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)
    return torch.zeros_like(fresh).scatter(1, order, fresh)


def _rank(scores: Tensor, eligible: Tensor) -> Tensor:
    """Ranks the eligible entries of each row `[B, M]` by falling score, from 0; ties go by position."""
    scores = scores.detach().masked_fill(~eligible, -torch.inf)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter(1, order, places)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Selects rows of `[N, ...]` by an index of any shape."""
    return x.index_select(0, index.flatten()).unflatten(0, index.shape)


def _segment_sum(x: Tensor, chain: Tensor, num_chains: int) -> Tensor:
    """Sums `[N, ...]` over the residues of each chain, `[B, ...]`."""
    return x.new_zeros(num_chains, *x.shape[1:]).index_add(0, chain, x)
