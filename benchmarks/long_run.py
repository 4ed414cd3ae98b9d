"""Trains a small model for many optimizer steps, and shows that memory stays flat, files stay small and speed constant.

    python benchmarks/long_run.py                            20,000 steps of the toy domain of the tests, in minutes
    python benchmarks/long_run.py --protein --minutes 30     a small ParToken on synthetic chains, as far as it gets

The run is one of `run_partoken.py`, or with the toy domain of its engine, in a process of its own, with one thread. Its
resident memory, processor time, steps and the size of its folder are read from outside. `lr.csv` grows by one row per
step and parameter group; it is the only file that grows with the steps, and is listed apart.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from matplotlib import pyplot as plt
from runs import ROOT

from partoken.system.tables import read_table

EPOCHS = 50
"""Epochs of the run, whatever its steps."""
BATCH = 2
SETTINGS = """
data=synthetic data.num_classes=2 data.shortest=24 data.longest=24 data.baselines=false
model.node_h_dim=[8,1] model.edge_h_dim=[8,1] model.num_neighbors=4
model.codebook_size=8 model.exchange_layers=1
train.use_cosine_schedule=true train.schedule_interval=step train.warmup_epochs=1
trainer.accelerator=cpu trainer.limit_val_batches=2 trainer.limit_test_batches=2
""".split()


@dataclass
class Sample:
    """The run at one time."""

    seconds: float
    """Processor time of the process so far; unlike the time by the clock, it does not depend on other processes."""
    steps: int
    memory: float
    """Resident memory in MB."""
    rates: float
    """Size of `lr.csv` in MB."""
    files: float
    """Size of all other files in MB."""


def measure(folder: Path, steps: int, interval: float, minutes: float, is_protein: bool) -> list[Sample]:
    """Carries out the run and returns its samples from the first step on; it is asked to end after some minutes."""
    chains = round(steps / EPOCHS * BATCH / 0.7)
    command = [sys.executable, str(ROOT / "run_partoken.py"), *SETTINGS, f"data.num_chains={chains}"]
    command += [f"train.epochs={EPOCHS}", f"train.batch_size={BATCH}", f"hydra.run.dir={folder}", "overwrite=true"]
    if not is_protein:
        command = [sys.executable, __file__, "--steps", str(steps), "--child", str(folder)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    samples, began = [], time.perf_counter()
    with open(f"{folder}.log", "w") as log:
        run = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while run.poll() is None:
            time.sleep(interval)
            if time.perf_counter() - began > 60 * minutes:
                (folder / "stop").touch()
            if (sample := _look(run.pid, folder)) is not None:
                samples.append(sample)
    if run.returncode:
        sys.exit(f"the run failed, see {folder}.log")
    return [sample for sample in samples if sample.steps < samples[-1].steps]  # then the test and the pictures follow


def train_toy(folder: Path, steps: int) -> None:
    """Trains the toy domain of the tests in this process."""
    from partoken.system.targets import trust
    from partoken.training.engine import carry_out
    from tests.training.runs import settings

    trust(["tests"])
    folder.mkdir(exist_ok=True)
    data = {"size": steps // EPOCHS * BATCH, "batch_size": BATCH}
    carry_out({**settings(epochs=EPOCHS, data=data, lr=1e-3), "overwrite": True}, folder)


def _look(process: int, folder: Path) -> Sample | None:
    """Reads memory, steps and sizes; None before the first step and after the end."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
        seconds = _processor_seconds(process)
        rates = folder / "lr.csv"
        rows = _last_step(rates)
        files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - rates.stat().st_size
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    return Sample(seconds, rows, memory, rates.stat().st_size / 1e6, files / 1e6)


def _processor_seconds(process: int) -> float:
    """Returns the time that a process has computed, for itself and for the system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _last_step(table: Path) -> int:
    """Returns the step of the last whole row of a table of rates, and reads only its end."""
    with open(table, "rb") as file:
        file.seek(max(0, table.stat().st_size - 200))
        rows = file.read().decode().splitlines()[1:-1]
    return int(rows[-1].split(",")[0])


def report(samples: list[Sample], folder: Path) -> None:
    """Prints first and last tenth of the run."""
    summary = json.loads((folder / "summary.json").read_text())
    tenth = max(2, len(samples) // 10)
    # The first samples belong to the start of the run.
    first, last = samples[tenth : 2 * tenth], samples[-tenth:]
    print(f"steps           {summary['schedule']['steps']:,}: {summary['schedule']['verdict']}")
    for name, unit in (("memory", "MB"), ("files", "MB")):
        values = [statistics.mean(getattr(sample, name) for sample in part) for part in (first, last)]
        print(
            f"{name:<15} {values[0]:.1f} {unit} in the second tenth of the run, {values[1]:.1f} {unit} in the last one"
        )
    speeds = [(part[-1].steps - part[0].steps) / (part[-1].seconds - part[0].seconds) for part in (first, last)]
    unit = "steps per second of processor time"
    print(f"speed           {speeds[0]:.1f} {unit} in the second tenth, {speeds[1]:.1f} in the last one")
    size, rows = (folder / "lr.csv").stat().st_size, len(read_table(folder / "lr.csv"))
    print(f"lr.csv          {size / 1e6:.2f} MB, {size / rows:.1f} bytes a row, two rows a step")


def plot(samples: list[Sample], path: Path) -> None:
    """Draws memory, sizes and speed over the steps."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6))
    steps = [sample.steps for sample in samples]
    axes[0].plot(steps, [sample.memory for sample in samples], color="#1f4e79")
    axes[0].set_ylim(0, 1.3 * max(sample.memory for sample in samples))
    axes[0].set_title("resident memory, MB", fontsize=9)
    axes[1].plot(steps, [sample.rates for sample in samples], color="#c55a11", label="lr.csv")
    axes[1].plot(steps, [sample.files for sample in samples], color="#1f4e79", label="all others")
    axes[1].set_title("files, MB", fontsize=9)
    axes[1].legend(frameon=False, fontsize=8)
    pairs = list(itertools.pairwise(samples))
    speeds = [(after.steps - before.steps) / (after.seconds - before.seconds) for before, after in pairs]
    axes[2].plot(steps[1:], speeds, color="#1f4e79")
    axes[2].set_ylim(0, 1.3 * max(speeds))
    axes[2].set_title("steps per second of processor time", fontsize=9)
    for panel in axes:
        panel.set_xlabel("optimizer steps", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--interval", type=float, default=6.0, help="seconds between two samples")
    parser.add_argument("--minutes", type=float, default=60, help="after these the run ends with its current epoch")
    parser.add_argument("--out", type=Path, default=Path("outputs/long_run"))
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent / "figures" / "long_run.png")
    parser.add_argument("--protein", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return train_toy(options.child, options.steps)
    samples = measure(options.out.resolve(), options.steps, options.interval, options.minutes, options.protein)
    report(samples, options.out)
    plot(samples, options.figure)


if __name__ == "__main__":
    main()
