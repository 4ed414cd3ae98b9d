"""The classifier: reads a chain and its substructures, and says how much each substructure mattered."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.model.graph import ResidueGraph
from partoken.protein.model.partition import Partition

__all__ = ["POOLINGS", "ChainPooling", "Head"]

POOLINGS = ("sum", "mean", "max", "attention")
# A sum over this many residues has the size of a mean, which keeps the first layer's inputs near one.
_TYPICAL_LENGTH = 100.0


class ChainPooling(nn.Module):
    """Creates the summary `[B, dim]` of each chain's residues `[N, dim]`.

    Arguments:
        dim: Channels of a residue.
        pooling: `"sum"` (in units of 100 residues), `"mean"`, `"max"` or `"attention"` (learned weights of sum 1).
    """

    def __init__(self, dim: int, pooling: str):
        super().__init__()
        self.pooling = pooling
        self.score = nn.Linear(dim, 1, bias=False) if pooling == "attention" else None

    def forward(self, h: Tensor, graph: ResidueGraph) -> Tensor:
        # In single precision at least: hundreds of bfloat16 terms would add up to less than chains differ by.
        h = h.to(torch.promote_types(h.dtype, torch.float32))
        present = graph.mask.to(h.dtype)
        total = h.new_zeros(graph.num_chains, h.shape[1])
        if self.pooling == "max":
            # The encoder's features are not negative, so that zero is the least.
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
        return total.index_add(0, graph.chain, h * weight[:, None])


class Standardise(nn.BatchNorm1d):
    """Creates a batch norm without weights: each channel in deviations from the usual chain.

    What chains have in common is much larger than what tells them apart. Without this the network first learns the
    frequencies of the classes through what is common, which grows until nothing else is left of a residue's features.
    In training, chains are compared with their batch; a chain that is alone in it moves the averages that evaluation
    uses, and is compared with them. `ParToken.calibrate` measures these averages anew.

    Arguments:
        dim: Channels.
    """

    def __init__(self, dim: int):
        super().__init__(dim, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, dim]`; in evaluation a chain's result does not depend on its batch mates."""
        if not self.training or len(x) > 1:
            return super().forward(x)
        with torch.no_grad():
            deviation = x[0] - self.running_mean
            self.running_var.lerp_(deviation.square(), self.momentum)
            self.running_mean.add_(self.momentum * deviation)
        return F.batch_norm(x, self.running_mean.clone(), self.running_var.clone(), eps=self.eps)

    @torch.no_grad()
    def calibrate(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the running averages to moments `[dim]` that were measured."""
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)


class Head(nn.Module):
    """Creates the classifier of chains with substructures.

    Substructures that touch exchange messages by attention, each keeping its own feature as a residual. The chain's
    summary then asks them, and the weights of the answer are the importance scores. A gate fuses answer and summary.

    Arguments:
        dim: Channels of residues and substructures.
        num_classes: Number of classes C.
        pooling: How a chain is summarised, see `ChainPooling`.
        drop_rate: Dropout rate.
        reads: What is classified: the chain's "summary", its "substructures", or "both" through the gate. Of
            substructures alone, the summary still asks the questions.
    """

    def __init__(self, dim: int, num_classes: int, *, pooling: str, drop_rate: float, reads: str = "both"):
        super().__init__()
        self.pool = ChainPooling(dim, pooling)
        self.standardise = Standardise(dim)
        self.drop = nn.Dropout(drop_rate)
        if reads != "summary":
            self.before = nn.LayerNorm(dim)
            self.exchange = nn.Linear(dim, 3 * dim)
            self.exchanged = nn.Linear(dim, dim)
            self.query = nn.Linear(dim, dim)
            self.key = nn.Linear(dim, dim, bias=False)
            self.gate = nn.Linear(2 * dim, dim) if reads == "both" else None
        self.classify = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(drop_rate), nn.Linear(dim, num_classes)
        )

    def forward(
        self, h: Tensor, graph: ResidueGraph, tokens: Tensor | None = None, partition: Partition | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Classifies chains.

        Arguments:
            h: Residue features, `[N, dim]`.
            graph: The batch of chains.
            tokens: What is read of each substructure, `[B, K, dim]`.
            partition: The substructures.

        Returns:
            Logits `[B, C]`, importance scores `[B, K]`, and the summaries `[B, dim]`.
        """
        summary = self.standardise(self.pool(h, graph))
        if tokens is None:
            return self.logits(summary), None, summary
        tokens = self._exchange(tokens, partition, graph)
        scores = torch.einsum("bd,bkd->bk", self.query(summary), self.key(tokens)) / tokens.shape[-1] ** 0.5
        importance = _masked_softmax(scores, partition.mask)
        answer = torch.einsum("bk,bkd->bd", importance, tokens)
        if self.gate is None:
            return self.logits(answer), importance, summary
        gate = self.gate(torch.cat([summary, answer], dim=-1)).sigmoid()
        return self.logits(gate * summary + (1 - gate) * answer), importance, summary

    def logits(self, x: Tensor) -> Tensor:
        """Maps what was read of each chain, or its summary, `[B, dim]` to scores of the classes `[B, C]`."""
        logits = self.classify(self.drop(x))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @torch.no_grad()
    def set_prior(self, scores: Tensor) -> None:
        """Starts the classes from scores `[C]` that are known before anything is learned."""
        self.classify[-1].bias.copy_(scores)

    def _exchange(self, tokens: Tensor, partition: Partition, graph: ResidueGraph) -> Tensor:
        query, key, value = self.exchange(self.before(tokens)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / tokens.shape[-1] ** 0.5
        message = _masked_softmax(scores, touching(partition, graph)) @ value
        return tokens + self.drop(self.exchanged(message))


def touching(partition: Partition, graph: ResidueGraph) -> Tensor:
    """Tells which substructures of a chain have an edge between them, `[B, K, K]` bool, each touching itself."""
    num_chains, most = partition.mask.shape
    receiver = partition.assignment[:, None]
    sender = partition.assignment[graph.neighbors]
    slot = (graph.chain[:, None] * most + receiver) * most + sender
    nowhere = num_chains * most * most
    slot = torch.where((receiver >= 0) & (sender >= 0) & graph.neighbor_mask, slot, nowhere)
    touch = torch.zeros(nowhere + 1, dtype=torch.bool, device=slot.device).index_fill_(0, slot.flatten(), True)
    touch = touch[:-1].view(num_chains, most, most)
    touch = touch | touch.transpose(1, 2) | torch.eye(most, dtype=torch.bool, device=slot.device)
    return touch & partition.mask[:, None, :]


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is true; zero elsewhere, and everywhere if it never is."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return F.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1) * mask
