"""Measures how long the commands take to answer, and a run to take its first optimizer step.

    python benchmarks/startup.py            three runs each: the median, least and largest time in seconds

The run uses the embedded data. Its process ends with the first optimizer step.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNTIL_FIRST_STEP = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: os._exit(0))
sys.argv = ["run_partoken.py", *sys.argv[1:]]
sys.path.insert(0, os.getcwd())
runpy.run_path("run_partoken.py", run_name="__main__")
"""


def seconds(command: list[str]) -> float:
    """Returns the wall time of a command in seconds; exits if the command fails."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "run_partoken.py --help": ["run_partoken.py", "--help"],
            "run_partoken.py --cfg job": ["run_partoken.py", "--cfg", "job"],
            "python -m partoken.schedule": ["-m", "partoken.schedule", "train.use_cosine_schedule=true"],
            "first optimizer step": ["-c", UNTIL_FIRST_STEP, f"hydra.run.dir={folder}"],
        }
        print(f"{'':<30}{'median':>8}{'min':>8}{'max':>8}   seconds, {runs} runs")
        for name, arguments in commands.items():
            times = [seconds([sys.executable, *arguments]) for _ in range(runs)]
            print(f"{name:<30}{statistics.median(times):8.2f}{min(times):8.2f}{max(times):8.2f}")


if __name__ == "__main__":
    main()
