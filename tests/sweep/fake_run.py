"""A command that behaves like a run and takes no time: no torch, no training."""

import os
import signal
import sys
import time
from pathlib import Path

from partoken.system.run_status import record_status


def train(arguments):
    """Carries out what `do=...` says in the run folder `hydra.run.dir=...`; returns the exit status."""
    given = dict(word.split("=", 1) for word in arguments)
    folder = Path(given["hydra.run.dir"])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    print("threads", os.environ.get("OMP_NUM_THREADS"), "arguments", *arguments, flush=True)
    with record_status(folder, arguments):
        (folder / "starts").touch()
        if given["do"] == "wait":
            time.sleep(60)
    return 2 if given["do"] == "fail" else 0
