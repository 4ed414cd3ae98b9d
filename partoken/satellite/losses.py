"""Terms of the losses of both stages: scalars with finite values and gradients, masked everywhere.

A term is averaged over the valid pixels of each tile and then over the tiles, so that accumulating single tiles gives
the gradient of one large batch. A tile without a valid pixel has the term 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.satellite.metrics import structural_similarity

__all__ = [
    "absolute_error",
    "discriminator_loss",
    "edge_guard",
    "enhanced_vegetation_index_error",
    "generator_loss",
    "radar_edge_disagreement",
    "spectral_angle_error",
    "squared_error",
    "structural_dissimilarity",
    "vegetation_index_error",
]

SIMILARITY_RANGE = 0.3
"""Data range of the structural term: land without clouds and snow lies below this reflectance in visible light."""
SMALLEST_SUM = 0.02
"""Smallest b8 + b4 that the vegetation index divides by; below, it would amplify noise."""
SMALLEST_DENOMINATOR = 0.25
"""Smallest denominator of the enhanced vegetation index; below, the formula has no meaning, as over bright clouds."""
SMALLEST_LENGTH = 1e-2
"""Length, in reflectance, below which a spectrum has no direction for the spectral angle."""
SMOOTHING = 5
"""Side of the box, in pixels, that smooths speckle before radar edges are measured."""


def absolute_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean absolute error over bands and valid pixels.

    Arguments:
        predicted: reflectance, `[B, C, H, W]`.
        truth: reflectance, `[B, C, H, W]`.
        mask: True where a pixel counts, `[B, H, W]`.
    """
    return _mean((predicted - truth).abs().mean(1), mask)


def squared_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean squared error over bands and valid pixels. Arguments: as for `absolute_error`."""
    return _mean((predicted - truth).square().mean(1), mask)


def structural_dissimilarity(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes 1 minus the mean structural similarity for the data range 0.3.

    The similarity is the masked one of `partoken.satellite.metrics`, because those of torchmetrics and kornia take no
    mask. Arguments: as for `absolute_error`.
    """
    similarity, num_windows = structural_similarity(predicted, truth, mask, SIMILARITY_RANGE)
    return ((1 - similarity.mean(1)) * (num_windows[:, 0] > 0)).mean()


def radar_edge_disagreement(predicted: Tensor, s1: Tensor, mask: Tensor) -> Tensor:
    """Computes 1 minus the correlation of the edges of the prediction with the edges of the radar.

    An edge is the Sobel magnitude of the mean over bands, after smoothing over 5 x 5 pixels. The radar has edges that
    the optical bands lack and speckle everywhere, so the term only asks where edges are, not how strong.

    Arguments:
        predicted: reflectance, `[B, 4, H, W]`.
        s1: radar in dB, `[B, 2, H, W]`.
        mask: True where both are valid, `[B, H, W]`.
    """
    edges, valid = _edges(_smooth(predicted.mean(1), mask), mask)
    radar_edges, _ = _edges(_smooth(s1.mean(1), mask), mask)
    weight = valid.to(predicted.dtype)
    count = weight.sum((1, 2), keepdim=True).clamp(min=1)

    def centre(values: Tensor) -> Tensor:
        return (values - (values * weight).sum((1, 2), keepdim=True) / count) * weight

    a, b = centre(edges), centre(radar_edges)
    a, b = a / _length(a), b / _length(b)
    has_edges = (count[:, 0, 0] > 1).to(predicted.dtype)
    return ((1 - (a * b).sum((1, 2))) * has_edges).mean()


def vegetation_index_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean absolute error of the NDVI, (b8 - b4) / (b8 + b4). Arguments: as for `absolute_error`."""

    def index(bands: Tensor) -> Tensor:
        red, near_infrared = bands[:, 2], bands[:, 3]
        return (near_infrared - red) / (near_infrared + red).clamp(min=SMALLEST_SUM)

    return _mean((index(predicted) - index(truth)).abs(), mask)


def enhanced_vegetation_index_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean absolute error of the EVI, 2.5 (b8 - b4) / (b8 + 6 b4 - 7.5 b2 + 1).

    Pixels whose true denominator is below 0.25 do not count. Arguments: as for `absolute_error`.
    """

    def parts(bands: Tensor) -> tuple[Tensor, Tensor]:
        blue, red, near_infrared = bands[:, 0], bands[:, 2], bands[:, 3]
        return 2.5 * (near_infrared - red), near_infrared + 6 * red - 7.5 * blue + 1

    (above, below), (true_above, true_below) = parts(predicted), parts(truth)
    error = above / below.clamp(min=SMALLEST_DENOMINATOR) - true_above / true_below.clamp(min=SMALLEST_DENOMINATOR)
    return _mean(error.abs(), mask & (true_below >= SMALLEST_DENOMINATOR))


def spectral_angle_error(predicted: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes the mean angle between predicted and true spectra, in radians.

    The lengths of spectra and differences are smoothed near zero, so that pixels that are zero or equal have finite
    gradients; `spectral_angle` of the metrics is exact. Arguments: as for `absolute_error`.
    """
    u = predicted / _length(predicted, SMALLEST_LENGTH)
    v = truth / _length(truth, SMALLEST_LENGTH)
    angle = 2 * torch.atan2(_length(u - v, 1e-3), _length(u + v, 1e-3))
    return _mean(angle.squeeze(1), mask)


def edge_guard(refined: Tensor, first: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Computes how far the edges of the refined image exceed the edges of both stage 1 and the truth.

    It stops the discriminator from rewarding invented edges. Arguments: as for `absolute_error`; `first` is the output
    of stage 1.
    """
    edges, valid = _edges(refined.mean(1), mask)
    allowed = torch.maximum(_edges(first.mean(1), mask)[0], _edges(truth.mean(1), mask)[0])
    return _mean((edges - allowed).relu(), valid)


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Computes the hinge loss of a discriminator from its scores of real and made patches."""
    return (1 - real).relu().mean() + (1 + made).relu().mean()


def generator_loss(made: Tensor) -> Tensor:
    """Computes the adversarial loss of a generator from the discriminator's scores of made patches."""
    return -made.mean()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Averages `[B, H, W]` over the valid pixels of each tile, then over the tiles."""
    weight = mask.to(values.dtype)
    return ((values * weight).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).mean()


def _length(values: Tensor, smallest: float = 1e-6) -> Tensor:
    """Returns the length over channels `[B, C, H, W]`, or over the pixels of `[B, H, W]`, smoothed near zero."""
    dims = (1,) if values.ndim == 4 else (1, 2)
    return (values.square().sum(dims, keepdim=True) + smallest**2).sqrt()


def _smooth(image: Tensor, mask: Tensor) -> Tensor:
    """Averages the valid pixels of a box around each pixel of `[B, H, W]`."""
    weight = mask.to(image.dtype)
    sums = F.avg_pool2d(torch.stack([image * weight, weight], 1), SMOOTHING, stride=1, padding=SMOOTHING // 2)
    return sums[:, 0] / sums[:, 1].clamp(min=1e-6)


def _edges(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the Sobel magnitude inside the border, `[B, H - 2, W - 2]`, and where all nine pixels are valid."""
    smooth, slope = image.new_tensor([1.0, 2.0, 1.0]) / 4, image.new_tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)]).unsqueeze(1)
    gradient = F.conv2d(image.unsqueeze(1), kernels)
    num_valid = F.avg_pool2d(mask.unsqueeze(1).to(image.dtype), 3, stride=1)
    return _length(gradient).squeeze(1), num_valid.squeeze(1) > 0.999
