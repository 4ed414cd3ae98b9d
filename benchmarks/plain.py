"""The encoder written as in the paper: the yardstick of `training_step.py`, and the reference of the tests.

Every edge has its own row, messages are made from the concatenation [sender, edge, receiver], and means are taken by
scatter. Vectors are `[..., channels, 3]`. It borrows the parameters of an `Encoder` and computes the same function.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.gvp import GVP, Encoder, MessagePassing

__all__ = ["PlainEncoder"]

Feature = tuple[Tensor, Tensor | None]


class PlainEncoder(nn.Module):
    """Creates the plain form of an encoder, with the encoder's own parameters."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, graph: ResidueGraph, extra: Tensor | None = None) -> Tensor:
        """Computes residue features `[N, s]`, zero where the residue is missing."""
        node_s = graph.node_s if extra is None else torch.cat([graph.node_s, extra], dim=-1)
        receiver, slot = graph.neighbor_mask.nonzero(as_tuple=True)
        ends = torch.stack([graph.neighbors[receiver, slot], receiver])
        node = _input(self.encoder.node_input, (node_s, graph.node_v))
        edge = _input(self.encoder.edge_input, (graph.edge_s[receiver, slot], graph.edge_v[receiver, slot]))
        for layer in self.encoder.layers:
            node = _layer(layer, node, edge, ends)
        return _input(self.encoder.output, node)[0] * graph.mask[:, None]


def _input(block: nn.Sequential, feature: Feature) -> Feature:
    norm, gvp = block
    return _gvp(gvp, _layer_norm(norm.scalar_norm, feature))


def _layer(layer: MessagePassing, node: Feature, edge: Feature, ends: Tensor) -> Feature:
    sender, receiver = ends
    message = _concatenate(_take(node, sender), edge, _take(node, receiver))
    for gvp in layer.message:
        message = _gvp(gvp, message)
    node = _residual(layer, 0, node, tuple(_scatter_mean(part, receiver, len(node[0])) for part in message))
    update = node
    for gvp in layer.feed_forward:
        update = _gvp(gvp, update)
    return _residual(layer, 1, node, update)


def _residual(layer: MessagePassing, place: int, node: Feature, update: Feature) -> Feature:
    s, v = update
    rate = layer.dropout.rate
    if layer.training and rate:
        s = F.dropout(s, rate)
        v = v * (torch.rand_like(v[..., :1]) >= rate) / (1 - rate)
    return _layer_norm(layer.norm[place].scalar_norm, (node[0] + s, node[1] + v))


def _gvp(gvp: GVP, feature: Feature) -> Feature:
    s, v = feature
    h = gvp.wh(v.transpose(-1, -2))
    s = gvp.ws(torch.cat([s, _norm(h, -2)], dim=-1))
    v = gvp.wv(h).transpose(-1, -2) if gvp.wv is not None else None
    if gvp.activated:
        s = F.relu(s)
        v = v * _norm(v, -1)[..., None].sigmoid() if v is not None else None
    return s, v


def _layer_norm(norm: nn.LayerNorm, feature: Feature) -> Feature:
    s, v = feature
    square = v.square().sum(-1, keepdim=True).clamp(min=1e-8)
    return norm(s), v / square.mean(-2, keepdim=True).sqrt()


def _norm(v: Tensor, axis: int) -> Tensor:
    return v.square().sum(axis).clamp(min=1e-8).sqrt()


def _concatenate(*features: Feature) -> Feature:
    scalars, vectors = zip(*features, strict=True)
    return torch.cat(scalars, dim=-1), torch.cat(vectors, dim=-2)


def _take(feature: Feature, index: Tensor) -> Feature:
    return feature[0][index], feature[1][index]


def _scatter_mean(x: Tensor, index: Tensor, size: int) -> Tensor:
    total = x.new_zeros(size, *x.shape[1:]).index_add(0, index, x)
    count = x.new_zeros(size).index_add(0, index, x.new_ones(len(index))).clamp(min=1)
    return total / count.view(-1, *[1] * (x.ndim - 1))
