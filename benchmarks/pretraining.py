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
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from partoken.config import compose, instantiate, plain_group

ROOT = Path(__file__).resolve().parent.parent
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


def overrides_of(variant: str, path: Path, label: str) -> list[str]:
    """Returns the overrides of a run that trains labels, without its length."""
    return [
        "experiment=enzymes",
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
    return ["experiment=pretrain", "data=arrays", f"data.path={path}", "trainer.precision=bf16-mixed"]


def rate(overrides: Sequence[str], count: int = 30) -> float:
    """Measures the optimizer steps of a minute of processor time, with one thread."""
    cfg = compose(list(overrides))
    groups = {name: plain_group(cfg, name) for name in ("train", "model", "data")}
    stages = instantiate(groups["train"], "train").run_stages()
    groups = stages[0].groups(groups)
    loading = {"batch_size": groups["train"]["batch_size"], "num_workers": 0, "seed": 0}
    data = instantiate(groups["data"], "data", **loading)
    task = instantiate(groups["model"], "model", train=groups["train"], data=data.settings())
    task.log_dict = lambda *_, **__: None
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(count + 2), strict=False)]
    frozen = groups["model"].get("frozen_encoder")
    if frozen:
        for batch in batches:
            batch.embedding = task.network.embed(**batch.inputs())[0].detach()
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], 1e-4)
    started = 0.0
    for number, batch in enumerate(batches):
        if number == 2:
            started = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = task.training_step(batch, number)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return 60 * (len(batches) - 2) / (time.process_time() - started)


def minutes_to_embed(overrides: Sequence[str], count: int = 20) -> float:
    """Estimates the minutes of processor time in which an encoder embeds all chains."""
    cfg = compose(list(overrides))
    groups = {name: plain_group(cfg, name) for name in ("train", "model", "data")}
    data = instantiate(groups["data"], "data", batch_size=30, num_workers=0, seed=0)
    task = instantiate(groups["model"], "model", train=groups["train"], data=data.settings())
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(count), strict=False)]
    started = time.process_time()
    for batch in batches:
        task._encode(batch)
    residues = sum(batch.coords.shape[0] for batch in batches)
    return data.report()["residues_used"] / residues * (time.process_time() - started) / 60


def run(overrides: Sequence[str], steps: float, folder: Path, seed: int, length: str) -> dict[str, Any]:
    """Trains for some steps in a process of its own, unless that was done; returns its summary."""
    if not (folder / "summary.json").exists():
        epochs = VALIDATIONS
        while steps / epochs > 300:  # an epoch must not have more batches than the smallest task
            epochs += VALIDATIONS
        command = [sys.executable, str(ROOT / "run_partoken.py"), *overrides, f"hydra.run.dir={folder.resolve()}"]
        command += [f"{length}={epochs}", f"trainer.limit_train_batches={math.ceil(steps / epochs)}"]
        command += [f"train.seed={seed}", f"trainer.check_val_every_n_epoch={epochs // VALIDATIONS}"]
        command += ["trainer.enable_progress_bar=false", "trainer.limit_val_batches=50"]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.log", "w") as log:
            one = {**os.environ, "OMP_NUM_THREADS": "1"}
            if subprocess.run(command, stdout=log, stderr=log, env=one).returncode:
                raise RuntimeError(f"{folder} failed: see {folder}.log")
    return json.loads((folder / "summary.json").read_text())


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
                spread = f" ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else ""
                parts.append(f"{statistics.mean(numbers):.3f}{spread}")
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
        kinds = ("several", "frozen+several", "frozen+several+pooled")
        of_kind = {kind: rate(overrides_of(kind, path, ALL)) for kind in kinds}
        of_kind["pretraining"] = rate(overrides_of_pretraining(path))
        of_kind["minutes to embed"] = minutes_to_embed(overrides_of("frozen+several", path, ALL))
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
