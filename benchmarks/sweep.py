"""Shows what a sweep promises: jobs share the cores, a kill loses nothing, and each launcher gives the same table.

    python benchmarks/sweep.py --parallel          six jobs, one at a time and on all cores: time over the ideal time
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
LONGER = ["train.lr=1e-3,1e-4", "train.seed=1,2,3", "train.epochs=12"]
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


def table(folder: Path) -> list[dict[str, str]]:
    """Returns the table of a sweep, without the time of the jobs and what depends on it."""
    with open(folder / "sweep.csv", newline="") as file:
        return [{k: v for k, v in row.items() if not k.endswith(VOLATILE)} for row in csv.DictReader(file)]


def differences(one: Path, other: Path) -> list[str]:
    """Returns what differs between two sweeps: their table, or a job and one of its files."""
    first, second = jobs(one), jobs(other)
    if len(first) != len(second):
        return [f"{len(first)} and {len(second)} jobs"]
    found = [] if table(one) == table(other) else ["sweep.csv"]
    for number, (left, right) in enumerate(zip(first, second, strict=True)):
        ours, theirs = result(left), result(right)
        found += [f"job {number}: {name}" for name in ours if ours[name] != theirs[name]]
    return found


def measure_parallel(out: Path, overrides: list[str]) -> bool:
    """Compares two jobs at a time with one at a time, from the start of the first job to the end of the last one."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        sys.exit("--parallel needs two cores")
    variants = {"serial": ["launcher=serial"], "local": ["launcher=local", f"n_jobs={cores}"]}
    spans, works, left = {}, {}, {}
    print(f"{'launcher':<16}{'jobs':>6}{'seconds':>10}{'processor time':>16}{'others use':>14}")
    for name, options in variants.items():
        sweep = start(out / name, [*SIX, *options, *overrides])
        samples = Samples(sweep.process.pid)
        while sweep.process.poll() is None:
            samples.take()
            time.sleep(0.1)
        sweep.wait()
        runs = jobs(out / name)
        begin = min((run / ".hydra/overrides.yaml").stat().st_mtime for run in runs)
        end = max((run / "status.json").stat().st_mtime for run in runs)
        spans[name] = end - begin
        works[name], others = samples.between(begin, end)
        left[name] = cores - others / spans[name]
        shown = f"{cores - left[name]:.1f} cores"
        print(f"{name:<16}{len(runs):>6}{spans[name]:>10.1f}{works[name]:>14.1f} s{shown:>14}", flush=True)
    wall = spans["local"] / (spans["serial"] / cores)
    ratio = spans["local"] * left["local"] / works["serial"]
    print(f"{len(runs)} jobs on {cores} cores take {wall:.2f} of {len(runs)}/{cores} times a job's time")
    print(f"with the cores that other work has left: {ratio:.2f} of the processor time of the jobs one at a time")
    print(f"more processor time than one at a time: {works['local'] / works['serial'] - 1:+.0%}")
    return ratio <= LIMIT


class Samples:
    """The processor time of a session and of the whole machine, taken again and again.

    Arguments:
        session: number of its first process.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._processes: dict[int, float] = {}
        self._taken: list[tuple[float, float, float]] = []

    def take(self) -> None:
        """Adds the present times."""
        tick = os.sysconf("SC_CLK_TCK")
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                values = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if int(values[3]) == self._session:
                self._processes[int(path.parent.name)] = (int(values[11]) + int(values[12])) / tick
        machine = [int(value) / tick for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        busy = sum(machine) - machine[3] - machine[4]
        self._taken.append((time.time(), sum(self._processes.values()), busy))

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Returns the processor seconds of the session, and those of other work, between two times."""
        first, last = (min(self._taken, key=lambda sample: abs(sample[0] - moment)) for moment in (begin, end))
        own = last[1] - first[1]
        return own, max(0.0, last[2] - first[2] - own)


def trace(run: Path) -> tuple[int, int, int]:
    """Returns what changes if a finished run is run again: its summary, and the starts in its log."""
    state = (run / "summary.json").stat()
    return state.st_ino, state.st_mtime_ns, (run / "run.log").read_text().count("run folder:")


def measure_kills(out: Path, kills: int, seed: int, overrides: list[str]) -> bool:
    """Kills a sweep at random moments, starts it again each time, and compares it with an undisturbed one."""
    overrides = [*LONGER, "launcher=local", "n_jobs=2", *overrides]
    undisturbed = start(out / "undisturbed", overrides)
    while not epochs(undisturbed.folder) and undisturbed.process.poll() is None:
        time.sleep(0.1)
    startup = time.perf_counter() - undisturbed.began
    whole = undisturbed.wait()
    total = epochs(undisturbed.folder)
    print(f"undisturbed: {whole:.0f} s for {total} epochs, of which {startup:.0f} s until the first one", flush=True)
    an_epoch = (whole - startup) / total
    draw = random.Random(seed)
    finished: dict[Path, tuple[int, int, int]] = {}
    repeated: set[Path] = set()
    landed = 0
    print(f"{'kill':>4}{'after':>8}{'epochs':>10}{'running':>10}{'finished':>10}")
    while True:
        sweep = start(out / "killed", overrides)
        if landed < kills:
            wait_for_a_moment(sweep, draw, round(total / kills), startup, an_epoch)
            running = sum(_status(run) == "running" for run in jobs(sweep.folder))
            after = time.perf_counter() - sweep.began
            landed += sweep.kill()
        else:
            sweep.wait()
        code = sweep.process.returncode
        for run in jobs(sweep.folder):
            if _status(run) == "finished" and finished.setdefault(run, trace(run)) != trace(run):
                repeated.add(run)
        if code == 0:
            break
        if code != -signal.SIGKILL:
            sys.exit(f"the sweep ended with exit status {code}: see {sweep.folder}.log")
        done = epochs(sweep.folder)
        print(f"{landed:>4}{after:>6.1f} s{done:>7}/{total}{running:>10}{len(finished):>10}", flush=True)
    resumed = Path(f"{out / 'killed'}.log").read_text().count(" goes on: ")
    different = differences(out / "undisturbed", out / "killed")
    print(f"{'':<16}{'jobs':>6}{'starts':>8}{'of which continued':>20}")
    for name, again in (("undisturbed", 0), ("killed", resumed)):
        starts = sum(trace(run)[2] for run in jobs(out / name))
        print(f"{name:<16}{len(jobs(out / name)):>6}{starts:>8}{again:>20}")
    print(f"{landed} of {kills} kills landed; finished jobs that were run again: {len(repeated)}")
    print(f"different from the undisturbed sweep: {', '.join(different) or 'nothing'}")
    return landed == kills and not repeated and not different


def wait_for_a_moment(sweep: Started, draw: random.Random, most: int, startup: float, an_epoch: float) -> None:
    """Waits for a random moment: while the sweep starts, or within the next epochs.

    Arguments:
        sweep: just started.
        draw: random numbers.
        most: epochs that may end before the moment.
        startup: seconds from the start of a sweep to its first epoch.
        an_epoch: seconds between the ends of two epochs.
    """
    wanted = draw.randint(0, max(1, most))
    if wanted == 0:
        time.sleep(draw.uniform(0.2, 1.2) * startup)
        return
    before = epochs(sweep.folder)
    while epochs(sweep.folder) < before + wanted and sweep.process.poll() is None:
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 2 * an_epoch))


def epochs(folder: Path) -> int:
    """Returns the epochs that the jobs of a sweep have completed."""
    tables = [run / "metrics.csv" for run in jobs(folder)]
    return sum(max(0, table.read_text().count("\n") - 1) for table in tables if table.exists())


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
