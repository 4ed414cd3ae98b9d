"""A command that stands for a training: it takes milliseconds and does what its learning rate says."""

import json
import math
import os
import signal
import time
from pathlib import Path

from partoken.errors import UserError
from partoken.system.files import write_json
from partoken.system.run_status import RunStatus, record_status, write_status
from partoken.system.tables import write_table

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


def epochs(arguments):
    """Stands for a training whose `val_loss` after each epoch is worse the further its rate is from 0.001."""
    given = dict(word.partition("=")[::2] for word in arguments)
    folder = Path(given["hydra.run.dir"].strip("'"))
    with open(folder.parent / "log.txt", "a") as log:
        print(given["hydra.job.num"], file=log)
    loss = math.log10(float(given["train.lr"]) / 1e-3) ** 2
    with record_status(folder) as ending:
        for epoch in range(6):
            time.sleep(0.1)
            write_epochs(folder, [loss + 1 / (1 + done) for done in range(epoch + 1)])
            if (folder / "stop").exists():
                asked = json.loads((folder / "stop").read_text())
                ending.status, ending.reason = asked["status"], asked["reason"]
                break
        write_summary(folder, ending.status, epoch)
    return 0


def write_epochs(folder, losses):
    rows = [{"epoch": epoch, "val_loss": loss} for epoch, loss in enumerate(losses)]
    write_table(folder / "metrics.csv", ["epoch", "val_loss"], rows)


def write_summary(folder, status, best_epoch):
    monitor = {"name": "val_macro_f1", "best": None}
    write_json(folder / "summary.json", {"status": status, "monitor": monitor, "best_epoch": best_epoch, "test": {}})
