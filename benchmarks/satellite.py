"""Measures memory and speed of training Axion-Sat with single tiles and with large batches.

    python benchmarks/satellite.py --tile-size 256
    python benchmarks/satellite.py --stage 2 --device cuda

Each form trains in a process of its own, and the forms take turns. A step is an optimizer step of 8 tiles: batch 8,
or batch 1 accumulated 8 times, with stored or with recomputed activations. Memory is the peak during the training less
that before the network exists: resident memory on a CPU, allocated memory on a GPU. Ratios are to the first form.
"""

import argparse
import ctypes
import itertools
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from partoken.composition import plain_group
from partoken.config import compose
from partoken.satellite.catalog import embedded
from partoken.satellite.task import Stage1Task, Stage2Task, TileTask
from partoken.satellite.tiles.batch import TileBatch
from partoken.system.process import prepare_process
from partoken.training.trainer import build_trainer, quiet_lightning

TILES = 8
"""Tiles of an optimizer step."""
FORMS = {
    "8 x 1, stored": (8, False),
    "8 x 1, recomputed": (8, True),
    "1 x 8, stored": (1, False),
    "1 x 8, recomputed": (1, True),
}
"""Batch size, and whether activations are recomputed, of each form: batch x accumulation."""
MB = 1024**2


class Meter(pl.Callback):
    """Notes the time of each optimizer step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_before_optimizer_step(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


class Peak:
    """The peak of a process's memory above that at the beginning, in MB."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device == "cuda"
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # otherwise the network would reuse what reading the tiles left
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        self.before = self._read()

    def __float__(self) -> float:
        return self._read() - self.before

    def _read(self) -> float:
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / MB
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def make_batches(size: int, batch_size: int, steps: int) -> list[TileBatch]:
    """Returns the batches of an epoch: 8 tiles of the package for each step, repeated or cut to `size` x `size`."""
    data = embedded(batch_size=TILES, augment=False)
    whole = next(iter(data.train_dataloader()))
    repeats = -(-size // whole.s1.shape[-1])

    def resized(images: Tensor) -> Tensor:
        times = (*[1] * (images.ndim - 2), repeats, repeats)
        return images.repeat(times)[..., :size, :size].clone()

    batches = []
    for start in range(0, TILES, batch_size):
        rows = slice(start, start + batch_size)
        images = [resized(image[rows]) for image in (whole.s1, whole.s1_mask, whole.s2, whole.s2_mask)]
        batches.append(TileBatch(*images, whole.month[rows], whole.biome[rows], whole.ids[rows], whole.scenes[rows]))
    return batches * steps


def create(stage: int, train: dict[str, Any], data: dict[str, Any], recompute: bool) -> TileTask:
    """Creates the task of a stage; its network has the settings of `conf/model`."""
    if stage == 1:
        return Stage1Task(train=train, data=data, checkpoint_activations=recompute)
    first = {"model": {}, "data": data}
    return Stage2Task(train=train, data=data, stage1=first, checkpoint_activations=recompute)


def child(form: str, options: argparse.Namespace) -> dict[str, float]:
    """Trains in one form; returns seconds of a step and megabytes."""
    batch_size, recompute = FORMS[form]
    torch.set_num_threads(options.threads)
    quiet_lightning()
    logging.disable(logging.WARNING)
    steps = options.steps + 1
    cfg = compose([f"experiment=axion_stage{options.stage}", "train.epochs=1", f"train.batch_size={batch_size}"])
    settings = {
        **plain_group(cfg, "trainer"),
        "accelerator": "gpu" if options.device == "cuda" else "cpu",
        "accumulate_grad_batches": TILES // batch_size,
        "precision": options.precision,
        "enable_progress_bar": False,
    }
    batches, data = make_batches(options.tile_size, batch_size, steps), embedded().settings()
    meter, peak = Meter(), Peak(options.device)
    task = create(options.stage, plain_group(cfg, "train"), data, recompute)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(settings, task, Path(folder), [meter], [])
        trainer.fit(task, train_dataloaders=DataLoader(batches, batch_size=None))
    assert task.optimizer_steps == steps
    num_optimizers = len(task.optimizer_modules())
    times = meter.times[num_optimizers - 1 :: num_optimizers]  # of the last optimizer of each step
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return {"seconds": min(gaps), "mb": float(peak)}


def run(form: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs a form in a process of its own."""
    command = [sys.executable, __file__, "--child", form]
    for name in ("stage", "tile_size", "steps", "threads", "device", "precision"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{form} failed:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(results: dict[str, list[dict[str, float]]]) -> None:
    """Prints the best time and the smallest peak of each form, and their ratios to the first form."""
    best = {form: {key: min(run[key] for run in runs) for key in runs[0]} for form, runs in results.items()}
    first = next(iter(best.values()))
    print(f"{'batch x accumulation':<22}{'peak, MB':>10}{'of first':>10}{'steps/s':>10}{'of first':>10}")
    for form, own in best.items():
        memory, speed = own["mb"] / first["mb"], first["seconds"] / own["seconds"]
        print(f"{form:<22}{own['mb']:>10,.0f}{memory:>9.2f}x{1 / own['seconds']:>10.3f}{speed:>9.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1)
    parser.add_argument("--tile-size", type=int, default=120, help="height and width in pixels")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps after the first one")
    parser.add_argument("--rounds", type=int, default=2, help="times that the forms take turns")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="32-true", help="as trainer.precision")
    parser.add_argument("--child", choices=list(FORMS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    prepare_process()  # as a training does
    if options.child:
        print(json.dumps(child(options.child, options)))
        return
    results: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
    for _ in range(options.rounds):
        for form, runs in results.items():
            runs.append(run(form, options))
    print(
        f"stage {options.stage}, tiles of {options.tile_size} x {options.tile_size} pixels, {options.precision}, ",
        end="",
    )
    print(f"{options.device}, {options.threads} threads")
    report(results)


if __name__ == "__main__":
    main()
