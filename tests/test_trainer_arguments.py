"""Arguments of the trainer that a run may have; the table of misuses has those that it may not have."""

import pytest

from partoken.errors import UserError
from partoken.trainer_arguments import check_trainer

PLATEAU = {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_epochs": -1, "max_steps": 5},
        {"max_epochs": None, "max_time": "00:12:00:00"},
        {"max_time": {"hours": 0.5}},
        {"precision": 64},
        {"precision": "bf16-mixed"},
        {"strategy": "ddp_spawn"},
        {"limit_val_batches": 0},
        {"limit_train_batches": None, "limit_test_batches": 3},
        {"overfit_batches": 0.5, "val_check_interval": 1},
        {"gradient_clip_val": None, "gradient_clip_algorithm": None, "deterministic": "warn", "benchmark": None},
        {"min_epochs": 2, "min_steps": 0, "num_sanity_val_steps": -1, "log_every_n_steps": 0},
    ],
    ids=str,
)
def test_arguments_that_work_are_accepted(arguments):
    check_trainer({"max_epochs": 3, **arguments})


def test_a_plateau_is_accepted_with_a_validation_in_every_epoch():
    check_trainer({"max_epochs": 3, "check_val_every_n_epoch": 1}, PLATEAU)
    with pytest.raises(UserError, match="a validation in every epoch"):
        check_trainer({"max_epochs": 3, "check_val_every_n_epoch": 2}, PLATEAU)


def test_switching_the_validation_off_beside_early_stopping_names_both_keys():
    with pytest.raises(UserError, match=r"limit_val_batches=0.*early_stopping_patience"):
        check_trainer({"max_epochs": 3, "limit_val_batches": 0.0}, {"early_stopping_patience": 2})
