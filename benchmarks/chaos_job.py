"""The jobs that `chaos.py` kills, and whether a killed run has ended as the uninterrupted one."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint

__all__ = ["EVERY", "Job", "differences", "protein_job"]

EVERY = 2
"""`checkpoint.every_n_steps` of the jobs: the largest number of optimizer steps that a kill may cost."""

TIMES = ("seconds", "_per_second", "run_folder", "checkpoint", "profile")
"""Parts of the names of what may differ between two equal runs."""

SETTINGS = """
data=synthetic data.num_chains=44 data.num_classes=2 data.shortest=24 data.longest=32
model.node_h_dim=[8,1] model.edge_h_dim=[8,1] model.num_neighbors=4 model.drop_rate=0.2
model.partition=learned model.max_clusters=3 model.nhid=4 model.codebook_size=8 model.exchange_layers=1
train.epochs=3 train.batch_size=4
train.use_cosine_schedule=true train.schedule_interval=step train.warmup_epochs=1
trainer.accelerator=cpu
""".split()


@dataclass(frozen=True)
class Job:
    """A small run, and the functions in which it can be killed."""

    name: str
    train: Callable[[Path, int, bool], int]
    """Trains in a run folder with a number of workers, continuing what is there; returns the exit status. True: as
    `run_partoken.py` does; False: by the engine alone, which spares a second for the configuration."""
    points: Mapping[str, tuple[Any, str]]
    """Owner and name of the function of each window that is a function; see `chaos_child.watch`."""


def protein_job(accumulate: int) -> Job:
    """Returns a job of 24 batches of synthetic chains, with dropout, a codebook and a sampled partition.

    Arguments:
        accumulate: batches whose gradients make one step.
    """
    # Imported here, in the parent, so that no child has to.
    import matplotlib.pyplot  # noqa: F401

    import partoken.report.run
    import partoken.training.engine
    from partoken.cli import train
    from partoken.composition import plain
    from partoken.config import compose
    from partoken.protein.dataset.assembly import ChainDataset
    from partoken.protein.dataset.datamodule import ProteinDataModule
    from partoken.protein.task import ParTokenTask

    words = [*SETTINGS, f"trainer.accumulate_grad_batches={accumulate}"]
    words += ["resume=auto", f"checkpoint.every_n_steps={EVERY}"]
    composed = plain(compose(words))

    def run(folder: Path, workers: int, whole: bool) -> int:
        if whole:
            own = [f"train.num_workers={workers}", f"data.cache_dir={folder}-cache", f"hydra.run.dir={folder}"]
            return train([*words, *own])
        folder.mkdir(exist_ok=True)
        groups = {**composed, "data": {**composed["data"], "cache_dir": f"{folder}-cache"}}
        groups["train"] = {**composed["train"], "num_workers": workers}
        try:
            partoken.training.engine.carry_out(groups, folder, present=partoken.report.run.present)
        except UserError as error:
            print(f"error: {error}")
            return 2
        return 0

    points = {
        "reading data": (ProteinDataModule, "setup"),
        "loading a batch": (ChainDataset, "__getitem__"),
        "restoring": (ParTokenTask, "on_load_checkpoint"),
        "validation": (ParTokenTask, "validation_step"),
        "test": (ParTokenTask, "test_step"),
        "report": (partoken.report.run, "plot_losses"),
    }
    return Job(f"accumulate {accumulate}", run, points)


def differences(reference: Path, folder: Path) -> list[str]:
    """Returns what differs between two finished runs, apart from times and paths; nothing may.

    Weights, moments of the optimizer, the schedule and the states of the random generators are compared bit by bit.

    Arguments:
        reference: folder of the uninterrupted run.
        folder: of the killed one.
    """
    found = []
    for name in ("best.ckpt", "last.ckpt"):
        theirs, ours = (read_checkpoint(run / "checkpoints" / name) for run in (reference, folder))
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            found += _unequal(theirs[part], ours[part], f"{name}: {part}")
        if name == "last.ckpt":
            found += _unequal(*(_random_states(content) for content in (theirs, ours)), f"{name}: random states")
    if (reference / "lr.csv").read_bytes() != (folder / "lr.csv").read_bytes():
        found.append("lr.csv")
    found += _unequal(*(_rows(run / "metrics.csv") for run in (reference, folder)), "metrics.csv")
    found += _unequal(*(json.loads((run / "summary.json").read_text()) for run in (reference, folder)), "summary.json")
    return found


def _random_states(checkpoint: Mapping[str, Any]) -> Any:
    return {name: state for name, state in checkpoint["callbacks"].items() if name.startswith("ExactResume")}


def _rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def _unequal(theirs: Any, ours: Any, place: str) -> list[str]:
    """Returns the places at which two nested values differ."""
    return list(_walk(theirs, ours, place))


def _walk(theirs: Any, ours: Any, place: str) -> Iterator[str]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in {**theirs, **ours}:
            if not any(part in str(key) for part in TIMES) and key != "overrides":
                yield from _walk(theirs.get(key), ours.get(key), f"{place}.{key}")
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and len(theirs) == len(ours):
        for number, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _walk(*pair, f"{place}[{number}]")
    elif isinstance(theirs, torch.Tensor) and isinstance(ours, torch.Tensor):
        if theirs.shape != ours.shape or not torch.equal(theirs, ours):
            yield place
    elif theirs != ours:
        yield place
