"""The classifier: reads a chain and its substructures, and scores classes and the importance of substructures."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.arrangement import arrange
from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.contributions import SUBSTRUCTURES, WHOLE, split_between
from partoken.protein.model.exchange import GeometryExchange
from partoken.protein.model.part_classifier import PartClassifier
from partoken.protein.model.partition import Partition
from partoken.protein.model.pooling import ChainPooling
from partoken.protein.model.standardise import Standardise
from partoken.system.distributed import Dropout, Rows

__all__ = ["Head", "HeadAnswer"]


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
    of the chain then attends to the substructures; these attention weights are the importance scores, unless the
    partition brings weights of its own. A gate mixes the
    result with the summary and one classifier reads the mixture, or each has a `PartClassifier` of its own and their
    scores are added.

    Arguments:
        dim: Channels of residues and substructures.
        num_classes: Number of classes C.
        pooling: Pooling of residues, see `ChainPooling`.
        drop_rate: Dropout rate.
        reads: Input of the classes: the chain's `"summary"`, its `"substructures"`, or `"both"`. With
            `"substructures"`, the summary is still the query of the attention.
        combine: What becomes of both: a `"gate"` mixes them, or the `"sum"` of their scores is taken. With a single
            input, the classifier is that of a gate or that of a part.
        exchange: Messages between substructures: among those that are `"touching"`, or by their `"geometry"`.
        exchange_layers: Rounds of messages by geometry.
        weighs: False: the partition brings the weights of the substructures.
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
        weighs: bool = True,
    ):
        super().__init__()
        self.pool = ChainPooling(dim, pooling)
        self.standardise = Standardise(self.pool.width)
        self.drop = Dropout(drop_rate)
        self.gate = self.query = None
        if reads != "summary":
            if exchange == "touching":
                self.before = nn.LayerNorm(dim)
                self.exchange = nn.Linear(dim, 3 * dim)
                self.exchanged = nn.Linear(dim, dim)
            if weighs:
                self.query = nn.Linear(dim, dim)
                self.key = nn.Linear(dim, dim, bias=False)
            self.gate = nn.Linear(2 * dim, dim) if reads == "both" and combine == "gate" else None
        self.classify: nn.Sequential | PartClassifier
        self.classify_summary = None
        if combine == "sum":
            self.classify = PartClassifier(dim, num_classes, drop_rate, standardise=reads != "summary")
            if reads == "both":
                self.classify_summary = PartClassifier(dim, num_classes, drop_rate, bias=False)
        else:
            self.classify = nn.Sequential(
                nn.Linear(dim, dim), nn.ReLU(), Dropout(drop_rate), nn.Linear(dim, num_classes)
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
        summary = self.summarise(h, graph, surroundings)
        if tokens is None or partition is None:
            return self._answer(WHOLE, summary, None, summary, rows)
        answer, importance = self.read(tokens, partition, graph, summary)
        if self.classify_summary is not None:
            contributions = {
                SUBSTRUCTURES: self.logits(answer, rows) - self.prior,
                WHOLE: self.classify_summary(summary, rows),
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

    def summarise(self, h: Tensor, graph: ResidueGraph, surroundings: Tensor | None = None) -> Tensor:
        """Computes the summaries of the chains, `[B, dim]`, from the inputs of `forward`."""
        return self.reduce(self.standardise(self.pool(h, graph, surroundings)))

    def read(self, tokens: Tensor, partition: Partition, graph: ResidueGraph, summary: Tensor) -> tuple[Tensor, Tensor]:
        """Reads the substructures of each chain.

        Returns:
            Their mean `[B, dim]`, weighted by importance, and the importance `[B, K]`.
        """
        tokens = self._exchange(tokens, partition, graph)
        if self.query is None:
            assert partition.weight is not None, "a partition weighs its substructures if the head does not"
            importance = partition.weight.to(torch.promote_types(tokens.dtype, torch.float32))
        else:
            scores = torch.einsum("bd,bkd->bk", self.query(summary), self.key(tokens))
            importance = _masked_softmax(scores / tokens.shape[-1] ** 0.5, partition.mask)
        return torch.einsum("bk,bkd->bd", importance, tokens), importance

    @property
    def standardise_answer(self) -> Standardise | None:
        """Standardises what the classifier reads of the substructures; None: nothing does."""
        return self.classify.standardise if isinstance(self.classify, PartClassifier) else None

    @property
    def prior(self) -> Tensor:
        """Output bias, `[C]`: the scores of the classes without any input, as far as the answer is a sum of parts."""
        bias = self._last.bias
        return bias.to(torch.promote_types(bias.dtype, torch.float32))

    @property
    def _last(self) -> nn.Linear:
        last = self.classify.classify if isinstance(self.classify, PartClassifier) else self.classify[-1]
        assert isinstance(last, nn.Linear)
        return last

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
        if isinstance(self.classify, PartClassifier):
            return self.classify(x, rows)
        hidden = self.classify[:2](self.drop(x, rows))
        logits = self.classify[3](self.classify[2](hidden, rows))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def answer_from_summary(self, summary: Tensor, rows: Rows | None = None) -> Tensor:
        """Computes the scores of the classes, `[B, C]`, from the summary `[B, dim]` alone, with its own classifier."""
        if self.classify_summary is None:
            return self.logits(summary, rows)
        return self.prior + self.classify_summary(summary, rows)

    @torch.no_grad()
    def set_prior(self, scores: Tensor) -> None:
        """Sets the output bias to the scores `[C]` that are best for an answer without any input."""
        self._last.bias.copy_(scores)

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
