"""Small tasks and batches for the tests of the protein task, its losses and its summary."""

import pytorch_lightning as pl
import torch

from partoken.protein.task import ParTokenTask

TRAIN = {"batch_size": 4, "monitor": "val_macro_f1", "monitor_mode": "max"}
SMALL = {"node_h_dim": (16, 4), "num_layers": 1, "num_neighbors": 8, "max_clusters": 4, "codebook_size": 16}
SEVERAL = {
    "fold": {"class_names": ["a", "b", "c"], "class_counts": {"train": [5, 9, 2]}, "train_chains": 16, "weight": 3.0},
    "kind": {"class_names": ["u", "v"], "class_counts": {"train": [4, 1]}, "train_chains": 5, "weight": 1.0},
    "site": {"class_names": ["x", "y"], "class_counts": {"train": [6, 2]}, "train_chains": 7, "weight": 0.0},
}
NAN = float("nan")


def task(multi_label=False, **options):
    torch.manual_seed(0)
    data = {
        "class_names": ["a", "b", "c"],
        "class_counts": {"train": [5, 9, 2]},
        "train_chains": 16,
        "multi_label": multi_label,
    }
    return ParTokenTask(train=TRAIN, data=data, **{**SMALL, **options})


def several(**options):
    torch.manual_seed(0)
    labels = {name: {**label, "multi_label": name == "site"} for name, label in SEVERAL.items()}
    return ParTokenTask(train=TRAIN, data={"labels": labels}, **{**SMALL, **options})


def cpu_trainer():
    return pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
