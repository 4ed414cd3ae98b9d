"""Compares the three stages of `experiment=multistage` with one stage of the same length, over several seeds.

    python benchmarks/stages.py --seeds 0 1 2
    python benchmarks/stages.py --seeds 0 -- data.limit=60

Each variant and seed is a run of run_partoken.py with the overrides after `--`, in a folder of its own under --out. A
run that has its summary is not repeated. One stage has the cosine schedule by step, the warm-up of 10 % and the peak
rate of the first of the three stages.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCHEDULE = ["train.use_cosine_schedule=true", "train.schedule_interval=step", "train.warmup_epochs=null"]
VARIANTS = {
    "three stages": ["experiment=multistage"],
    "one stage": ["train.epochs=8", *SCHEDULE],
}
SCORES = ("accuracy", "balanced_accuracy", "macro_f1")


def run(variant: str, seed: int, out: Path, overrides: list[str]) -> dict[str, Any]:
    """Carries out one run, unless it was carried out before; returns its summary."""
    folder = (out / f"{variant.replace(' ', '_')}_{seed}").resolve()
    if not (folder / "summary.json").exists():
        command = [sys.executable, str(ROOT / "run_partoken.py"), *VARIANTS[variant]]
        command += [f"train.seed={seed}", f"hydra.run.dir={folder}", *overrides]
        print(f"{variant}, seed {seed}: {folder}", flush=True)
        if subprocess.run(command).returncode:
            sys.exit(f"{variant}, seed {seed} failed: see {folder}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def report(results: dict[str, list[dict[str, Any]]]) -> None:
    """Prints mean and standard deviation of each score, and the use of the codebook."""
    print(f"\n{'test':<16}" + "".join(f"{score:>20}" for score in SCORES) + f"{'used codes':>12}{'seconds':>9}")
    for name, runs in results.items():
        cells = []
        for score in SCORES:
            values = [own["test"][score] for own in runs]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        codes = statistics.mean(own["codebook"]["used_codes"] for own in runs)
        seconds = statistics.mean(own["seconds"] for own in runs)
        print(f"{name:<16}" + "".join(f"{cell:>20}" for cell in cells) + f"{codes:>12.0f}{seconds:>9.0f}")
    for name, runs in results.items():
        print(f"{name}, macro-F1 of each seed: " + ", ".join(f"{own['test']['macro_f1']:.3f}" for own in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("outputs/stages"))
    parser.add_argument("overrides", nargs="*", help="after --: for every run")
    options = parser.parse_args()
    results = {name: [run(name, seed, options.out, options.overrides) for seed in options.seeds] for name in VARIANTS}
    report(results)


if __name__ == "__main__":
    main()
