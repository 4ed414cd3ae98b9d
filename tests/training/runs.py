"""Settings of short runs of the toy domain."""

TRAIN = {
    "epochs": 3,
    "lr": 0.1,
    "batch_size": 2,
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "use_cosine_schedule": True,
    "schedule_interval": "step",
    "warmup_epochs": None,
    "warmup_steps": 2,
    "monitor": "val_loss",
    "monitor_mode": "min",
}

TRAINER = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "max_epochs": 3,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "gradient_clip_val": 1.0,
}


def settings(trainer=(), model=(), data=(), **train):
    train = {**TRAIN, "use_wandb": False, "wandb_project": "toy", **train}
    return {
        "train": train,
        "trainer": {**TRAINER, "max_epochs": train["epochs"], **dict(trainer)},
        "model": {"_target_": "tests.training.toy.ToyModule", **dict(model)},
        "data": {"_target_": "tests.training.toy.ToyData", **dict(data)},
    }
