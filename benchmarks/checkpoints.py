"""How much of the time of the main job goes into its checkpoints.

    python benchmarks/checkpoints.py [KEY=VALUE ...]

It trains in a temporary folder and prints the number of checkpoints, the time of each, and their share of the training,
by the clock and by the processor time, which other processes of the machine do not change.
`checkpoint.every_n_steps=1` shows the worst case.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl

from partoken.composition import plain
from partoken.config import compose
from partoken.system.process import prepare_process
from partoken.training.engine import carry_out


class Clock(pl.Callback):
    """Measures a training, and within it the time of each checkpoint."""

    def __init__(self) -> None:
        self.saves: list[tuple[float, float]] = []
        self.whole = (0.0, 0.0)
        self._began = (0.0, 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback in trainer.checkpoint_callbacks:
            for name in ("_save_checkpoint", "_save"):  # at the end of an epoch, and within one
                if hasattr(callback, name):
                    setattr(callback, name, self._timed(getattr(callback, name)))
        self._began = _now()

    def _timed(self, save: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any, **options: Any) -> None:
            began = _now()
            save(*arguments, **options)
            self.saves.append(_since(began))

        return timed

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.whole = _since(self._began)


def _now() -> tuple[float, float]:
    """Returns the time of the clock and that of the processor, in seconds."""
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    clock, processor = _now()
    return clock - began[0], processor - began[1]


def main(overrides: list[str]) -> None:
    """Prints the share of the checkpoints in the time of a training."""
    prepare_process()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        carry_out(plain(compose(overrides)), Path(folder), callbacks=[clock])
        size = Path(folder, "checkpoints/last.ckpt").stat().st_size
    print(f"{len(clock.saves)} checkpoints of {size / 1e6:.1f} MB")
    for name, saves, whole in zip(("clock", "processor"), zip(*clock.saves, strict=True), clock.whole, strict=True):
        share = 100 * sum(saves) / whole
        print(f"{name:<10} {1000 * median(saves):3.0f} ms each, {share:.2f} % of {whole:.1f} s of training")


if __name__ == "__main__":
    main(sys.argv[1:])
