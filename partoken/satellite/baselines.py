"""Simple answers to compare a network with: the median of the training tiles, and a ridge regression from the radar.

Neither learns by gradient descent. `fit_baselines` reads the training tiles once. Its result is small and plain, so
that a checkpoint can hold it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partoken.satellite.tiles.batch import TileBatch

__all__ = ["BASELINES", "Ridge", "fit_baselines", "predict_baseline", "radar_features"]

BASELINES = ("median", "ridge")
SCALES = (1, 3, 7, 15, 31, 63)
"""Sides of the boxes, in pixels, over which the regression averages the radar."""
PENALTY = 1e-2
"""Ridge penalty for standardised features, as a fraction of the number of pixels."""
NUM_LEVELS = 10_000
"""Levels of reflectance from 0 to 1 that the median tells apart; the products have no more."""


def fit_baselines(tiles: Iterable[TileBatch]) -> dict[str, Any]:
    """Fits both answers to training tiles, in one pass and in memory that does not grow with their number.

    Arguments:
        tiles: batches; only pixels with valid radar and valid optical bands count.

    Returns:
        Plain values for `predict_baseline`: `median`, the reflectance of each band; `ridge`, with `scales`, the means
        and standard deviations of the features, a row of weights for each band, and their constants.

    Example:
        >>> ones = torch.ones(1, 4, 8, 8)
        >>> radar, valid = torch.randn(1, 2, 8, 8), torch.ones(1, 8, 8, dtype=torch.bool)
        >>> tile = TileBatch(radar, valid, 0.25 * ones, valid, torch.zeros(1), torch.zeros(1), ("a",), ("a",))
        >>> fit_baselines([tile])["median"]
        [0.25, 0.25, 0.25, 0.25]
    """
    counts = torch.zeros(4, NUM_LEVELS + 1, dtype=torch.float64)
    moments = torch.zeros(1, dtype=torch.float64)
    for batch in tiles:
        valid = batch.s1_mask & batch.s2_mask
        features = radar_features(batch.s1, batch.s1_mask, SCALES).movedim(1, -1)[valid].double()
        optical = batch.s2.movedim(1, -1)[valid].double()
        levels = (optical.clamp(0, 1) * NUM_LEVELS).round().long()
        for band in range(4):
            counts[band] += torch.bincount(levels[:, band], minlength=NUM_LEVELS + 1)
        row = torch.cat([torch.ones(len(features), 1, dtype=torch.float64), features, optical], 1)
        moments = moments + row.T @ row
    return {"median": _medians(counts), "ridge": _solve_ridge(moments)}


def predict_baseline(name: str, content: Mapping[str, Any], batch: TileBatch) -> Tensor:
    """Returns the answer of a baseline, reflectance `[B, 4, H, W]`.

    Arguments:
        name: one of `BASELINES`.
        content: what `fit_baselines` returned.
        batch: B tiles; only the radar is read.
    """
    assert name in BASELINES, name
    if name == "ridge":
        answer: Tensor = Ridge(content["ridge"]).to(batch.s1)(batch.s1, batch.s1_mask)
        return answer
    median = torch.tensor(content["median"], dtype=batch.s1.dtype, device=batch.s1.device)
    shape = (len(batch), 4, *batch.s1.shape[2:])
    return median.view(1, 4, 1, 1).expand(shape)


class Ridge(nn.Module):
    """The regression as a module, so that it moves to a device once.

    Arguments:
        content: `ridge` of what `fit_baselines` returned.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__()
        self.scales = tuple(content["scales"])
        mean, std, weights, constant = (
            torch.tensor(content[key], dtype=torch.float64) for key in ("mean", "std", "weights", "constant")
        )
        # The checkpoint's hyper-parameters have these values, so its weights need not.
        self.register_buffer("weights", (weights / std).float(), persistent=False)
        self.register_buffer("constant", (constant - weights @ (mean / std)).float(), persistent=False)

    weights: Tensor
    constant: Tensor

    def forward(self, s1: Tensor, s1_mask: Tensor) -> Tensor:
        """Returns the reflectance `[B, 4, H, W]` that the regression predicts from the radar, 0 or more.

        Arguments:
            s1: radar in dB, `[B, 2, H, W]`.
            s1_mask: True where the radar is valid, `[B, H, W]`.
        """
        with torch.autocast(s1.device.type, enabled=False):
            features = radar_features(s1.to(self.weights.dtype), s1_mask, self.scales)
            answer = torch.einsum("bfhw,cf->bchw", features, self.weights) + self.constant.view(1, -1, 1, 1)
        return answer.clamp(min=0)


def radar_features(s1: Tensor, s1_mask: Tensor, scales: Iterable[int]) -> Tensor:
    """Computes means of VV and VH over boxes of several sizes, their squares, and their product, `[B, 5 scales, H, W]`.

    The largest boxes come first. A box averages its valid pixels only; a box without any has the value of the next
    larger one, at last of the whole tile, which is 0 without a valid pixel. At the border a box is smaller.

    Arguments:
        s1: radar in dB, `[B, 2, H, W]`.
        s1_mask: True where the radar is valid, `[B, H, W]`.
        scales: odd sides of the boxes, in pixels.
    """
    weight = s1_mask.unsqueeze(1).to(s1.dtype)
    stacked = torch.cat([s1.masked_fill(~s1_mask.unsqueeze(1), 0), weight], 1)
    integral = F.pad(stacked.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
    whole = stacked.sum((2, 3), keepdim=True)
    coarser = whole[:, :2] / whole[:, 2:].clamp(min=1)
    features: list[Tensor] = []
    for scale in sorted(scales, reverse=True):
        sums = _box_sums(integral, scale).to(s1.dtype)
        mean = torch.where(sums[:, 2:] > 0.5, sums[:, :2] / sums[:, 2:].clamp(min=1), coarser)
        features += [mean, mean.square() / 10, mean.prod(1, keepdim=True) / 10]
        coarser = mean
    return torch.cat(features, 1)


def _box_sums(integral: Tensor, scale: int) -> Tensor:
    """Sums boxes around every pixel from an integral image `[B, C, H + 1, W + 1]`, `[B, C, H, W]`."""
    half = scale // 2
    first, after = [], []
    for size in (integral.shape[2] - 1, integral.shape[3] - 1):
        places = torch.arange(size, device=integral.device)
        first.append((places - half).clamp(min=0))
        after.append((places + half + 1).clamp(max=size))
    rows = integral[:, :, after[0]] - integral[:, :, first[0]]
    return rows[..., after[1]] - rows[..., first[1]]


def _medians(counts: Tensor) -> list[float]:
    """Returns the median level of each band from its histogram `[4, levels]`."""
    below = counts.cumsum(1) / counts.sum(1, keepdim=True).clamp(min=1)
    return [float(level) / NUM_LEVELS for level in (below < 0.5).sum(1)]


def _solve_ridge(moments: Tensor) -> dict[str, Any]:
    """Solves the regression from the sums of products of the columns 1, features and bands."""
    total = moments[0, 0]
    mean = moments[0, 1:] / total
    covariance = moments[1:, 1:] / total - torch.outer(mean, mean)
    num_features = len(mean) - 4
    std = covariance.diagonal()[:num_features].clamp(min=1e-12).sqrt()
    correlation = covariance[:num_features, :num_features] / torch.outer(std, std)
    target = covariance[:num_features, num_features:] / std.unsqueeze(1)
    weights = torch.linalg.solve(correlation + PENALTY * torch.eye(num_features, dtype=std.dtype), target)
    return {
        "scales": list(SCALES),
        "mean": mean[:num_features].tolist(),
        "std": std.tolist(),
        "weights": weights.T.tolist(),
        "constant": mean[num_features:].tolist(),
    }
