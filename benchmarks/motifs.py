"""Measures whether the partition finds the motif that decides the class, on synthetic chains with known motifs.

    python benchmarks/motifs.py                      one seed of each variant, about an hour on two cores
    python benchmarks/motifs.py --seeds 0 1 2 -- trainer.precision=bf16-mixed

Each variant and seed is a run of run_partoken.py with `experiment=motifs` and the overrides after `--`, in a folder of
its own under --out. A run that has its summary is not repeated. "none" reads the summary of all residues, the others
read only three substructures.

For each test chain: the fraction of the substructures' residues that lies in the motif, weighted by importance ("by
chance" is the motif's fraction of the chain), and whether any substructure touches the motif.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from partoken.protein.answers import Prediction
from partoken.protein.catalog import synthetic
from partoken.protein.chains.backbone import Backbone
from partoken.protein.predict import Predictor

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = {"none": ["model.partition=none"], "random": ["model.partition=random"], "learned": []}
SCORES = {"accuracy": "accuracy", "inside": "share inside the motif", "touched": "chains where the motif is touched"}


def train(variant: str, seed: int, folder: Path, overrides: Sequence[str]) -> None:
    """Runs one variant, unless it was run before."""
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, str(ROOT / "run_partoken.py"), "experiment=motifs", f"train.seed={seed}"]
    print(f"{variant}, seed {seed}: {folder}", flush=True)
    if subprocess.run([*command, f"hydra.run.dir={folder.resolve()}", *VARIANTS[variant], *overrides]).returncode:
        sys.exit(f"{variant}, seed {seed} failed: see {folder}")


def predict(folder: Path) -> tuple[list[Backbone], list[Prediction]]:
    """Classifies a run's test chains with its best checkpoint."""
    config = OmegaConf.load(folder / ".hydra" / "config.yaml")
    options = {key: value for key, value in config.data.items() if key != "_target_"}
    data = synthetic(**options, seed=config.train.seed).dataset("test")
    chains = data.store.read(data.rows.tolist())
    predictor = Predictor(folder / "checkpoints" / "best.ckpt")
    return chains, [
        prediction
        for start in range(0, len(chains), 32)
        for prediction in predictor.classify(chains[start : start + 32])
    ]


def measure(folder: Path, chains: Sequence[Backbone], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Compares the substructures of a run's test chains with their motifs."""
    pairs = [pair for pair in zip(chains, predictions, strict=True) if pair[0].fields.get("motif")]
    scores = [_compare(*pair) for pair in pairs]
    summary = json.loads((folder / "summary.json").read_text())
    means = {key: statistics.mean(score[key] for score in scores) for key in scores[0]}
    return {"accuracy": summary["test"]["accuracy"], "frequent": summary["majority_accuracy"], **means}


def _compare(chain: Backbone, prediction: Prediction) -> dict[str, float]:
    first, last = _motif(chain)
    shares = [
        statistics.mean(first <= residue <= last for residue in residues) if residues else 0.0
        for residues in prediction.residues
    ]
    return {
        "inside": sum(share * weight for share, weight in zip(shares, prediction.importance, strict=True)),
        "touched": float(any(shares)),
        "by chance": (last - first + 1) / len(chain),
    }


def _motif(chain: Backbone) -> tuple[int, int]:
    first, last = map(int, chain.fields["motif"].split("-"))
    return first, last


def report(results: dict[str, list[dict[str, float]]], out: Path) -> None:
    print(f"\n{'':<10}" + "".join(f"{title:>38}" for title in SCORES.values()))
    for name, runs in results.items():
        cells = []
        for score in SCORES:
            values = [run[score] for run in runs]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append("-" if name == "none" and score != "accuracy" else f"{statistics.mean(values):.3f}{spread}")
        print(f"{name:<10}" + "".join(f"{cell:>38}" for cell in cells) + f"   {len(runs)} run{'s' * (len(runs) > 1)}")
    some = next(iter(results.values()))[0]
    print(f"the most frequent class: accuracy {some['frequent']:.3f}; by chance {some['by chance']:.3f} lies inside")
    (out / "motifs.json").write_text(json.dumps(results, indent=2))
    plot(results, out / "motifs.png")
    print(f"wrote {out / 'motifs.png'} and .json")


def plot(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(9, 0.5 * len(results) + 1.3), sharey=True, layout="constrained")
    names = list(results)[::-1]
    some = next(iter(results.values()))[0]
    doing_nothing = {"accuracy": some["frequent"], "inside": some["by chance"]}
    for axes, (score, title) in zip(panels, SCORES.items(), strict=True):
        for row, name in enumerate(names):
            if name != "none" or score == "accuracy":
                axes.plot(
                    [run[score] for run in results[name]], [row] * len(results[name]), "o", color="tab:blue", alpha=0.7
                )
        if score in doing_nothing:
            axes.axvline(doing_nothing[score], color="tab:gray", linewidth=0.8, linestyle=":")
        axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.05), ylim=(-0.5, len(names) - 0.5))
        axes.set_title(title, fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("a dot a run; dotted: the most frequent class, and the motif's share of a chain", fontsize="medium")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_chains(seen: dict[str, tuple[list[Backbone], list[Prediction]]], path: Path, rows: int = 16) -> None:
    """Draws the first test chains of each variant: the motif, and over it what was read, darker where it counted."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(seen), figsize=(9, 0.2 * rows + 1.2), sharey=True, layout="constrained")
    for axes, (name, (chains, predictions)) in zip(np.atleast_1d(panels), seen.items(), strict=True):
        for row, (chain, prediction) in enumerate(zip(chains[:rows], predictions[:rows], strict=True)):
            axes.plot([0, len(chain) - 1], [row, row], color="0.9", linewidth=1, zorder=0)
            if chain.fields.get("motif"):
                first, last = _motif(chain)
                axes.barh(row, last - first + 1, left=first - 0.5, height=0.8, color="tab:orange", alpha=0.45, zorder=1)
            for residues, weight in zip(prediction.residues, prediction.importance, strict=True):
                axes.plot(
                    residues, [row] * len(residues), "o", color="tab:blue", markersize=3, alpha=0.1 + 0.9 * weight
                )
        axes.set(xlabel="residue", ylim=(rows - 0.4, -0.6), yticks=[])
        axes.set_title(name, fontsize="medium")
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.supylabel("test chains", fontsize="medium")
    figure.suptitle(
        "orange: the motif that decides; blue: what is read, darker where it counted more", fontsize="medium"
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/motifs"))
    parser.add_argument("overrides", nargs="*", help="after --: overrides of run_partoken.py")
    settings = parser.parse_args(arguments)
    results: dict[str, list[dict[str, float]]] = {}
    seen: dict[str, tuple[list[Backbone], list[Prediction]]] = {}
    for seed in settings.seeds:
        for variant in settings.variants:
            folder = settings.out / variant / str(seed)
            train(variant, seed, folder, settings.overrides)
            chains, predictions = predict(folder)
            results.setdefault(variant, []).append(measure(folder, chains, predictions))
            if variant != "none":
                seen.setdefault(variant, (chains, predictions))
    report(results, settings.out)
    if seen:
        plot_chains(seen, settings.out / "chains.png")
        print(f"wrote {settings.out / 'chains.png'}")


if __name__ == "__main__":
    main()
