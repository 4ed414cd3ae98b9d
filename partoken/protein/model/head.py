"""The classifier: reads a chain and its substructures, and scores classes and the importance of substructures."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.arrangement import arrange
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.contributions import SUBSTRUCTURES, WHOLE, split_between
from partoken.protein.model.exchange import GeometryExchange
from partoken.protein.model.partition import Partition
from partoken.protein.model.pooling import ChainPooling
from partoken.system.distributed import Dropout, Rows, num_processes, total

__all__ = ["Head", "HeadAnswer", "Standardise"]


class Standardise(nn.Module):
    """Creates a batch norm without weights: each channel has mean 0 and variance 1 over chains.

    The common part of the chains is much larger than their differences. Without this layer the network first learns the
    class frequencies through the common part, which grows until it outweighs everything else in a residue's features.

    In training, the moments are those of the batch, over all devices. A batch with a single chain moves the running
    averages and is standardised by them. In evaluation, and while `frozen` is true, the moments are the running
    averages. `ParToken.calibrate` measures these averages again. If `frozen` is true, they do not change.

    Arguments:
        dim: Channels.

    Example:
        >>> standardise = Standardise(4)
        >>> standardise(torch.randn(100, 4)).std(0, unbiased=False).allclose(torch.ones(4), atol=1e-3)
        True
    """

    eps = 1e-5
    momentum = 0.1
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.frozen = False
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Standardises summaries `[B, dim]`; in evaluation the result of a chain does not depend on its batch."""
        if self.frozen or not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        if num_processes() > 1:
            return self._standardise_over_processes(x)
        if len(x) > 1:
            self.num_batches_tracked += 1
            averages = (self.running_mean, self.running_var)
            return F.batch_norm(x, *averages, training=True, momentum=self.momentum, eps=self.eps)
        with torch.no_grad():
            deviation = x[0] - self.running_mean
            self.running_var.lerp_(deviation.square(), self.momentum)
            self.running_mean.add_(self.momentum * deviation)
        return F.batch_norm(x, self.running_mean.clone(), self.running_var.clone(), eps=self.eps)

    def _standardise_over_processes(self, x: Tensor) -> Tensor:
        """Standardises by the moments of the chains of all processes; each has one chain or more."""
        sums = total(torch.cat([x.sum(0), x.new_full((1,), len(x))]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        variance = total((x - mean).square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt()

    @torch.no_grad()
    def calibrate(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the running averages to a measured mean and variance `[dim]`, unless `frozen` is true."""
        if not self.frozen:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)


class HeadAnswer(NamedTuple):
    """The answer for B chains with up to K substructures."""

    logits: Tensor
    """Scores of the classes, `[B, C]` float32 or wider."""
    importance: Tensor | None
    """Weight of each substructure, `[B, K]`: sum 1 over a chain's substructures; None without substructures."""
    summary: Tensor
    """Summary of each chain, standardised, `[B, dim]`."""
    contributions: dict[str, Tensor]
    """What each part adds to the scores, `[B, C]`, see `contributions`; empty if a gate mixes parts in training."""


class Head(nn.Module):
    """Creates the classifier of chains with substructures.

    Substructures that touch exchange messages by attention, with a residual; or `GeometryExchange` does it. The summary
    of the chain then attends to the substructures; these attention weights are the importance scores. A gate mixes the
    result with the summary, or each has a classifier of its own and their scores are added.

    Arguments:
        dim: Channels of residues and substructures.
        num_classes: Number of classes C.
        pooling: Pooling of residues, see `ChainPooling`.
        drop_rate: Dropout rate.
        reads: Input of the classes: the chain's `"summary"`, its `"substructures"`, or `"both"`. With
            `"substructures"`, the summary is still the query of the attention.
        combine: What becomes of both: a `"gate"` mixes them, or the `"sum"` of their scores is taken.
        exchange: Messages between substructures: among those that are `"touching"`, or by their `"geometry"`.
        exchange_layers: Rounds of messages by geometry.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        pooling: str,
        drop_rate: float,
        reads: str = "both",
        combine: str = "gate",
        exchange: str = "touching",
        exchange_layers: int = 1,
    ):
        super().__init__()
        self.pool = ChainPooling(dim, pooling)
        self.standardise = Standardise(self.pool.width)
        self.drop = Dropout(drop_rate)
        self.gate = None
        if reads != "summary":
            if exchange == "touching":
                self.before = nn.LayerNorm(dim)
                self.exchange = nn.Linear(dim, 3 * dim)
                self.exchanged = nn.Linear(dim, dim)
            self.query = nn.Linear(dim, dim)
            self.key = nn.Linear(dim, dim, bias=False)
            self.gate = nn.Linear(2 * dim, dim) if reads == "both" and combine == "gate" else None
        self.classify = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), Dropout(drop_rate), nn.Linear(dim, num_classes))
        self.classify_summary = None
        if reads == "both" and combine == "sum":
            self.classify_summary = nn.Sequential(
                nn.Linear(dim, dim), nn.ReLU(), Dropout(drop_rate), nn.Linear(dim, num_classes, bias=False)
            )
        self.geometry_exchange = None
        if reads != "summary" and exchange == "geometry":
            self.geometry_exchange = GeometryExchange(dim, exchange_layers, drop_rate)
        self.reduce = nn.Linear(self.pool.width, dim, bias=False) if self.pool.width > dim else nn.Identity()

    def forward(
        self,
        h: Tensor,
        graph: ResidueGraph,
        tokens: Tensor | None = None,
        partition: Partition | None = None,
        surroundings: Tensor | None = None,
    ) -> HeadAnswer:
        """Classifies chains.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            tokens: Features of the substructures, `[B, K, dim]`; None if the head reads the summary alone.
            partition: The substructures; None as for `tokens`.
            surroundings: Surroundings of the residues, `[N, S]`, if the pooling reads them.
        """
        rows = graph.share and graph.share.chains
        summary = self.reduce(self.standardise(self.pool(h, graph, surroundings)))
        if tokens is None:
            return self._answer(WHOLE, summary, None, summary, rows)
        tokens = self._exchange(tokens, partition, graph)
        scores = torch.einsum("bd,bkd->bk", self.query(summary), self.key(tokens))
        scores = scores / tokens.shape[-1] ** 0.5
        importance = _masked_softmax(scores, partition.mask)
        answer = torch.einsum("bk,bkd->bd", importance, tokens)
        if self.classify_summary is not None:
            contributions = {
                SUBSTRUCTURES: self.logits(answer, rows) - self.prior,
                WHOLE: self._classify(self.classify_summary, summary, rows),
            }
            return HeadAnswer(self.prior + sum(contributions.values()), importance, summary, contributions)
        if self.gate is None:
            return self._answer(SUBSTRUCTURES, answer, importance, summary, rows)
        logits = self._mix(summary, answer, rows)
        contributions = {}
        if not self.training:
            of_whole, of_substructures = split_between(self._mix, summary, answer.to(summary.dtype))
            contributions = {SUBSTRUCTURES: of_substructures, WHOLE: of_whole}
        return HeadAnswer(logits, importance, summary, contributions)

    @property
    def prior(self) -> Tensor:
        """Output bias, `[C]`: the scores of the classes without any input, as far as the answer is a sum of parts."""
        last = self.classify[-1]
        assert isinstance(last, nn.Linear)
        bias = last.bias
        return bias.to(torch.promote_types(bias.dtype, torch.float32))

    def _answer(
        self, part: str, read: Tensor, importance: Tensor | None, summary: Tensor, rows: Rows | None
    ) -> HeadAnswer:
        """Returns the answer of a head that reads a single part, `[B, dim]`."""
        logits = self.logits(read, rows)
        return HeadAnswer(logits, importance, summary, {part: logits - self.prior})

    def _mix(self, summary: Tensor, answer: Tensor, rows: Rows | None = None) -> Tensor:
        """Computes the scores of the classes, `[B, C]`, from summary and substructures, `[B, dim]` each."""
        assert self.gate is not None, "a head that reads both has a gate"
        gate = self.gate(torch.cat([summary, answer], dim=-1)).sigmoid()
        return self.logits(gate * summary + (1 - gate) * answer, rows)

    def logits(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """Maps a feature of each chain, `[B, dim]`, to scores of the classes, `[B, C]` float32 or wider.

        Arguments:
            x: The features.
            rows: The place of the chains in the batch of all devices; None: there is one device.
        """
        return self._classify(self.classify, x, rows)

    def _classify(self, classifier: nn.Sequential, x: Tensor, rows: Rows | None) -> Tensor:
        hidden = classifier[:2](self.drop(x, rows))
        logits = classifier[3](classifier[2](hidden, rows))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def set_prior(self, scores: Tensor) -> None:
        """Sets the output bias to the scores `[C]` that are best for an answer without any input."""
        self.classify[-1].bias.copy_(scores)

    def _exchange(self, tokens: Tensor, partition: Partition, graph: ResidueGraph) -> Tensor:
        """Adds to each substructure `[B, K, dim]` the messages of the others."""
        rows = graph.share and graph.share.chains
        if self.geometry_exchange is not None:
            arrangement = arrange(graph, partition.assignment, partition.mask, partition.core)
            return self.geometry_exchange(tokens, arrangement, rows)
        query, key, value = self.exchange(self.before(tokens)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / tokens.shape[-1] ** 0.5
        message = _masked_softmax(scores, touching(partition, graph)) @ value
        return tokens + self.drop(self.exchanged(message), rows)


def touching(partition: Partition, graph: ResidueGraph) -> Tensor:
    """Marks the substructures of a chain that have an edge between them, `[B, K, K]` bool; each touches itself."""
    num_chains, max_clusters = partition.mask.shape
    receiver = partition.assignment[:, None]
    sender = partition.assignment[graph.neighbors]
    assigned = (receiver >= 0) & (sender >= 0)
    cell = (graph.chain[:, None] * max_clusters + receiver) * max_clusters + sender
    # One more cell takes the edges that touch no substructure.
    unused = num_chains * max_clusters**2
    cell = torch.where(assigned & graph.neighbor_mask, cell, unused)
    touch = torch.zeros(unused + 1, dtype=torch.bool, device=cell.device)
    touch.index_fill_(0, cell.flatten(), True)
    touch = touch[:-1].view(num_chains, max_clusters, max_clusters)
    itself = torch.eye(max_clusters, dtype=torch.bool, device=cell.device)
    return (touch | touch.transpose(1, 2) | itself) & partition.mask[:, None, :]


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Computes the softmax over the last axis where the mask is true; zero elsewhere."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return F.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1) * mask
