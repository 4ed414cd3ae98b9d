"""The mean message of each residue's neighbours, computed block by block, forward and backward.

In the paper, the message of an edge is three GVPs over the concatenation [sender, edge, receiver]. This module computes
the same function with less work:

- It splits the linear maps of the first GVP into parts for the sender, the receiver and the edge. Only the edge's part
  is computed for every edge.
- The third GVP has no activation, so its linear maps are applied to the mean message. Only the lengths of its hidden
  vectors are not linear; they are averaged over the messages.
- It processes edges in blocks that fit into the processor's cache. The backward pass computes a block again, except
  its scalars, whose products are the most expensive. The forward pass stores the scalars of the first GVP, and a mask
  of the nonzero scalars of the second: 15 kB for each residue and layer in float32.

Vectors are `[3, ..., channels]`, so lengths and gates read contiguous memory. On a CPU each thread processes its own
blocks, because threads that share every small operation spend more time waiting than computing.

References:
    Learning from Protein Structure with Geometric Vector Perceptrons (Jing et al., ICLR 2021, arXiv 2009.01411).
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from partoken.protein.geometry.graph import ResidueGraph

__all__ = ["mean_message"]

# Fused operations: the gradient where a value is above a threshold, zero elsewhere; the gradient of a sigmoid.
threshold_backward = torch.ops.aten.threshold_backward
sigmoid_backward = torch.ops.aten.sigmoid_backward

T = TypeVar("T")
_EPS = 1e-8
_SHORTEST = _EPS**0.5
# Edges in a block: on a CPU they fit into the cache; a GPU is faster with few, large kernels.
_BLOCK = {"cpu": 8192}
_BLOCK_ELSEWHERE = 1 << 17


def mean_message(
    gvps: Sequence[nn.Module],
    node: tuple[Tensor, Tensor],
    edge: tuple[Tensor, Tensor],
    graph: ResidueGraph,
) -> tuple[Tensor, Tensor]:
    """Computes the mean message of each residue's neighbours.

    Arguments:
        gvps: The three GVPs of a message, the last without activation.
        node: Scalars `[N, s]` and vectors `[3, N, v]` of the residues.
        edge: Scalars `[N, k, es]` and vectors `[3, N, k, ev]` of the edges.
        graph: The neighbours of each residue.

    Returns:
        Scalars `[N, s]` and vectors `[3, N, v]`, zero for a residue without neighbours.
    """
    first, second, third = gvps
    scalars, vectors = node
    s, v, es, ev = scalars.shape[-1], vectors.shape[-1], edge[0].shape[-1], edge[1].shape[-1]
    ws_sender, ws_edge, ws_receiver, ws_norm = first.ws.weight.split([s, es, s, first.wh.out_features], dim=1)
    wh_sender, wh_edge, wh_receiver = first.wh.weight.split([v, ev, v], dim=1)
    parts = [
        scalars @ ws_sender.T,
        vectors @ wh_sender.T,
        scalars @ ws_receiver.T + first.ws.bias,
        vectors @ wh_receiver.T,
        *edge,
        wh_edge.T,
        ws_edge.T,
        ws_norm.T,
        first.wv.weight.T,
        second.wh.weight.T,
        *(part.T for part in second.ws.weight.split([s, second.wh.out_features], dim=1)),
        second.ws.bias,
        second.wv.weight.T,
        third.wh.weight.T,
    ]
    device = scalars.device.type
    if torch.is_autocast_enabled(device):
        parts = [part.to(torch.get_autocast_dtype(device)) for part in parts]
    learning = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    with torch.autocast(device, enabled=False):
        sums = _MessageSum.apply(learning, graph.neighbors, graph.neighbor_mask, *parts)
    count = graph.neighbor_mask.sum(1, keepdim=True).clamp(min=1).to(scalars.dtype)
    mean_s, mean_n, mean_v = (part / count for part in sums)
    out_s = third.ws(torch.cat([mean_s, mean_n], dim=-1)) * graph.neighbor_mask[:, :1]
    return out_s, third.wv(third.wh(mean_v))


class _Inputs(NamedTuple):
    """Inputs of the messages; weights are `[in, out]`."""

    sender_s: Tensor
    sender_v: Tensor
    receiver_s: Tensor
    receiver_v: Tensor
    edge_s: Tensor
    edge_v: Tensor
    wh1: Tensor
    ws1: Tensor
    wn1: Tensor
    wv1: Tensor
    wh2: Tensor
    ws2: Tensor
    wn2: Tensor
    bias2: Tensor
    wv2: Tensor
    wh3: Tensor


class _Gradients(NamedTuple):
    """Gradients with respect to `_Inputs`; None where nobody needs one."""

    sender_s: Tensor | None
    sender_v: Tensor | None
    receiver_s: Tensor | None
    receiver_v: Tensor | None
    edge_s: Tensor | None
    edge_v: Tensor | None
    wh1: Tensor | None
    ws1: Tensor | None
    wn1: Tensor | None
    wv1: Tensor | None
    wh2: Tensor | None
    ws2: Tensor | None
    wn2: Tensor | None
    bias2: Tensor | None
    wv2: Tensor | None
    wh3: Tensor | None


_OF_RECEIVER = ("receiver_s", "receiver_v", "edge_s", "edge_v")


class _Message(NamedTuple):
    """The messages of one block, with the intermediate results that the backward pass needs."""

    h1: Tensor
    n1: Tensor
    s1: Tensor
    r1: Tensor
    m1: Tensor
    g1: Tensor
    v1: Tensor
    h2: Tensor
    n2: Tensor
    s2: Tensor | None
    r2: Tensor
    m2: Tensor
    g2: Tensor
    v2: Tensor
    h3: Tensor
    n3: Tensor


class _MessageSum(torch.autograd.Function):
    """Sums three quantities over neighbours.

    They are the scalars of the second GVP, `[N, s]`, the lengths of the third GVP's hidden vectors, `[N, v]`, and the
    vectors of the second GVP, `[3, N, v]`.
    """

    @staticmethod
    def forward(ctx, learning: bool, neighbors: Tensor, mask: Tensor, *parts: Tensor):
        inputs = _Inputs(*parts)
        ctx.save_for_backward(neighbors, mask, *parts)
        size, k = neighbors.shape
        s, v = inputs.ws2.shape[1], inputs.wv2.shape[1]
        if learning:
            ctx.s1 = inputs.sender_s.new_empty(size, k, s)
            ctx.active = mask.new_empty(size, k, s)
        sum_s, sum_n = inputs.sender_s.new_empty(size, s), inputs.sender_s.new_empty(size, v)
        sum_v = inputs.sender_s.new_empty(3, size, v)

        def work(blocks: Sequence[slice]) -> None:
            for rows in blocks:
                occupied = mask[rows, :, None].to(sum_s.dtype)
                s1 = ctx.s1[rows] if learning else sum_s.new_empty(len(occupied), k, s)
                message = _message(inputs, neighbors[rows], rows, s1, occupied)
                if learning:
                    ctx.active[rows].copy_(message.s2)
                torch.sum(message.s2, 1, out=sum_s[rows])
                torch.sum(message.n3.mul_(occupied), 1, out=sum_n[rows])
                torch.sum(message.v2.mul_(occupied), 2, out=sum_v[:, rows])

        _run_blocks(work, neighbors)
        return sum_s, sum_n, sum_v

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_s: Tensor, grad_n: Tensor, grad_v: Tensor):
        neighbors, mask, *parts = ctx.saved_tensors
        inputs = _Inputs(*parts)
        # Sums over blocks have at least float32 precision.
        exact = torch.promote_types(grad_s.dtype, torch.float32)
        # Nobody needs the gradients of weights if only the inputs of the network are asked for, as in an explanation.
        needed = {name for name, is_needed in zip(_Inputs._fields, ctx.needs_input_grad[3:], strict=True) if is_needed}
        # Each block writes only its own rows of these gradients.
        own = {name: torch.empty_like(getattr(inputs, name)) for name in _OF_RECEIVER if name in needed}
        summed = [name for name in _Inputs._fields if name in needed and name not in own]
        nothing = dict.fromkeys(_Gradients._fields)

        def work(blocks: Sequence[slice]) -> _Gradients:
            sums = {name: torch.zeros_like(getattr(inputs, name), dtype=exact) for name in summed}
            grads = _Gradients(**{**nothing, **own, **sums})
            for rows in blocks:
                occupied = mask[rows, :, None].to(grad_s.dtype)
                # A view as bytes, because the conversion of booleans is eight times as slow.
                active = ctx.active[rows].view(torch.uint8).to(grad_s.dtype)
                _message_backward(
                    inputs,
                    grads,
                    _message(inputs, neighbors[rows], rows, ctx.s1[rows]),
                    neighbors[rows],
                    rows,
                    threshold_backward(grad_s[rows, None], active, 0),
                    grad_n[rows, None] * occupied,
                    grad_v[:, rows, None] * occupied,
                )
            return grads

        first, *others = _run_blocks(work, neighbors)
        for grads in others:
            for name in summed:
                getattr(first, name).add_(getattr(grads, name))
        return None, None, None, *first


def _run_blocks(work: Callable[[Sequence[slice]], T], neighbors: Tensor) -> list[T]:
    """Calls `work` with consecutive blocks of rows, on a CPU in one thread for each core; returns all results."""
    (size, k), device = neighbors.shape, neighbors.device.type
    threads = torch.get_num_threads() if device == "cpu" else 1
    rows_at_once = max(1, _BLOCK.get(device, _BLOCK_ELSEWHERE) // k)
    # Each thread has the same number of blocks, and all blocks have the same size.
    rounds = max(1, -(-size // (threads * rows_at_once)))
    step = max(1, -(-size // (threads * rounds)))
    blocks = [slice(start, min(start + step, size)) for start in range(0, size, step)]
    portions = [blocks[start : start + rounds] for start in range(0, len(blocks), rounds)]
    if len(portions) <= 1:
        return [work(blocks)]
    # Threads do not inherit the inference mode of their caller.
    inference = torch.is_inference_mode_enabled()

    def work_in_thread(portion: Sequence[slice]) -> T:
        with torch.inference_mode(inference), torch.no_grad():
            return work(portion)

    return list(_pool(threads).map(work_in_thread, portions))


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    """Starts `size` threads whose torch operations use one core each."""
    ready = threading.Barrier(size + 1)
    pool = ThreadPoolExecutor(size, "messages", initializer=torch.set_num_threads, initargs=(1,))
    for _ in range(size):
        pool.submit(ready.wait)
    ready.wait()
    # The threads have also changed the default of the process; this restores it.
    torch.set_num_threads(size)
    return pool


# A forked process does not inherit threads, so it must start its own.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _message(
    x: _Inputs,
    neighbors: Tensor,
    rows: slice,
    s1: Tensor,
    occupied: Tensor | None = None,
) -> _Message:
    """Computes the messages to some residues, up to the hidden vectors of the third GVP.

    Arguments:
        x: Inputs of all messages.
        neighbors: Senders of each receiver, `[n, k]`.
        rows: The receivers.
        s1: Scalars of the first GVP, `[n, k, s]`: written in the forward pass, read in the backward pass.
        occupied: In the forward pass, 1 where a slot holds a neighbour and 0 elsewhere, `[n, k, 1]`: the scalars of the
            second GVP are then computed too. None in the backward pass.
    """
    senders = neighbors.flatten()
    n, k = neighbors.shape
    s2 = None
    h1 = x.sender_v.new_empty(3, n, k, x.sender_v.shape[-1])
    for axis, part in enumerate(x.sender_v):
        torch.index_select(part, 0, senders, out=h1[axis].view(n * k, -1))
    h1 += x.receiver_v[:, rows, None]
    # The inner dimension is one or two; a matrix product would be slower than this loop.
    for channel, weight in zip(x.edge_v[:, rows].split(1, dim=-1), x.wh1, strict=True):
        h1.addcmul_(channel, weight)
    n1 = _length(h1)
    if occupied is not None:
        torch.index_select(x.sender_s, 0, senders, out=s1.view(n * k, -1))
        s1 += x.receiver_s[rows, None]
        _add_product(s1, x.edge_s[rows], x.ws1)
        _add_product(s1, n1, x.wn1).relu_()
    r1 = h1 @ x.wv1
    m1 = _length(r1)
    g1 = m1.sigmoid()
    v1 = r1 * g1
    h2 = v1 @ x.wh2
    n2 = _length(h2)
    if occupied is not None:
        s2 = torch.addmm(x.bias2, s1.view(n * k, -1), x.ws2).view(n, k, -1)
        _add_product(s2, n2, x.wn2).relu_().mul_(occupied)
    r2 = h2 @ x.wv2
    m2 = _length(r2)
    g2 = m2.sigmoid()
    v2 = r2 * g2
    h3 = v2 @ x.wh3
    return _Message(h1, n1, s1, r1, m1, g1, v1, h2, n2, s2, r2, m2, g2, v2, h3, _length(h3))


def _message_backward(
    x: _Inputs,
    grads: _Gradients,
    y: _Message,
    neighbors: Tensor,
    rows: slice,
    grad_x2: Tensor,
    grad_n3: Tensor,
    grad_v2: Tensor,
) -> None:
    """Adds the gradients of one block to `grads`; overwrites `grad_n3` and `grad_v2`.

    Arguments:
        x: Inputs of all messages.
        grads: Gradients with respect to the inputs; those that are None are not computed.
        y: The block's messages.
        neighbors: Senders of each receiver, `[n, k]`.
        rows: The receivers.
        grad_x2: Gradient of the second GVP's scalars before ReLU, `[n, k, s]`.
        grad_n3: Gradient of the lengths of the third GVP's hidden vectors, `[n, k, v]`.
        grad_v2: Gradient of the second GVP's vectors, `[3, n, k, v]`.
    """
    # Third GVP: its hidden vectors only.
    grad_h3 = y.h3 * _length_slope(grad_n3, y.n3)
    _add_outer(grads.wh3, y.v2, grad_h3)
    _add_product(grad_v2, grad_h3, x.wh3.T)
    # Second GVP.
    _add_outer(grads.ws2, y.s1, grad_x2)
    _add_outer(grads.wn2, y.n2, grad_x2)
    if grads.bias2 is not None:
        grads.bias2.add_(grad_x2.sum((0, 1)))
    grad_r2 = _gate_backward(grad_v2, y.r2, y.m2, y.g2)
    _add_outer(grads.wv2, y.h2, grad_r2)
    grad_h2 = grad_r2 @ x.wv2.T
    grad_h2.addcmul_(y.h2, _length_slope(grad_x2 @ x.wn2.T, y.n2).expand_as(y.h2))
    _add_outer(grads.wh2, y.v1, grad_h2)
    # First GVP.
    grad_x1 = threshold_backward(grad_x2 @ x.ws2.T, y.s1, 0)
    _add_outer(grads.wn1, y.n1, grad_x1)
    _add_outer(grads.ws1, x.edge_s[rows], grad_x1)
    grad_r1 = _gate_backward(grad_h2 @ x.wh2.T, y.r1, y.m1, y.g1)
    _add_outer(grads.wv1, y.h1, grad_r1)
    grad_h1 = grad_r1 @ x.wv1.T
    grad_h1.addcmul_(y.h1, _length_slope(grad_x1 @ x.wn1.T, y.n1).expand_as(y.h1))
    _add_outer(grads.wh1, x.edge_v[:, rows], grad_h1)
    # Residues and edges.
    senders = neighbors.flatten()
    if grads.edge_s is not None:
        torch.mm(grad_x1.flatten(0, 1), x.ws1.T, out=grads.edge_s[rows].view(-1, grads.edge_s.shape[-1]))
    if grads.edge_v is not None:
        grads.edge_v[:, rows] = grad_h1 @ x.wh1.T
    if grads.receiver_s is not None:
        grads.receiver_s[rows] = grad_x1.sum(1)
    if grads.receiver_v is not None:
        grads.receiver_v[:, rows] = grad_h1.sum(2)
    if grads.sender_s is not None:
        grads.sender_s.index_add_(0, senders, grad_x1.flatten(0, 1).to(grads.sender_s.dtype))
    if grads.sender_v is not None:
        for total, part in zip(grads.sender_v, grad_h1, strict=True):
            total.index_add_(0, senders, part.flatten(0, 1).to(total.dtype))


def _length(v: Tensor) -> Tensor:
    """Computes lengths `[...]` of vectors `[3, ...]` as `vector_norm` does, with less temporary memory."""
    x, y, z = v.unbind()
    return (x * x).addcmul_(y, y).addcmul_(z, z).clamp_(min=_EPS).sqrt_()


def _length_slope(grad: Tensor, length: Tensor) -> Tensor:
    """Computes the factor of the vectors in the gradient of their lengths; zero where a length was clamped."""
    return threshold_backward(grad / length, length, _SHORTEST)


def _gate_backward(grad: Tensor, v: Tensor, length: Tensor, gate: Tensor) -> Tensor:
    """Computes the gradient with respect to v of `v * sigmoid(|v|)`, in place of `grad`."""
    (x, y, z), (grad_x, grad_y, grad_z) = v.unbind(), grad.unbind()
    along = sigmoid_backward((grad_x * x).addcmul_(grad_y, y).addcmul_(grad_z, z), gate)
    return grad.mul_(gate).addcmul_(v, _length_slope(along, length).expand_as(v))


def _add_product(out: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Adds `left @ right` to a contiguous `out` in place."""
    out.view(-1, out.shape[-1]).addmm_(left.reshape(-1, left.shape[-1]), right)
    return out


def _add_outer(out: Tensor | None, left: Tensor, right: Tensor) -> None:
    """Adds the gradient of a weight to `out` `[in, out]` in place, if there is one."""
    if out is not None:  # cuBLAS refuses addmm_ into a row that is a transposed column
        out += left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])
