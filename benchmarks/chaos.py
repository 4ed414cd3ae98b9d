"""Kills small training runs in declared windows, resumes them to their end, and compares with uninterrupted runs.

    python benchmarks/chaos.py                     300 kills, the self-test, and the figure
    python benchmarks/chaos.py --kills 18          a short form
    python benchmarks/chaos.py --only-self-test    each protection removed in turn; every one must be noticed

The parent process has imported everything and forks a child for each start, so that 300 starts take minutes. A child
runs what `run_partoken.py` runs, tells through a pipe which window it enters and leaves, and waits inside the window
that was chosen for it. The parent sends SIGKILL and counts the kill only if the child ended by it and had not left the
window. The next child of the run goes on with `resume=auto`, with 0 or 2 workers, whatever the last one had.

After each kill all checkpoints are read. SIGKILL loses nothing that was handed to the system, so a power cut is
simulated too: a checkpoint whose content the child had not synced is cut to half before it is read.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos_child import PROTECTIONS
from chaos_job import EVERY, Job, differences, protein_job
from chaos_plot import plot_kills
from chaos_run import Storm, start

WINDOWS = ("reading data", "loading a batch", "restoring", "step", "save", "rename", "validation", "test", "report")
VISITS = {"loading a batch": 12, "step": 6, "save": 6, "rename": 6, "validation": 4, "test": 2}
"""Largest number of visits of a window before the kill; otherwise the first one is chosen."""
WORKERS = (0, 2)
SELF_TEST = ("reading data", "step", "save", "rename", "step", "save", "rename", "validation")
"""Windows of the kills of a run without a protection."""


def storm(jobs: Sequence[Job], wanted: Sequence[tuple[str, int]], folder: Path, seed: int, removed: str = "") -> Storm:
    """Kills runs until every wanted kill has landed, and brings each run to its end.

    Arguments:
        jobs: taken in turn.
        wanted: window and number of workers of each kill.
        folder: of the runs.
        seed: of all choices.
        removed: a protection that the children do without; then the first run is enough.
    """
    choose, result, bag = random.Random(seed), Storm(), Counter(wanted)
    references = {}
    while bag.total() and not (removed and result.runs):
        job = jobs[result.runs % len(jobs)]
        if job.name not in references:
            references[job.name] = folder / f"reference-{job.name}"
            start(job, references[job.name], 0, Storm(), None)
        run = folder / f"run-{result.runs}"
        ended = _kill_run(job, run, bag, choose, result, removed)
        if ended == "killed":
            ended = start(job, run, choose.choice(WORKERS), result, None, removed)
        if ended == "finished":
            found = differences(references[job.name], run)
            result.differing += [f"{run.name}: {place}" for place in found]
            result.equal += not found
            result.left_over += len(list(run.rglob("*.partial")))
        result.runs += 1
        shutil.rmtree(run.with_name(f"{run.name}-cache"), ignore_errors=True)
        if not result.differing:
            shutil.rmtree(run, ignore_errors=True)
    return result


def _kill_run(job: Job, run: Path, bag: Counter, choose: random.Random, result: Storm, removed: str) -> str:
    """Kills one run once in each window that is still wanted, those at the end of a run last; returns how it ended."""
    ended = "killed"
    windows = sorted({window for window, _ in bag if bag[window, 0] + bag[window, 2] > 0})
    choose.shuffle(windows)
    windows.sort(key=lambda window: (window in ("test", "report"), window == "report"))
    if removed:
        windows = list(SELF_TEST)
    while windows:
        has_checkpoint = any(run.rglob("*.ckpt"))
        window = next((name for name in windows if name != "restoring" or has_checkpoint), None)
        if window is None:
            break
        windows.remove(window)
        workers = choose.choice([number for number in WORKERS if bag[window, number] > 0] or WORKERS)
        visit = choose.randint(1, VISITS.get(window, 1))
        ended = start(job, run, workers, result, (window, visit, choose.random() < 0.5), removed)
        if ended == "killed":
            bag[window, workers] -= 1
        elif ended != "unproved":
            break
    return ended


def wanted_kills(number: int) -> list[tuple[str, int]]:
    """Spreads a number of kills evenly over windows and workers."""
    pairs = [(window, workers) for workers in WORKERS for window in WINDOWS]
    return [pairs[place % len(pairs)] for place in range(number)]


def self_test(jobs: Sequence[Job], folder: Path, seed: int) -> dict[str, str]:
    """Removes one protection at a time; returns how it was noticed, "" if it was not."""
    noticed = {}
    for protection in PROTECTIONS:
        own = folder / protection.replace(" ", "-")
        own.mkdir()
        result = storm(jobs, [(window, 0) for window in SELF_TEST], own, seed, protection)
        noticed[protection] = "; ".join(result.complaints()[:2])
        print(f"without {protection}: {noticed[protection][:200] or 'NOT NOTICED'}", flush=True)
    return noticed


def report(result: Storm, seconds: float) -> None:
    """Prints kills per window and what they cost."""
    landed = Counter((kill.window, kill.workers) for kill in result.kills)
    print(f"{'window':<18}" + "".join(f"{f'{number} workers':>11}" for number in WORKERS))
    for window in WINDOWS:
        print(f"{window:<18}" + "".join(f"{landed[window, number]:>11}" for number in WORKERS))
    print(f"{'all':<18}" + "".join(f"{sum(landed[name, number] for name in WINDOWS):>11}" for number in WORKERS))
    losses = [kill.lost for kill in result.kills if kill.lost is not None]
    print(f"kills               {len(result.kills)} in {result.runs} runs, {seconds:,.0f} s")
    print(f"missed              {result.missed} starts ended before their window; they are not counted")
    print(f"corrupt checkpoints {len(result.corrupt)} of {result.checked} read after a kill")
    print(f"not synced          {len(result.unsynced)} of {result.renames} renamed checkpoints")
    print(f"steps lost          at most {max(losses, default=0)} (checkpoint.every_n_steps={EVERY})")
    print(f"equal to the bit    {result.equal} of {result.runs} runs")
    print(f"left behind         {result.left_over} partial files, {result.count_alive()} processes")
    for line in result.complaints():
        print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="on another file system than TMPDIR")
    parser.add_argument("--only-self-test", action="store_true")
    parser.add_argument("--no-self-test", action="store_true")
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent / "figures" / "chaos.png")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.folder))
    if folder.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        sys.exit(f"--folder {options.folder}: is on the file system of {tempfile.gettempdir()}; choose another one")
    jobs, is_good = [protein_job(accumulate) for accumulate in (1, 2)], True
    if not options.only_self_test:
        began = time.perf_counter()
        result = storm(jobs, wanted_kills(options.kills), folder, options.seed)
        report(result, time.perf_counter() - began)
        plot_kills(result.kills, WINDOWS, options.figure)
        (folder / "kills.json").write_text(json.dumps([vars(kill) for kill in result.kills]))
        is_good = not result.complaints()
    if not options.no_self_test:
        noticed = self_test(jobs, folder, options.seed)
        is_good = is_good and all(noticed.values())
    if is_good:
        shutil.rmtree(folder)
    print("good" if is_good else f"NOT good; the runs are in {folder}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
