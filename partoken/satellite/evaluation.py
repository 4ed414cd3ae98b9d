"""Scores of several answers for the same tiles, side by side."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from partoken.satellite.metrics import BANDS, DATA_RANGES, ImageScores

__all__ = ["Scoreboard", "band_facts"]


class Scoreboard:
    """Scores of named answers, summed over batches and devices.

    Example:
        >>> board = Scoreboard()
        >>> truth = torch.full((1, 4, 16, 16), 0.5)
        >>> board.add({"own": truth + 0.1}, truth, torch.ones(1, 16, 16, dtype=torch.bool))
        >>> round(board.scores()["own"]["mae"], 3)
        0.1
    """

    def __init__(self) -> None:
        self.answers: dict[str, ImageScores] = {}

    def add(self, predicted: Mapping[str, Tensor], truth: Tensor, mask: Tensor) -> None:
        """Adds B tiles; each answer is reflectance `[B, 4, H, W]`. Arguments: as for `ImageScores.add`."""
        for name, answer in predicted.items():
            self.answers.setdefault(name, ImageScores()).add(answer, truth, mask)

    def gather(self, world_size: int) -> None:
        """Adds the sums of all devices, so that every device has the same scores."""
        if world_size == 1:
            return
        gathered: list[Any] = [None] * world_size
        own = {name: {key: sums.cpu() for key, sums in item.sums.items()} for name, item in self.answers.items()}
        torch.distributed.all_gather_object(gathered, own)
        self.answers = {}
        for part in gathered:
            for name, sums in part.items():
                self.answers.setdefault(name, ImageScores()).merge(sums)

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns the scores of each answer, `{answer: {metric: value}}`."""
        return {name: item.compute() for name, item in self.answers.items()}

    def per_band(self) -> dict[str, dict[str, dict[str, float]]]:
        """Returns the scores of each band, `{answer: {band: {metric: value}}}`."""
        return {name: item.per_band() for name, item in self.answers.items()}


def band_facts(per_band: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Describes the scores of one answer: the data ranges in a sentence, then a line for each band."""
    wide, narrow = DATA_RANGES
    lines = {
        "scores": (
            "reflectance clipped to [0, 1]; psnr and ssim for the data range "
            f"{wide:g}, psnr_03 and ssim_03 for {narrow:g}; angle in degrees"
        )
    }
    for band in BANDS:
        values = per_band[band]
        lines[band] = (
            f"psnr_03 {values['psnr_03']:.2f} dB, ssim_03 {values['ssim_03']:.3f}, "
            f"mean absolute error {values['mae']:.4f}"
        )
    return lines
