"""Scores of predicted reflectance: PSNR, SSIM, spectral angle, absolute error and NDVI error; masked everywhere."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BANDS", "DATA_RANGES", "SCORES", "ImageScores", "ndvi", "spectral_angle", "structural_similarity"]

BANDS = ("b2", "b3", "b4", "b8")
DATA_RANGES = (1.0, 0.3)
"""Data ranges for which PSNR and SSIM are given: a PSNR for 1 is 10.46 dB above the one for 0.3."""
SCORES = ("psnr", "ssim", "psnr_03", "ssim_03", "mae", "angle", "ndvi_error")
"""Names of the scores of a tile."""
WINDOW = 11
SIGMA = 1.5
SMALLEST_ERROR = 1e-12
"""Mean squared error that a perfect band counts as, so that its PSNR is finite."""


class ImageScores:
    """Sums the scores of tiles over batches; sums of several devices can be added.

    Reflectance is clipped to [0, 1]. PSNR is computed for each tile and averaged over the tiles; so are all other
    scores. A tile without a valid pixel does not count.

    Example:
        >>> scores = ImageScores()
        >>> truth = torch.full((1, 4, 16, 16), 0.5)
        >>> scores.add(truth + 0.1, truth, torch.ones(1, 16, 16, dtype=torch.bool))
        >>> round(scores.compute()["psnr"], 2)
        20.0
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, predicted: Tensor, truth: Tensor, mask: Tensor) -> None:
        """Adds B tiles.

        Arguments:
            predicted: reflectance, `[B, 4, H, W]`.
            truth: reflectance, `[B, 4, H, W]`.
            mask: True where the truth is valid, `[B, H, W]`.
        """
        for name, values in tile_scores(predicted.detach(), truth, mask).items():
            counted = ~values.isnan()
            sums = torch.stack([values.nan_to_num().sum(0), counted.sum(0).to(values.dtype)])
            self.sums[name] = self.sums[name] + sums if name in self.sums else sums

    def merge(self, sums: Mapping[str, Tensor]) -> None:
        """Adds the `sums` of another device."""
        for name, values in sums.items():
            self.sums[name] = self.sums[name] + values.to(self.sums[name].device) if name in self.sums else values

    def compute(self) -> dict[str, float]:
        """Returns the scores over all bands, `{metric: value}`."""
        return {name: float(value[0]) for name, value in self._means().items()}

    def per_band(self) -> dict[str, dict[str, float]]:
        """Returns the scores of each band, `{band: {metric: value}}`, for metrics that have them."""
        banded = {name: values for name, values in self._means().items() if len(values) > 1}
        return {
            band: {name: float(values[place]) for name, values in banded.items()}
            for place, band in enumerate(BANDS, start=1)
        }

    def _means(self) -> dict[str, Tensor]:
        return {name: sums[0] / sums[1].clamp(min=1) for name, sums in self.sums.items()}


def tile_scores(predicted: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Computes the scores of each tile: over all bands, then for each band, `[B, 5]`; NaN for a tile without pixels.

    The angle and the NDVI error have no bands, `[B, 1]`. The PSNR over all bands is that of the mean squared error over
    all bands; the other scores over all bands are means over bands.

    Arguments: as for `ImageScores.add`.
    """
    predicted, truth = predicted.double().clamp(0, 1), truth.double().clamp(0, 1)
    valid = mask.unsqueeze(1).double()
    count = valid.sum((2, 3))
    error = (predicted - truth) * valid
    squared = _with_mean(error.square().sum((2, 3)) / count)
    scores: dict[str, Tensor] = {}
    for data_range in DATA_RANGES:
        suffix = "" if data_range == 1 else f"_{data_range:g}".replace(".", "")
        scores[f"psnr{suffix}"] = 10 * torch.log10(data_range**2 / squared.clamp(min=SMALLEST_ERROR))
        similarity, num_windows = structural_similarity(predicted, truth, mask, data_range)
        scores[f"ssim{suffix}"] = _with_mean(similarity.where(num_windows > 0, math.nan))
    scores["mae"] = _with_mean(error.abs().sum((2, 3)) / count)
    angle, has_angle = spectral_angle(predicted, truth)
    scores["angle"] = _masked_mean(torch.rad2deg(angle), mask & has_angle)
    scores["ndvi_error"] = _masked_mean((ndvi(predicted) - ndvi(truth)).abs(), mask)
    return scores


def structural_similarity(predicted: Tensor, truth: Tensor, mask: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Computes the mean structural similarity of each band, `[B, 4]`, and the number of windows, `[B, 1]`.

    A window is a Gaussian of 11 x 11 pixels with a standard deviation of 1.5 around each valid pixel; it weights its
    valid pixels only. Tiles are mirrored at their borders. Without missing pixels the result is that of torchmetrics.
    In a tile with a side below 6 pixels the windows are smaller. A tile without a window has the similarity 0.

    References:
        Image quality assessment: from error visibility to structural similarity (Wang et al., 2004).

    Arguments:
        predicted: `[B, 4, H, W]`.
        truth: `[B, 4, H, W]`.
        mask: True where the truth is valid, `[B, H, W]`.
        data_range: largest minus smallest value that the images can have.
    """
    half = min(WINDOW // 2, *(size - 1 for size in mask.shape[1:]))
    kernel = _gaussian(2 * half + 1, predicted)
    valid = mask.unsqueeze(1).to(predicted.dtype)
    predicted, truth = predicted * valid, truth * valid
    products = torch.cat([predicted, truth, predicted * predicted, truth * truth, predicted * truth, valid], 1)
    sums = _filter(F.pad(products, (half, half, half, half), mode="reflect"), kernel)
    weight = sums[:, -1:].clamp(min=1e-6)
    mean_p, mean_t, square_p, square_t, product = (sums[:, :-1] / weight).chunk(5, 1)
    variance_p = square_p - mean_p.square()
    variance_t = square_t - mean_t.square()
    covariance = product - mean_p * mean_t
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    similarity = luminance * (2 * covariance + c2) / (variance_p + variance_t + c2)
    num_windows = valid.sum((2, 3))
    return (similarity * valid).sum((2, 3)) / num_windows.clamp(min=1), num_windows


def spectral_angle(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the angle between two spectra in radians, `[B, H, W]`, and where both differ from zero.

    The angle is 2 atan2(|u - v|, |u + v|) of the unit vectors u and v, which is exact for small angles too.

    Arguments:
        predicted: `[B, bands, H, W]`.
        truth: `[B, bands, H, W]`.
    """
    lengths = predicted.norm(dim=1, keepdim=True), truth.norm(dim=1, keepdim=True)
    u, v = predicted / lengths[0].clamp(min=1e-12), truth / lengths[1].clamp(min=1e-12)
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))
    return angle, ((lengths[0] > 0) & (lengths[1] > 0)).squeeze(1)


def ndvi(reflectance: Tensor) -> Tensor:
    """Computes the vegetation index (b8 - b4) / (b8 + b4), `[B, H, W]`; 0 where both bands are 0."""
    red, near_infrared = reflectance[:, 2], reflectance[:, 3]
    return (near_infrared - red) / (near_infrared + red).clamp(min=1e-6)


def _with_mean(values: Tensor) -> Tensor:
    """Puts the mean over bands before the bands."""
    return torch.cat([values.mean(1, keepdim=True), values], 1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Averages `[B, H, W]` over the valid pixels of each tile, `[B, 1]`."""
    weight = mask.to(values.dtype)
    return ((values * weight).sum((1, 2)) / weight.sum((1, 2))).unsqueeze(1)


def _gaussian(side: int, like: Tensor) -> Tensor:
    offsets = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    kernel = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return kernel / kernel.sum()


def _filter(images: Tensor, kernel: Tensor) -> Tensor:
    """Filters all channels with a separable kernel, where it lies inside the image."""
    batch, channels, height, width = images.shape
    side = len(kernel)
    flat = images.reshape(batch * channels, 1, height, width)
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, side, 1)), kernel.view(1, 1, 1, side))
    return flat.view(batch, channels, height - side + 1, width - side + 1)
