"""Compares what `cost=true` says with what the run then takes.

    python benchmarks/cost.py                       the main job, experiment=multistage and a short axion_stage1
    python benchmarks/cost.py -- train.epochs=3     one run with these overrides instead
    python benchmarks/cost.py --processor           in seconds of the processor, if other work shares it

Each estimate, and then each run, is a process of its own, one after another. The time is from the start of the process
to its end, the memory is its resident peak. With `--processor` every clock counts the processor time of the process, so
work of others hardly matters; with one thread and a machine to itself, a run takes as long.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUNS = {
    "main job": [],
    "multistage": ["experiment=multistage"],
    "axion_stage1": ["experiment=axion_stage1", "train.epochs=4"],
}


def child(overrides: list[str], processor: bool) -> dict[str, Any]:
    """Estimates a run; the seconds of this process count as its start."""
    if processor:
        time.perf_counter = time.process_time
    from omegaconf import OmegaConf

    from partoken.config import compose
    from partoken.report import present
    from partoken.system.process import prepare_process, process_age
    from partoken.training.probes.cost import estimate, measure

    prepare_process()
    before = time.process_time() if processor else process_age()
    settings = OmegaConf.to_container(compose(overrides), resolve=True)
    cost = estimate(settings, measure(settings, before=before, present=present))
    measurement = cost.measurement
    return {
        "seconds": cost.seconds,
        "error": cost.error,
        "memory": measurement.memory,
        "measuring": measurement.seconds,
        "once": cost.once,
        "steps": [stage.steps for stage in cost.stages],
        "step": [stage.step for stage in cost.stages],
        "training": [stage.training for stage in cost.stages],
        "validation": [stage.validation for stage in cost.stages],
    }


def run(overrides: list[str], processor: bool) -> dict[str, Any]:
    """Carries out a run in a folder that is deleted; returns its seconds and its memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "run_partoken.py"), *overrides, f"hydra.run.dir={folder}"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = usage.ru_utime + usage.ru_stime if processor else time.perf_counter() - start
        if status:
            sys.exit(f"the run failed: {' '.join(command)}")
        summary = json.loads(Path(folder, "summary.json").read_text())
    return {"seconds": seconds, "memory": usage.ru_maxrss * 1024, "steps": summary["schedule"]["steps"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="times that each run is estimated and carried out")
    parser.add_argument("--processor", action="store_true", help="seconds of the processor instead of a clock's")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/cost.json"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="after --: of one run")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.overrides, options.processor)))
        return
    runs = {" ".join(options.overrides): options.overrides} if options.overrides else RUNS
    results = []
    print(f"{'':<14}{'steps':>7}{'estimate':>10}{'range':>14}{'run':>8}{'ratio':>7}{'memory':>17}{'measuring':>11}")
    for name, overrides in [item for _ in range(options.rounds) for item in runs.items()]:
        command = [sys.executable, __file__, "--child", *["--processor"] * options.processor, "--", *overrides]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the estimate failed:\n{done.stderr}")
        cost, real = json.loads(done.stdout.splitlines()[-1]), run(overrides, options.processor)
        results.append({"name": name, "estimate": cost, "run": real})
        low, high = cost["seconds"] - cost["error"], cost["seconds"] + cost["error"]
        print(
            f"{name:<14}{real['steps']:>7}{cost['seconds']:>8.0f} s{low:>6.0f}-{high:.0f} s{real['seconds']:>8.0f} s"
            f"{cost['seconds'] / real['seconds']:>7.2f}{cost['memory'] / 1e9:>7.2f} of {real['memory'] / 1e9:.2f} GB"
            f"{cost['measuring']:>9.0f} s",
            flush=True,
        )
        assert real["steps"] == sum(cost["steps"]), "the number of steps is exact"
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
