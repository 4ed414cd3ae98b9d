"""How much of the time of the main job goes into its checkpoints.

    python benchmarks/checkpoints.py [KEY=VALUE ...]

It trains in a temporary folder and prints the number of checkpoints, the time of each, and their share of the training.
`checkpoint.every_n_steps=1` shows the worst case.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pytorch_lightning as pl

from partoken.composition import plain
from partoken.config import compose
from partoken.system.process import prepare_process
from partoken.training.engine import carry_out


class Clock(pl.Callback):
    """Measures a training, and within it the time of each checkpoint."""

    def __init__(self) -> None:
        self.saves: list[float] = []
        self.seconds = 0.0
        self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        save, self._began = trainer.save_checkpoint, time.perf_counter()

        def timed(*arguments, **options):
            began = time.perf_counter()
            save(*arguments, **options)
            self.saves.append(time.perf_counter() - began)

        trainer.save_checkpoint = timed

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self._began


def main(overrides: list[str]) -> None:
    """Prints the share of the checkpoints in the time of a training."""
    prepare_process()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        carry_out(plain(compose(overrides)), Path(folder), callbacks=[clock])
        size = Path(folder, "checkpoints/last.ckpt").stat().st_size
    total = sum(clock.saves)
    print(
        f"{len(clock.saves)} checkpoints of {size / 1e6:.1f} MB, {1000 * median(clock.saves):.0f} ms each (median), "
        f"{total:.2f} s of {clock.seconds:.1f} s of training: {100 * total / clock.seconds:.2f} %"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
