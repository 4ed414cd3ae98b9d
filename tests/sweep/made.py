"""Folders of sweeps as a sweep leaves them, without training anything."""

import csv
import json


def write_job(folder, *, state="finished", reason=None, best=None, test=None, monitor="val_score", curve=None, **more):
    """Writes the files of a job's run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps({"status": state, "reason": reason}))
    if state in ("finished", "pruned", "diverged"):
        summary = {"test": test or {}, "monitor": {"name": monitor, "best": best}, "best_epoch": 1, "epochs": 3}
        (folder / "summary.json").write_text(json.dumps({**summary, "status": state, "seconds": 12.5, **more}))
    if curve is not None:
        rows = [{"epoch": i, "train_loss": 2.0 / (i + 1), monitor: value} for i, value in enumerate(curve)]
        write_csv(folder / "metrics.csv", rows)
        write_csv(folder / "lr.csv", [{"step": i, "epoch": i, "group": 0, "lr": 0.1 / (i + 1)} for i in range(3)])


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_sweep(folder, jobs, metric="val_score", direction="max", base=None):
    """Writes `sweep.json` and the folders of its jobs.

    Arguments:
        folder: of the sweep, which exists.
        jobs: for each job its keys, such as `{"train.lr": 0.1}`, and the arguments of `write_job`; None for a job that
            has not begun.
        metric, direction: of the sweep.
        base: keys that all jobs have.
    """
    listed = []
    for number, (keys, files) in enumerate(jobs):
        overrides = [f"{key}={value}" for key, value in keys.items()]
        config = nested({**(base or {}), **keys})
        listed.append({"number": number, "folder": str(number), "overrides": overrides, "config": config})
        if files is not None:
            write_job(folder / str(number), **{"monitor": metric, **files})
    content = {"version": 1, "metric": metric, "direction": direction, "jobs": listed}
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder


def nested(keys):
    """Returns the groups of a configuration from keys with dots."""
    groups = {}
    for key, value in keys.items():
        *parents, last = key.split(".")
        node = groups
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return groups


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
