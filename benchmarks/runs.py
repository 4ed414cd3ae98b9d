"""What the benchmarks of recipes share: runs in processes of their own, parts of the training clusters, tables."""

import csv
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from partoken.protein.sources.label_table import read_label_table

ROOT = Path(__file__).resolve().parent.parent


def run_once(overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Carries out a run with one thread in a process of its own, unless that was done; returns its summary."""
    if not (folder / "summary.json").exists():
        command = [sys.executable, str(ROOT / "run_partoken.py"), *overrides, f"hydra.run.dir={folder.resolve()}"]
        folder.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{folder}.log", "w") as log:
            one = {**os.environ, "OMP_NUM_THREADS": "1"}
            if subprocess.run(command, stdout=log, stderr=log, env=one).returncode:
                raise RuntimeError(f"{folder} failed: see {folder}.log")
    return json.loads((folder / "summary.json").read_text())


def write_share(table: str, share: float, out: Path) -> Path:
    """Writes the rows of a table without the training clusters beyond a share, the same ones every time."""
    rows = [row for row in read_label_table(table) if row["split"] != "train" or place(row["cluster"]) < share]
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return out


def spread(values: Sequence[float]) -> str:
    """Writes mean and standard deviation; of one value, the value."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def place(cluster: str) -> float:
    """Returns a number from 0 to 1 that depends on the name of a cluster alone."""
    return int(hashlib.md5(cluster.encode()).hexdigest()[:8], 16) / 2**32
