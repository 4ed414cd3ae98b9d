"""A command that stands for a training: it takes milliseconds and does what its learning rate says."""

import os
import signal
import time
from pathlib import Path

from partoken.errors import UserError
from partoken.system.run_status import RunStatus, record_status, write_status

FAILS, CRASHES, IS_KILLED, SLEEPS = "train.lr=0.5", "train.lr=0.6", "train.lr=0.7", "train.lr=0.8"


def command(arguments):
    """Leaves a line with its arguments in `log.txt` of the sweep's folder, and a status in its own."""
    given = dict(word.partition("=")[::2] for word in arguments)
    folder = Path(given["hydra.run.dir"].strip("'"))
    with open(folder.parent / "log.txt", "a") as log:
        print(" ".join(arguments), file=log)
    (folder / "threads.txt").write_text(os.environ.get("OMP_NUM_THREADS", "not set"))
    try:
        with record_status(folder) as ending:
            if SLEEPS in arguments and "train.resume_from" not in given:
                (folder / "checkpoints").mkdir()
                (folder / "checkpoints/last.ckpt").touch()
                time.sleep(60)
            if FAILS in arguments:
                ending.status, ending.reason = "diverged", "the loss is not finite"
                raise UserError("the loss is not finite")
            if IS_KILLED in arguments:
                os.kill(os.getpid(), signal.SIGKILL)
    except UserError:
        return 2
    if CRASHES in arguments:
        write_status(folder, RunStatus(status="failed", reason="a bug"))
        return 1
    return 0
