"""Shows what a sweep promises: jobs share the cores, a kill loses nothing, and each launcher gives the same table.

    python benchmarks/sweep.py --parallel          six jobs, one at a time and two at a time: time over the ideal time
    python benchmarks/sweep.py --kill 20           a sweep killed 20 times at random against one that was not disturbed
    python benchmarks/sweep.py --launchers         the same six jobs with every launcher that is installed

Each part prints a small table and a verdict; the exit status is 1 if a verdict is bad. The jobs train ParToken on a few
of the embedded chains, with one thread each. Overrides after `--` go to every sweep.
"""

import argparse
import csv
import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data.limit=24", "model.max_clusters=5", "model.codebook_size=64", "train.batch_size=4", "sweep.threads=1"]
SIX = ["train.lr=1e-3,1e-4", "train.seed=1,2,3", "train.epochs=2"]
FOUR = ["train.lr=1e-3,1e-4", "train.seed=1,2", "train.epochs=12"]
LIMIT = 1.2
"""Largest time of a parallel sweep over the ideal time."""
VOLATILE = ("per_second", "seconds")
"""Ends of the names of columns that differ between equal runs."""


@dataclass
class Started:
    """A sweep in a process group of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    began: float = field(default_factory=time.perf_counter)

    def kill(self) -> bool:
        """Kills the sweep and all its jobs; returns whether the sweep was alive and the kill ended it."""
        if self.process.poll() is not None:
            return False
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait() == -signal.SIGKILL

    def wait(self) -> float:
        """Waits until all jobs have finished; returns the seconds since the start."""
        if self.process.wait():
            sys.exit(f"the sweep in {self.folder} failed: see {self.folder}.log")
        return time.perf_counter() - self.began


def start(folder: Path, overrides: list[str]) -> Started:
    """Starts a sweep; what it prints goes into a file beside its folder."""
    command = [sys.executable, "run_partoken.py", "-m", f"hydra.sweep.dir={folder}", *SMALL, *overrides]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.log", "ab") as log:
        return Started(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True), folder)


def jobs(folder: Path) -> list[Path]:
    """Returns the run folders of a sweep, in order."""
    path = folder / "sweep.json"
    return [folder / job["folder"] for job in json.loads(path.read_text())["jobs"]] if path.exists() else []


def result(run: Path) -> dict[str, Any]:
    """Returns everything of a run that must not depend on how it was carried out."""
    import torch

    summary = json.loads((run / "summary.json").read_text())
    with open(run / "metrics.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if not k.endswith(VOLATILE)} for row in csv.DictReader(file)]
    weights = {}
    for name in ("best", "last"):
        loaded = torch.load(run / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=False)
        weights[name] = {key: value.numpy().tobytes() for key, value in loaded["state_dict"].items()}
    scores = {key: summary[key] for key in ("status", "test", "monitor")}
    return {"lr.csv": (run / "lr.csv").read_bytes(), "metrics.csv": rows, **weights, "scores": scores}


def differences(one: Path, other: Path) -> list[str]:
    """Returns what differs between two sweeps: a job and one of its files."""
    first, second = jobs(one), jobs(other)
    if len(first) != len(second):
        return [f"{len(first)} and {len(second)} jobs"]
    found = []
    for number, (left, right) in enumerate(zip(first, second, strict=True)):
        ours, theirs = result(left), result(right)
        found += [f"job {number}: {name}" for name in ours if ours[name] != theirs[name]]
    return found


def measure_parallel(out: Path, overrides: list[str]) -> bool:
    """Compares two jobs at a time with one at a time."""
    cores = min(2, len(os.sched_getaffinity(0)))
    variants = {"serial": ["launcher=serial"], "local": ["launcher=local", "n_jobs=2"]}
    spans = {}
    print(f"{'launcher':<16}{'jobs':>6}{'whole sweep':>14}{'first start to last end':>26}{'load':>8}")
    for name, options in variants.items():
        whole = start(out / name, [*SIX, *options, *overrides]).wait()
        runs = jobs(out / name)
        begins = [(run / ".hydra/overrides.yaml").stat().st_mtime for run in runs]
        spans[name] = max((run / "status.json").stat().st_mtime for run in runs) - min(begins)
        load = os.getloadavg()[0]
        print(f"{name:<16}{len(runs):>6}{whole:>12.1f} s{spans[name]:>24.1f} s{load:>8.1f}", flush=True)
    one = spans["serial"] / len(runs)
    ratio = spans["local"] / (len(runs) / cores * one)
    print(f"one job takes {one:.1f} s")
    print(f"{len(runs)} jobs on {cores} cores take {ratio:.2f} of {len(runs)}/{cores} times that; at most {LIMIT}")
    return ratio <= LIMIT


def trace(run: Path) -> tuple[int, int, int]:
    """Returns what changes if a finished run is run again: its summary, and the starts in its log."""
    state = (run / "summary.json").stat()
    return state.st_ino, state.st_mtime_ns, (run / "run.log").read_text().count("run folder:")


def measure_kills(out: Path, kills: int, seed: int, overrides: list[str]) -> bool:
    """Kills a sweep at random moments, starts it again each time, and compares it with an undisturbed one."""
    overrides = [*FOUR, "launcher=local", "n_jobs=2", *overrides]
    began = start(out / "undisturbed", overrides)
    while not any((run / "lr.csv").exists() for run in jobs(began.folder)):
        time.sleep(0.2)
    startup = time.perf_counter() - began.began
    training = began.wait() - startup
    print(f"undisturbed: {startup:.0f} s until the first step, then {training:.0f} s", flush=True)
    draw = random.Random(seed)
    finished: dict[Path, tuple[int, int, int]] = {}
    landed, repeated, resumed = 0, set[Path](), 0
    while True:
        sweep = start(out / "killed", overrides)
        if landed < kills:
            # on average a fraction of the work between two kills, so that the sweep outlives all of them
            time.sleep(draw.uniform(0.3 * startup, 1.3 * startup + 1.2 * training / kills))
            before = sum(_status(run) == "running" for run in jobs(sweep.folder))
            landed_now = sweep.kill()
            landed += landed_now
            if landed_now:
                print(f"kill {landed}: {before} jobs were running, {len(finished)} had finished", flush=True)
            complete = not landed_now and sweep.process.returncode == 0
        else:
            sweep.wait()
            complete = True
        for run in jobs(sweep.folder):
            if (
                not (run / "status.json").exists()
                or json.loads((run / "status.json").read_text())["status"] != "finished"
            ):
                continue
            repeated |= {run} if finished.setdefault(run, trace(run)) != trace(run) else set()
        if complete:
            break
        if sweep.process.returncode not in (0, -signal.SIGKILL):
            sys.exit(f"the sweep ended with {sweep.process.returncode}: see {sweep.folder}.log")
    log = Path(f"{out / 'killed'}.log").read_text()
    resumed = len(re.findall(r"job \d+ goes on", log))
    different = differences(out / "undisturbed", out / "killed")
    print(f"{'':<16}{'jobs':>6}{'starts':>8}{'of which resumed':>18}")
    for name, again in (("undisturbed", 0), ("killed", resumed)):
        starts = sum(trace(run)[2] for run in jobs(out / name))
        print(f"{name:<16}{len(jobs(out / name)):>6}{starts:>8}{again:>18}")
    print(
        f"{landed} of {kills} kills landed; finished jobs that were run again: {len(repeated)}; different: {different}"
    )
    return landed == kills and not repeated and not different


def _status(run: Path) -> str | None:
    path = run / "status.json"
    status: str | None = json.loads(path.read_text())["status"] if path.exists() else None
    return status


def compare_launchers(out: Path, overrides: list[str]) -> bool:
    """Runs the same jobs with every launcher."""
    launchers = {"serial": ["launcher=serial"], "local": ["launcher=local", "n_jobs=2"]}
    for name, options in (("submitit", ["launcher.executor=local"]), ("ray", [])):
        if importlib.util.find_spec(name):
            launchers[name] = [f"launcher={name}", "n_jobs=2", *options]
        else:
            print(f"{name} is not installed and is left out")
    different = []
    print(f"{'launcher':<16}{'jobs':>6}{'seconds':>10}{'the same as serial':>20}")
    for name, options in launchers.items():
        seconds = start(out / name, [*SIX, *options, *overrides]).wait()
        found = differences(out / "serial", out / name)
        different += [f"{name}, {text}" for text in found]
        print(f"{name:<16}{len(jobs(out / name)):>6}{seconds:>10.1f}{'no' if found else 'yes':>20}", flush=True)
    if different:
        print(*different, sep="\n")
    return not different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", action="store_true")
    parser.add_argument("--kill", type=int, metavar="TIMES")
    parser.add_argument("--launchers", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--out", type=Path, help="keeps the sweeps in this folder, which must not exist")
    parser.add_argument("overrides", nargs="*", help="after --: for every sweep")
    options = parser.parse_args()
    if not (options.parallel or options.kill or options.launchers):
        parser.error("choose --parallel, --kill TIMES or --launchers")
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.out or Path(temporary) / "sweeps").resolve()
        out.mkdir(parents=True)
        verdicts = {}
        if options.parallel:
            verdicts["parallel"] = measure_parallel(out / "p", options.overrides)
        if options.kill:
            verdicts["kill"] = measure_kills(out / "k", options.kill, options.seed, options.overrides)
        if options.launchers:
            verdicts["launchers"] = compare_launchers(out / "l", options.overrides)
    print(*(f"{name}: {'good' if good else 'BAD'}" for name, good in verdicts.items()), sep="\n")
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
