"""Compares the model on enzyme classes with answers that need no network, and with variants of its partition.

    python benchmarks/enzymes.py --path chains.npz                         the baselines alone, a minute
    python benchmarks/enzymes.py --path chains.npz --variants learned random none features --seeds 0 1 2
    python benchmarks/enzymes.py --path chains.npz --variants learned --share 0.33 -- train.epochs=10 train.lr=1e-3

Each variant and seed is a run of run_partoken.py with `experiment=end_to_end` and the overrides after `--`, in a folder
of its own under --out. A run that has its summary is not repeated. The splits are those of the table. --share keeps a
fixed part of the training clusters, and all validation and test chains.

The regressions are those that every run shows beside its scores, see partoken/protein/baselines.py.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from runs import ROOT, spread, write_share

from partoken.protein.baselines import regression_answers
from partoken.protein.catalog import arrays
from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.protein.evaluation import score_answers
from partoken.protein.model.labels import learned_labels
from partoken.protein.sources.arrays import table_path

VARIANTS = {
    "learned": [],
    "random": ["model.partition=random"],
    "none": ["model.partition=none"],
    "features": ["model.tokens_from=features"],
}
SCORES = ("accuracy", "macro_f1")


def baselines(data: ProteinDataModule) -> dict[str, dict[str, float]]:
    """Scores the most frequent class and the regressions on the test chains."""
    labels, (train, val, test) = learned_labels(data.settings()), map(data.describe_chains, ("train", "val", "test"))
    counts = torch.tensor(labels[0].class_counts["train"])
    frequent = F.one_hot(counts.argmax(), data.num_classes).expand(len(test[1][""]), -1).double()
    answers = {"majority": {"": frequent}, **regression_answers(labels, train, val, test[0])}
    return {name: scores[""] for name, scores in score_answers(labels, answers, test[1]).items()}


def train(variant: str, seed: int, settings: argparse.Namespace, table: str, folder: Path) -> dict[str, float]:
    """Runs one variant, unless it was run before; returns its test scores."""
    if not (folder / "summary.json").exists():
        command = [sys.executable, str(ROOT / "run_partoken.py"), "experiment=end_to_end", "data=arrays"]
        command += [f"data.path={Path(settings.path).resolve()}", f"data.table={Path(table).resolve()}"]
        command += ["train.stages=null", "train.epochs=24", "train.warmup_steps=100", "data.label_columns=null"]
        command += [f"data.label_column={settings.label}", "data.family=null"]
        command += [f"train.seed={seed}", f"hydra.run.dir={folder.resolve()}"]
        command += [*VARIANTS[variant], *settings.overrides]
        print(f"{variant}, seed {seed}: {folder}", flush=True)
        if subprocess.run(command).returncode:
            sys.exit(f"{variant}, seed {seed} failed: see {folder}")
    return json.loads((folder / "summary.json").read_text())["test"]


def report(results: dict[str, list[dict[str, float]]], out: Path, label: str) -> None:
    print(f"\n{label:<22}" + "".join(f"{name:>26}" for name in SCORES))
    for name, runs in results.items():
        cells = []
        for score in SCORES:
            values = [run[score] for run in runs]
            cells.append(spread(values))
        print(f"{name:<22}" + "".join(f"{cell:>26}" for cell in cells) + f"   {len(runs)} run{'s' * (len(runs) > 1)}")
    (out / f"{label}.json").write_text(json.dumps(results, indent=2))
    plot(results, out / f"{label}.png", label)
    print(f"wrote {out / label}.png and .json")


def plot(results: dict[str, list[dict[str, float]]], path: Path, label: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 0.5 * len(results) + 1.4), sharey=True, layout="constrained")
    names = list(results)[::-1]
    for axes, score in zip(panels, SCORES, strict=True):
        for row, name in enumerate(names):
            values = [run[score] for run in results[name]]
            network = name in VARIANTS
            axes.plot(values, [row] * len(values), "o", color="tab:blue" if network else "tab:gray", alpha=0.7)
            if not network:
                axes.axvline(values[0], color="tab:gray", linewidth=0.8, linestyle=":")
        axes.set(title=f"test {score.replace('_', ' ')}", yticks=range(len(names)), yticklabels=names)
        axes.set_xlim(0, 1.1 * max(run[score] for runs in results.values() for run in runs))
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{label}: a dot a run, unseen clusters")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="the NPZ file, with its table beside it")
    parser.add_argument("--label", default="ec_top", help="column of the table")
    parser.add_argument("--variants", nargs="*", default=[], choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the training clusters that is used")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/enzymes"))
    parser.add_argument("overrides", nargs="*", help="after --: overrides of run_partoken.py")
    settings = parser.parse_args(arguments)
    settings.out.mkdir(parents=True, exist_ok=True)
    table = table_path(settings.path)
    if settings.share < 1:
        table = write_share(table, settings.share, settings.out / f"share{settings.share:g}.csv")
    data = arrays(settings.path, table=table, label_column=settings.label)
    results = {name: [scores] for name, scores in baselines(data).items()}
    report(results, settings.out, settings.label)
    for seed in settings.seeds:
        for variant in settings.variants:
            folder = settings.out / f"{settings.label}-share{settings.share:g}" / variant / str(seed)
            results.setdefault(variant, []).append(train(variant, seed, settings, table, folder))
    if settings.variants:
        report(results, settings.out, settings.label)


if __name__ == "__main__":
    main()
