"""Run folders as a training leaves them, with random weights."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

from partoken.composition import plain
from partoken.config import compose
from partoken.protein.task import ParTokenTask
from partoken.system.instantiation import instantiate
from tests.protein.tasks import SMALL, TRAIN

SMALL_RUN = ("data.limit=40", "train.seed=3")


def write_run(folder: Path, *overrides: str, seed: int = 0, **model) -> Path:
    """Writes a run folder of the main job with some overrides; `seed` is that of the weights."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    config = compose([*SMALL_RUN, *overrides])
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    OmegaConf.save({"hydra": {"runtime": {"cwd": str(Path.cwd())}}}, folder / ".hydra" / "hydra.yaml")
    groups = plain(config)
    data = instantiate(groups["data"], "data", seed=groups["train"]["seed"])
    torch.manual_seed(seed)
    task = ParTokenTask(train=TRAIN, data=data.settings(), **{**SMALL, **model})
    content = {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams), "epoch": 0}
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder
