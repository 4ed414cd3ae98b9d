"""The length of a run: from the trainer's settings and the number of batches to epochs and optimizer steps."""

import pytest

from partoken.errors import UserError
from partoken.schedule.length import RunLength, accumulated_batches, num_devices


@pytest.mark.parametrize(
    ("trainer", "batches", "epochs", "steps", "per_epoch"),
    [
        ({"max_epochs": 3}, 7, 3, 21, 7),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 7, 3, 9, 3),
        ({"max_epochs": 3, "limit_train_batches": 3}, 7, 3, 9, 3),
        ({"max_epochs": 3, "limit_train_batches": 30}, 7, 3, 21, 7),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 7, 3, 9, 3),
        ({"max_epochs": 3, "overfit_batches": 2, "limit_train_batches": 5}, 7, 3, 6, 2),
        ({"max_epochs": 3, "max_steps": 10}, 7, 2, 10, 7),
        ({"max_epochs": -1, "max_steps": 10}, 7, 2, 10, 7),
        ({"max_epochs": -1}, 7, None, None, 7),
        ({"max_epochs": None}, 7, 1000, 7000, 7),
        ({"max_epochs": None, "max_steps": 5}, 7, 1, 5, 7),
        ({"max_epochs": 3}, None, 3, None, None),
        ({"max_epochs": 3, "max_steps": 10}, None, 3, 10, None),
    ],
)
def test_epochs_and_steps_are_those_that_lightning_takes(trainer, batches, epochs, steps, per_epoch):
    length = RunLength.of_trainer(trainer, batches)
    assert (length.total_epochs, length.total_steps, length.steps_per_epoch) == (epochs, steps, per_epoch)


@pytest.mark.parametrize(
    ("trainer", "word"),
    [
        ({"max_epochs": 0}, "trainer.max_epochs=0"),
        ({"max_epochs": 2.5}, "trainer.max_epochs=2.5"),
        ({"max_epochs": 3, "max_steps": 0}, "trainer.max_steps=0"),
        ({"max_epochs": 3, "accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches=0"),
        ({"max_epochs": 3, "limit_train_batches": 0}, "trainer.limit_train_batches=0"),
        ({"max_epochs": 3, "limit_train_batches": 1.5}, "trainer.limit_train_batches=1.5"),
        ({"max_epochs": 3, "limit_train_batches": 0.01}, "leaves no batch of the 7"),
    ],
)
def test_a_value_that_the_trainer_cannot_have_is_rejected_by_its_key(trainer, word):
    with pytest.raises(UserError) as caught:
        RunLength.of_trainer(trainer, 7)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("trainer", "devices"),
    [
        ({"devices": 2}, 2),
        ({"devices": "2"}, 2),
        ({"devices": [0, 1, 2]}, 3),
        ({"devices": "0,3"}, 2),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": -1, "accelerator": "cpu"}, 1),
        ({"devices": 2, "num_nodes": 3}, 6),
    ],
)
def test_devices_are_counted_over_all_machines(trainer, devices):
    assert num_devices(trainer) == devices


@pytest.mark.parametrize("devices", [0, -2, "two", 1.5])
def test_devices_that_cannot_be_counted_are_rejected(devices):
    with pytest.raises(UserError, match=r"trainer\.devices"):
        num_devices({"devices": devices})


def test_a_trainer_without_accumulation_steps_after_every_batch():
    assert accumulated_batches({}) == 1
