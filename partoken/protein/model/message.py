"""first version"""

import torch


def _norm(v):
    return v.square().sum(-2).clamp(min=1e-8).sqrt()


def mean_message(message, node, edge, graph):
    s, v = node
    edge_s, edge_v = edge
    first, second, third = message
    S, V, ES, EV = s.shape[-1], v.shape[-1], edge_s.shape[-1], edge_v.shape[-1]
    ws_j, ws_e, ws_i, ws_n = first.ws.weight.split([S, ES, S, first.wh.out_features], 1)
    wh_j, wh_e, wh_i = first.wh.weight.split([V, EV, V], 1)
    nb = graph.neighbors
    h = (v @ wh_j.T)[nb] + (v @ wh_i.T)[:, None] + edge_v @ wh_e.T
    x = torch.relu((s @ ws_j.T)[nb] + (s @ ws_i.T + first.ws.bias)[:, None] + edge_s @ ws_e.T + _norm(h) @ ws_n.T)
    y = first.wv(h)
    y = y * _norm(y).sigmoid().unsqueeze(-2)
    x, y = second((x, y))
    w = graph.neighbor_mask / graph.neighbor_mask.sum(1, keepdim=True).clamp(min=1)
    n = _norm(third.wh(y))
    w = w[..., None].to(x.dtype)
    x, n, y = (x * w).sum(1), (n * w).sum(1), (y * w[..., None]).sum(1)
    any_ = graph.neighbor_mask.any(1)
    return third.ws(torch.cat([x, n], -1)) * any_[:, None], third.wv(third.wh(y))
