"""A small checkpoint of stage 1, whose network answers with structure at all levels."""

import torch

from partoken.satellite.task import Stage1Task
from tests.satellite.made import data_settings

SMALL = {"channels": [4, 4, 8], "depths": [1, 1, 1], "drop_rate": 0.0}


def save_stage1(path, **settings):
    """Writes a checkpoint of an untrained network whose blocks and head are far from zero."""
    torch.manual_seed(0)
    task = Stage1Task(
        train={"batch_size": 1, "monitor": "val_psnr", "monitor_mode": "max"},
        data={**data_settings(), **settings},
        **SMALL,
    )
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if name.endswith(".scale"):
                parameter.fill_(0.5)
            if "head.1" in name:
                parameter.normal_(0, 0.3)
    content = {
        "state_dict": task.state_dict(),
        "hyper_parameters": dict(task.hparams),
        "epoch": 0,
        "partoken_predict": task.predict_module,
    }
    torch.save(content, path)
    return path
