"""Any configuration of a training either runs, or is refused with a message before the training begins."""

import os
import random
import re

import pytest

from partoken.composition import plain
from partoken.config import compose
from partoken.errors import UserError
from partoken.training.engine import carry_out
from tests.training.toy import ToyModule

SEEDS = range(int(os.environ.get("PARTOKEN_CONFIGURATIONS", "4")))
"""Each seed is a configuration; more of them are tried by hand with PARTOKEN_CONFIGURATIONS=200."""

NUMBERS = ["0", "1", "2", "3", "-1", "0.5", "1e-3", "7", "1e9", ".nan", ".inf", "null", "true", "one", "[1]"]
VALUES = {
    "train.epochs": ["1", "2", "3"],
    "train.lr": NUMBERS,
    "train.batch_size": ["1", "2", "3", "7", "100", "0", "2.5"],
    "train.optimizer": ["adam", "adamw", "sgd", "lion", "null"],
    "train.weight_decay": NUMBERS,
    "train.use_cosine_schedule": ["true", "false", "yes"],
    "train.schedule_interval": ["epoch", "step", "batch"],
    "train.warmup_epochs": NUMBERS,
    "train.warmup_steps": NUMBERS,
    "train.min_lr": NUMBERS,
    "train.num_cycles": NUMBERS,
    "train.lr_scaling": ["none", "linear", "sqrt"],
    "train.lr_scaling_base_batch": NUMBERS,
    "train.scheduler": ["null", "{_target_:torch.optim.lr_scheduler.StepLR,step_size:2}", "{_target_:os.system}"],
    "train.stages": ["null", "[{epochs:1},{steps:5,lr:1e-4}]", "{a:{epochs:1,freeze:[network.0]}}", "[]", "[{}]", "3"],
    "train.stage_epochs": ["null", "1", "0"],
    "train.freeze": ["[]", "[network.0]", "[network]", "[nothing]", "network.0"],
    "train.monitor": ["val_loss", "val_los", "train_loss"],
    "train.monitor_mode": ["min", "max", "mean"],
    "train.early_stopping_patience": ["null", "1", "0", "x"],
    "train.on_nonfinite": ["stop", "skip", "continue"],
    "train.num_workers": ["0", "-1"],
    "checkpoint.every_n_steps": ["null", "1", "2", "0", "x"],
    "checkpoint.every_minutes": NUMBERS,
    "trainer.accumulate_grad_batches": ["1", "2", "9", "0", "x"],
    "trainer.gradient_clip_val": NUMBERS,
    "trainer.max_steps": ["-1", "1", "5", "0", "x"],
    "trainer.limit_train_batches": ["1.0", "0.5", "2", "0", "99"],
    "trainer.limit_val_batches": ["1.0", "1", "0"],
    "trainer.check_val_every_n_epoch": ["1", "2", "5", "0"],
    "test": ["true", "false"],
    "resume": ["null", "auto", "latest", "nothing.ckpt"],
}
TOY = {
    "data": {"_target_": "tests.training.toy.ToyData"},
    "model": {"_target_": "tests.misuse.test_configurations.Checked"},
}


class Checked(ToyModule):
    metrics = ("train_loss", "val_loss", "test_loss")


def draw_words(seed):
    """Returns the overrides of a seed: mostly usable values, so that many configurations come as far as a run."""
    choose = random.Random(seed)
    keys = choose.sample(list(VALUES), choose.randint(1, 5))
    words = [f"{key}={choose.choice(VALUES[key][: choose.choice([2, 3, 99])])}" for key in keys]
    fixed = {"train.epochs": "2", "train.monitor": "val_loss", "train.monitor_mode": "min", "trainer": "cpu"}
    return words + [f"{key}={value}" for key, value in fixed.items() if key not in keys]


@pytest.mark.parametrize("words", [draw_words(seed) for seed in SEEDS], ids=lambda words: " ".join(words[:-4])[:120])
@pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning")
def test_a_configuration_runs_or_is_refused_before_it_trains(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    try:
        summary = carry_out({**plain(compose(words)), **TOY}, folder)
    except UserError as error:
        assert re.search(r"[.:;,=]", str(error)) and len(str(error)) > 20, "a message names a key and what to do"
        is_diverged = "is not a finite number" in str(error)
        assert is_diverged or not (folder / "lr.csv").exists(), f"refused after it had trained: {error}"
    else:
        assert summary["status"] == "finished"
        assert summary["schedule"]["errors"] == []
