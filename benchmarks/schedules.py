"""Compares schedules of the main job at equal budgets, beside a trunk from which three cooldowns fork.

    python benchmarks/schedules.py                       every schedule, three seeds, 10 epochs each
    python benchmarks/schedules.py --seeds 0 --epochs 5 --forks 1 2 -- data.limit=64        a smaller one

Each schedule moves by optimizer step and takes the same number of epochs. The constant run is the trunk too: it keeps
the checkpoint of every epoch. A fork of N epochs leaves it N epochs before its end and cools down to zero, so it ends
at the same step as the other runs, and trains only its own N epochs. Each run has a process of its own, with one
thread. A run that has its summary is not repeated. The table is written to --out.

Scores are mean and standard deviation over the seeds. "area" is the sum of the rates of all steps, also of those that a
fork shares with its trunk; "steps" are those that the run itself has taken.
"""

import argparse
import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runs import run_once, spread
from tqdm import tqdm

from partoken.overrides import quote

TRUNK = "constant"
SCHEDULES: dict[str, list[str]] = {
    TRUNK: ["callbacks=keep_epochs", "callbacks.keep_epochs.every_n_epochs=1"],
    "cosine": ["schedule=cosine"],
    "wsd": ["schedule=wsd"],
    "linear_to_zero": ["schedule=linear_to_zero"],
}
HEADER = ("schedule", "test accuracy", "test macro-F1", "val macro-F1", "area", "steps", "seconds")


def area(folder: Path) -> float:
    """Returns the sum of the rates of a run, of its first parameter group."""
    with open(folder / "lr.csv", newline="") as file:
        return sum(float(row["lr"]) for row in csv.DictReader(file) if row["group"] == "0")


def facts(summary: dict[str, Any], folder: Path) -> list[float]:
    """Returns the numbers of a run, in the order of `HEADER`."""
    test, taken = summary["test"], summary.get("fork", summary["schedule"])["steps"]
    scores = [test["accuracy"], test["macro_f1"], summary["monitor"]["best"]]
    return [*scores, area(folder), taken, summary["seconds"]]


def runs_of_seed(seed: int, epochs: int, forks: Sequence[int], out: Path) -> Iterator[tuple[str, list[str], Path]]:
    """Yields name, overrides and folder of each run; the trunk comes before its forks."""
    common = [f"train.seed={seed}", "trainer.enable_progress_bar=false"]
    for name, own in SCHEDULES.items():
        moves = [f"train.epochs={epochs}", "train.schedule_interval=step", *own]
        yield name, [*common, *moves], out / name / str(seed)
    for length in forks:
        checkpoint = out / TRUNK / str(seed) / "checkpoints" / "epochs" / f"epoch={epochs - length - 1}.ckpt"
        own = [f"resume={quote(str(checkpoint))}", "schedule=cooldown", f"schedule.length={length} epochs"]
        name = f"cooldown of {length} from {epochs - length}"
        yield name, [*common, *own], out / f"cooldown{length}" / str(seed)


def table(results: dict[str, list[list[float]]]) -> str:
    """Returns a table in Markdown: a row for each schedule, and what all of them have cost together."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for name, rows in results.items():
        columns = list(zip(*rows, strict=True))
        cells = [*map(spread, columns[:3]), *(f"{statistics.mean(column):.4g}" for column in columns[3:5])]
        lines.append(f"| {name} | {' | '.join(cells)} | {statistics.mean(columns[5]):.0f} |")
    steps, seconds = (sum(row[place] for rows in results.values() for row in rows) for place in (4, 5))
    lines.append(f"| all runs | | | | | {steps:.0f} | {seconds:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10, help="of every run")
    parser.add_argument("--forks", type=int, nargs="*", default=[1, 2, 4], help="epochs of each cooldown")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/schedules"))
    parser.add_argument("overrides", nargs="*", help="after --: overrides of run_partoken.py")
    settings = parser.parse_args(arguments)
    if not all(0 < length < settings.epochs for length in settings.forks):
        parser.error(f"--forks {settings.forks}: each must be 1 or more, and below --epochs {settings.epochs}")
    out = settings.out.resolve()
    runs = [run for seed in settings.seeds for run in runs_of_seed(seed, settings.epochs, settings.forks, out)]
    results: dict[str, list[list[float]]] = {}
    for name, overrides, folder in tqdm(runs, "runs"):
        results.setdefault(name, []).append(facts(run_once([*overrides, *settings.overrides], folder), folder))
    text = table(results)
    (out / "table.md").write_text(text + "\n")
    print(text)
    print(f"wrote {out / 'table.md'}")


if __name__ == "__main__":
    main()
