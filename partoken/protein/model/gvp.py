"""Geometric vector perceptrons, and the encoder of residues that consists of them.

A feature is a pair of scalars `[..., channels]`, which a rotation does not change, and vectors `[3, ..., channels]`,
which rotate. With the axis first, a linear map of channels is one matrix product, and lengths read contiguous memory.

References:
    Learning from Protein Structure with Geometric Vector Perceptrons (Jing et al., ICLR 2021, arXiv 2009.01411).
    Equivariant Graph Neural Networks for 3D Macromolecular Structure (Jing et al., 2021, arXiv 2106.03843).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.protein.geometry.graph import ResidueGraph
from partoken.protein.model.message import mean_message
from partoken.system.distributed import Dropout, Rows, draw

__all__ = ["GVP", "Encoder", "MessagePassing", "VectorLayerNorm", "vector_norm"]

Dims = tuple[int, int]
"""Numbers of scalar and of vector channels."""
Feature = tuple[Tensor, Tensor]
"""Scalars `[..., s]` and vectors `[3, ..., v]`."""

_EPS = 1e-8


def vector_norm(v: Tensor) -> Tensor:
    """Computes the lengths `[...]` of vectors `[3, ...]`, at least 1e-4, where the gradient is still finite."""
    return v.square().sum(0).clamp(min=_EPS).sqrt()


class GVP(nn.Module):
    r"""Creates a geometric vector perceptron.

    $$ h = W_h v, \quad s' = \sigma(W_s [s, |h|] + b), \quad v' = W_v h \cdot \mathrm{sigmoid}(|W_v h|) $$

    Arguments:
        in_dims: Scalar and vector channels of the input.
        out_dims: Scalar and vector channels of the output; without vectors the output's second part is None.
        activated: True applies ReLU and the sigmoid gate; False leaves the outputs linear in (s, |h|) and in h.

    Example:
        >>> perceptron = GVP((6, 3), (100, 16))
        >>> s, v = perceptron((torch.randn(5, 6), torch.randn(3, 5, 3)))
        >>> s.shape, v.shape
        (torch.Size([5, 100]), torch.Size([3, 5, 16]))
    """

    def __init__(self, in_dims: Dims, out_dims: Dims, *, activated: bool = True):
        super().__init__()
        self.activated = activated
        hidden = max(in_dims[1], out_dims[1])
        self.wh = nn.Linear(in_dims[1], hidden, bias=False)
        self.ws = nn.Linear(in_dims[0] + hidden, out_dims[0])
        self.wv = nn.Linear(hidden, out_dims[1], bias=False) if out_dims[1] else None

    def forward(self, feature: Feature) -> tuple[Tensor, Tensor | None]:
        """Maps scalars `[..., s]` and vectors `[3, ..., v]` to the output channels."""
        s, v = feature
        h = self.wh(v)
        # Equal to `ws` applied to [s, |h|], without the concatenation, which autograd would keep in memory.
        of_scalars, of_lengths = self.ws.weight.split([s.shape[-1], h.shape[-1]], dim=1)
        s = F.linear(s, of_scalars, self.ws.bias) + F.linear(vector_norm(h), of_lengths)
        v = self.wv(h) if self.wv is not None else None
        if self.activated:
            s = F.relu(s)
            v = v * vector_norm(v).sigmoid() if v is not None else None
        return s, v


class VectorLayerNorm(nn.Module):
    """Creates a layer norm: the usual one for scalars, division by the root mean square length for vectors.

    It computes in the precision of its parameters, which keeps the residual stream exact under mixed precision.

    Arguments:
        num_scalars: Scalar channels.
    """

    def __init__(self, num_scalars: int):
        super().__init__()
        self.scalar_norm = nn.LayerNorm(num_scalars)

    def forward(self, feature: Feature) -> Feature:
        """Normalises scalars `[..., s]` and vectors `[3, ..., v]`."""
        s, v = (part.to(self.scalar_norm.weight.dtype) for part in feature)
        with torch.autocast(s.device.type, enabled=False):
            square = v.square().sum(0).clamp(min=_EPS).mean(-1, keepdim=True)
            return self.scalar_norm(s), v * square.rsqrt()


class FeatureDropout(nn.Module):
    """Creates a dropout of single scalars and of whole vectors.

    Arguments:
        rate: Probability that a channel is dropped.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate
        self.scalars = Dropout(rate)

    def forward(self, feature: Feature, rows: Rows | None = None) -> Feature:
        """Drops channels of scalars `[N, s]` and vectors `[3, N, v]` in training mode.

        Arguments:
            feature: Scalars and vectors.
            rows: The place of the residues in the batch of all devices; None: there is one device.
        """
        s, v = feature
        if not self.training or not self.rate:
            return s, v
        kept = draw(v[0], Tensor.uniform_, rows) >= self.rate
        return self.scalars(s, rows), v * kept / (1 - self.rate)


class MessagePassing(nn.Module):
    """Creates a layer: the mean message of the neighbours, then two feed-forward GVPs, each with a residual.

    The message of an edge is three GVPs over [sender, edge, receiver]. `message` holds their weights, and
    `partoken.protein.model.message` computes the mean of the messages without forming that concatenation.

    Arguments:
        node_dims: Scalar and vector channels of a residue.
        edge_dims: Scalar and vector channels of an edge.
        drop_rate: Dropout rate of both residual branches.
    """

    def __init__(self, node_dims: Dims, edge_dims: Dims, drop_rate: float):
        super().__init__()
        scalars, vectors = node_dims
        self.message = nn.ModuleList(
            [
                GVP((2 * scalars + edge_dims[0], 2 * vectors + edge_dims[1]), node_dims),
                GVP(node_dims, node_dims),
                GVP(node_dims, node_dims, activated=False),
            ]
        )
        hidden = (4 * scalars, 2 * vectors)
        self.feed_forward = nn.Sequential(GVP(node_dims, hidden), GVP(hidden, node_dims, activated=False))
        self.norm = nn.ModuleList([VectorLayerNorm(scalars), VectorLayerNorm(scalars)])
        self.dropout = FeatureDropout(drop_rate)

    def forward(self, node: Feature, edge: Feature, graph: ResidueGraph) -> Feature:
        """Maps residues `[N, s]`, `[3, N, v]` with edges `[N, k, es]`, `[3, N, k, ev]`; the shapes do not change."""
        rows = graph.share and graph.share.residues
        node = self._residual(0, node, mean_message(self.message, node, edge, graph), rows)
        return self._residual(1, node, self.feed_forward(node), rows)

    def _residual(self, branch: int, node: Feature, update: Feature, rows: Rows | None) -> Feature:
        s, v = self.dropout(update, rows)
        return self.norm[branch]((node[0] + s, node[1] + v))


class Encoder(nn.Module):
    """Creates the GVP network that computes one vector of scalars for each residue of a graph.

    Arguments:
        node_in_dim: Scalar and vector channels of the residue features.
        node_h_dim: Hidden scalar and vector channels of a residue; the output has the same number of scalars.
        edge_in_dim: Scalar and vector channels of the edge features.
        edge_h_dim: Hidden scalar and vector channels of an edge.
        num_layers: Message passing layers.
        drop_rate: Dropout rate of every residual branch.
    """

    def __init__(
        self,
        node_in_dim: Dims = (6, 3),
        node_h_dim: Dims = (100, 16),
        edge_in_dim: Dims = (32, 1),
        edge_h_dim: Dims = (32, 1),
        *,
        num_layers: int = 3,
        drop_rate: float = 0.1,
    ):
        super().__init__()
        self.node_input = nn.Sequential(
            VectorLayerNorm(node_in_dim[0]),
            GVP(node_in_dim, node_h_dim, activated=False),
        )
        self.edge_input = nn.Sequential(
            VectorLayerNorm(edge_in_dim[0]),
            GVP(edge_in_dim, edge_h_dim, activated=False),
        )
        self.layers = nn.ModuleList(MessagePassing(node_h_dim, edge_h_dim, drop_rate) for _ in range(num_layers))
        self.output = nn.Sequential(
            VectorLayerNorm(node_h_dim[0]),
            GVP(node_h_dim, (node_h_dim[0], 0)),
        )

    def forward(self, graph: ResidueGraph, extra: Tensor | None = None) -> Tensor:
        """Computes residue features `[N, s]`, zero for residues without N, CA or C.

        Arguments:
            graph: The batch of chains.
            extra: Further scalars of each residue, `[N, extra]`, such as an embedding of its amino acid.
        """
        scalars = graph.node_s if extra is None else torch.cat([graph.node_s, extra.to(graph.node_s)], dim=-1)
        node = self.node_input((scalars, graph.node_v.movedim(-1, 0)))
        edge = self.edge_input((graph.edge_s, graph.edge_v.movedim(-1, 0)))
        for layer in self.layers:
            node = layer(node, edge, graph)
        return self.output(node)[0] * graph.mask[:, None]
