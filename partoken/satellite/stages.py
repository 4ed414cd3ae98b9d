"""Kinds of stages that only satellite runs have. Imports no torch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage

if TYPE_CHECKING:
    from pathlib import Path

    from partoken.satellite.dataset.datamodule import TileDataModule
    from partoken.satellite.task import Stage1Task

__all__ = ["WriteStage1"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteStage1(TrainStage[TrainSettings]):
    """A stage 1 that stores its output for every tile, so that stage 2 need not compute it in each step.

    The outputs are `outputs/ID.npz` beside the checkpoints of the stage, where `data.stage1_dir` finds them.
    """

    def finish(  # type: ignore[override]
        self, model: Stage1Task, data: TileDataModule, folder: Path, best: Path
    ) -> None:
        """Predicts all tiles with the best weights and writes the outputs."""
        import torch
        from tqdm import tqdm

        from partoken.satellite.dataset.stage1 import FOLDER, write_output

        outputs = folder / FOLDER
        outputs.mkdir(exist_ok=True)
        model.eval()
        with torch.inference_mode():
            tiles = tqdm(
                data.whole_tiles(), "stage 1", len(data.selection.rows), unit="tile", disable=None, leave=False
            )
            for tile in tiles:
                write_output(outputs, tile.ids[0], model(tile.to(model.device))[0])
        log.info("outputs of stage 1 for %d tiles in %s", len(data.selection.rows), outputs)
