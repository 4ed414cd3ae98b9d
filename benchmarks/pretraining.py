"""Measures what pretraining, several labels and a frozen encoder bring, with equal minutes of training.

    python benchmarks/pretraining.py --path chains.npz                            every variant and task, three seeds
    python benchmarks/pretraining.py --path chains.npz --variants plain --seeds 0 --minutes 2

The tasks are enzyme class, CATH class, CATH architecture and CATH topology, from the columns `ec_top`, `cath_class` and
`cath` of the table; `split` and `cluster` are used too. The variants:

    plain                  one label, from new weights
    several                all four labels at once, from new weights
    pretrained             half of the minutes are pretraining on all training chains, labelled or not; then one label
    pretrained+several     the same, then all labels
    frozen+several         as pretrained+several, but the encoder stays frozen and its embeddings are kept
    frozen+several+pooled  the same without a partition, so that a step takes a fraction of the time

Each run is a process of run_partoken.py with one thread. The script first measures how many optimizer steps of each
kind a minute has, in processor time, and gives every run the steps of its minutes. Computing the embeddings counts as
training; validation and test do not. A run that has its summary is not repeated. The table is written to --out.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from runs import run_once, spread
from tqdm import tqdm

from partoken.config import compose
from partoken.training.engine import carry_out

LABELS = {
    "enzyme class": "{name: enzyme_class, column: ec_top}",
    "CATH class": "{name: cath_class, column: cath_class}",
    "architecture": "{name: architecture, column: cath, depth: 2, first: true, min_class_size: 60}",
    "topology": "{name: topology, column: cath, depth: 3, first: true, min_class_size: 40}",
}
ALL = ",".join(LABELS.values())
FROZEN = ["model.frozen_encoder=true", "model.coordinate_noise=0"]
POOLED = ["model.partition=none", "model.lambda_summary=0"]
VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "several": [],
    "pretrained": [],
    "pretrained+several": [],
    "frozen+several": FROZEN,
    "frozen+several+pooled": [*FROZEN, *POOLED],
}
VALIDATIONS = 2
WARM_UP = 10
"""Optimizer steps before a measurement begins."""


def overrides_of(variant: str, path: Path, label: str) -> list[str]:
    """Returns the overrides of a run that trains labels, without its length."""
    return [
        "experiment=end_to_end",
        "train.stages=null",
        "data=arrays",
        f"data.path={path}",
        f"data.label_columns=[{label}]",
        "train.warmup_steps=null",
        "train.warmup_epochs=null",
        "trainer.precision=bf16-mixed",
        *VARIANTS[variant],
    ]


def overrides_of_pretraining(path: Path) -> list[str]:
    network = ["model=published", "model.node_h_dim=[64,8]", "model.num_layers=2", "model.num_neighbors=10"]
    settings = ["model.seq_in=true", "model.drop_rate=0.0", "data.max_residues_per_batch=null", "train.batch_size=8"]
    rate = ["train.stages.pretrain.lr=2e-3", "trainer.precision=bf16-mixed"]
    return ["experiment=pretrain", *network, *settings, *rate, "data=arrays", f"data.path={path}"]


class Clock(pl.Callback):
    """Measures in processor time how long a run prepares its data, and how many optimizer steps a minute then has."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times["start"] = time.process_time()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.times["prepared"] = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == WARM_UP:
            self.times["warm"] = time.process_time()
        self.times["end"] = time.process_time()


def measure(overrides: Sequence[str], steps: int) -> tuple[float, float]:
    """Returns the minutes in which a run prepares its data, and its optimizer steps in a minute, with one thread."""
    words = [*overrides, f"trainer.limit_train_batches={steps}", "trainer.limit_val_batches=1", "test=false"]
    cfg = compose([*words, "train.stage_epochs=1", "train.epochs=1", "trainer.enable_progress_bar=false"])
    groups = {str(name): value for name, value in OmegaConf.to_container(cfg, resolve=True).items()}
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        carry_out(groups, Path(folder), callbacks=[clock])
    times = clock.times
    return (times["prepared"] - times["start"]) / 60, 60 * (steps - WARM_UP) / (times["end"] - times["warm"])


def run(overrides: Sequence[str], steps: float, folder: Path, seed: int, length: str) -> dict[str, Any]:
    """Trains for some steps, unless that was done; returns the summary of the run."""
    epochs = VALIDATIONS
    while steps / epochs > 300:  # an epoch must not have more batches than the smallest task
        epochs += VALIDATIONS
    words = [f"{length}={epochs}", f"trainer.limit_train_batches={math.ceil(steps / epochs)}"]
    words += [f"train.seed={seed}", f"trainer.check_val_every_n_epoch={epochs // VALIDATIONS}"]
    words += ["trainer.enable_progress_bar=false", "trainer.limit_val_batches=50"]
    return run_once([*overrides, *words], folder)


def scores(summary: dict[str, Any], task: str, is_only: bool) -> tuple[float, float]:
    """Returns accuracy and macro-F1 of a task in the summary of a run."""
    name = "" if is_only else f"{task.replace(' ', '_').lower()}_"
    return summary["test"][f"{name}accuracy"], summary["test"][f"{name}macro_f1"]


def table(results: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    """Returns the results as a table in Markdown, mean and standard deviation over the seeds."""
    lines = ["| | " + " | ".join(LABELS) + " |", "|---" * (1 + len(LABELS)) + "|"]
    for variant in VARIANTS:
        cells = []
        for task in LABELS:
            values = results.get((variant, task), [])
            parts = []
            for place in range(2 if values else 0):
                numbers = [value[place] for value in values]
                parts.append(spread(numbers))
            cells.append(" / ".join(parts))
        if any(cells):
            lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="the NPZ file, with its table beside it")
    parser.add_argument("--minutes", type=float, default=6, help="of training on one core, pretraining included")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/pretraining"))
    settings = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path, out = settings.path.resolve(), settings.out
    out.mkdir(parents=True, exist_ok=True)
    rates_file = out / "rates.json"
    if not rates_file.exists():
        of_kind: dict[str, float] = {"pretraining": measure(overrides_of_pretraining(path), 60)[1]}
        of_kind["several"] = measure(overrides_of("several", path, ALL), 60)[1]
        fresh = f"data.cache_dir={out.resolve() / 'cache'}"
        for kind, steps in (("frozen+several", 200), ("frozen+several+pooled", 800)):
            minutes, of_kind[kind] = measure([*overrides_of(kind, path, ALL), fresh], steps)
            of_kind.setdefault("minutes to embed", minutes)
        rates_file.write_text(json.dumps(of_kind, indent=2))
    rates = json.loads(rates_file.read_text())
    print("steps a minute:", ", ".join(f"{name} {value:.3g}" for name, value in rates.items()))

    half = settings.minutes / 2
    uses_pretraining = any(not variant.startswith(("plain", "several")) for variant in settings.variants)
    jobs: list[tuple[str, str, int]] = []
    for seed in settings.seeds:
        for variant in settings.variants:
            jobs += [(variant, task, seed) for task in (["all"] if "several" in variant else LABELS)]

    def pretrain(seed: int) -> Path:
        folder = out / "pretraining" / str(seed)
        length = "train.stages.pretrain.epochs"
        run(overrides_of_pretraining(path), half * rates["pretraining"], folder, seed, length)
        return folder

    def train(job: tuple[str, str, int]) -> dict[str, Any]:
        variant, task, seed = job
        overrides = overrides_of(variant, path, ALL if task == "all" else LABELS[task])
        steps = settings.minutes * rates["several"]
        if not variant.startswith(("plain", "several")):
            overrides.append(f"train.weights_from={(out / 'pretraining' / str(seed)).resolve()}")
            steps = half * rates["several"]
        if variant.startswith("frozen"):
            steps = max(0.0, half - rates["minutes to embed"]) * rates[variant]
        return run(overrides, steps, out / variant / f"{task.replace(' ', '_')}-{seed}", seed, "train.epochs")

    with ThreadPoolExecutor(settings.jobs) as pool:
        if uses_pretraining:
            list(tqdm(pool.map(pretrain, settings.seeds), "pretraining", len(settings.seeds)))
        summaries = list(tqdm(pool.map(train, jobs), "runs", len(jobs)))
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for (variant, task, _), summary in zip(jobs, summaries, strict=True):
        for name in LABELS if task == "all" else [task]:
            results.setdefault((variant, name), []).append(scores(summary, name, is_only=task != "all"))
    text = table(results)
    (out / "table.md").write_text(text + "\n")
    print(text)
    print(f"wrote {out / 'table.md'}")


if __name__ == "__main__":
    main()
