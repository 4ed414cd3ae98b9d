"""An encoder that reads the surroundings of each residue in the residue's own frame.

It is an alternative to the geometric vector perceptrons of `gvp`. Its inputs are invariant under rotation, so all its
channels are scalars and a layer is a few matrix products. The types of the neighbours enter in the last layer alone.
So a residue's feature depends on the types of the others and never on its own: every residue can be predicted from its
surroundings at once, however many layers there are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.residue_types import TypeEmbedding
from partoken.system.distributed import Dropout, Rows

__all__ = ["FrameEncoder", "FrameLayer"]

FARTHEST = 16
"""Sequence offsets beyond this number of residues count as this number."""
_HEADS = 4


class FrameLayer(nn.Module):
    """Creates a layer in which each residue attends to its neighbours, with a residual and a feed-forward part.

    Arguments:
        dim: Channels of a residue.
        edge_channels: Numbers of an edge.
        drop_rate: Dropout rate.
        num_types: Kinds of residues whose type is read of the senders; 0: types are not read.
    """

    def __init__(self, dim: int, edge_channels: int, drop_rate: float, num_types: int = 0):
        super().__init__()
        self.edge = nn.Linear(edge_channels, dim)
        self.offset = nn.Embedding(2 * FARTHEST + 1, dim)
        self.receiver = nn.Linear(dim, dim, bias=False)
        self.sender = nn.Linear(dim, dim, bias=False)
        self.sender_type = TypeEmbedding(num_types, dim) if num_types else None
        self.weight = nn.Linear(dim, _HEADS)
        self.message = nn.Linear(dim, dim)
        self.after_message = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.after_feed_forward = nn.LayerNorm(dim)
        self.drop = Dropout(drop_rate)

    def forward(
        self, h: Tensor, graph: ResidueGraph, edges: Tensor, sequence: Tensor | None = None, rows: Rows | None = None
    ) -> Tensor:
        """Maps residue features `[N, dim]` to new ones.

        Arguments:
            h: The features.
            graph: The batch of chains.
            edges: Numbers of the edges, `[N, k, edge_channels]`.
            sequence: Types of the residues, `[N]` int64 or weights `[N, num_types]`; not read without types.
            rows: The place of the residues in the batch of all devices; None: there is one device.
        """
        sent = self.sender(h)
        if self.sender_type is not None:
            sent = sent + self.sender_type(sequence)
        index = torch.arange(len(h), device=h.device)[:, None]
        offset = (graph.neighbors - index).clamp(-FARTHEST, FARTHEST) + FARTHEST
        pair = self.edge(edges) + self.offset(offset) + self.receiver(h)[:, None] + F.embedding(graph.neighbors, sent)
        pair = F.silu(pair)
        weight = self._weigh(pair, graph.neighbor_mask)
        taken = torch.einsum("nkh,nkhd->nhd", weight.to(pair.dtype), pair.unflatten(-1, (_HEADS, -1))).flatten(1)
        h = self.after_message(h + self.drop(self.message(taken), rows))
        return self.after_feed_forward(h + self.drop(self.feed_forward(h), rows))

    def _weigh(self, pair: Tensor, mask: Tensor) -> Tensor:
        """Computes the weights of the neighbours, `[N, k, heads]` float32 or wider, of sum 1 or, without any, 0."""
        scores = self.weight(pair)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        lowest = torch.finfo(scores.dtype).min
        return scores.masked_fill(~mask[..., None], lowest).softmax(1) * mask[..., None]


class FrameEncoder(nn.Module):
    """Creates the encoder.

    Arguments:
        num_scalars: Scalars of a residue in the graph.
        dim: Channels of a residue.
        edge_channels: Numbers of an edge.
        num_layers: Layers that read geometry alone. One more reads the types of the neighbours if there are types.
        drop_rate: Dropout rate.
        num_types: Kinds of residues; 0: the encoder reads geometry alone.
        extra_channels: Further scalars of a residue.
    """

    def __init__(
        self,
        num_scalars: int,
        dim: int,
        edge_channels: int,
        *,
        num_layers: int,
        drop_rate: float,
        num_types: int = 0,
        extra_channels: int = 0,
    ):
        super().__init__()
        self.begin = nn.Linear(num_scalars + 1 + extra_channels, dim)
        self.layers = nn.ModuleList(FrameLayer(dim, edge_channels, drop_rate) for _ in range(num_layers))
        self.type_layer = FrameLayer(dim, edge_channels, drop_rate, num_types) if num_types else None

    def forward(self, graph: ResidueGraph, sequence: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """Computes features of residues, `[N, dim]`, zero for missing ones.

        Arguments:
            graph: The batch of chains; its scalars of edges are those of `local_edges`.
            sequence: Types of the residues, `[N]` int64 or weights `[N, num_types]`; required with types.
            extra: Further scalars of the residues, `[N, extra_channels]`.
        """
        present = graph.mask[:, None].to(graph.node_s.dtype)
        parts = [graph.node_s, present, *([] if extra is None else [extra])]
        rows = graph.share and graph.share.residues
        h = self.begin(torch.cat(parts, dim=-1))
        for layer in self.layers:
            h = layer(h, graph, graph.edge_s, rows=rows)
        if self.type_layer is not None:
            h = self.type_layer(h, graph, graph.edge_s, sequence, rows)
        return h * present
