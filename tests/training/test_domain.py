"""The contract of a domain: the toy domain and the protein domain have all that the protocols name."""

import inspect

import pytest

from partoken.protein.dataset.datamodule import ProteinDataModule
from partoken.protein.task import ParTokenTask
from partoken.training.domain import DataModule, Task
from tests.training.toy import ToyData, ToyModule


def members(protocol):
    return {name: item for name, item in vars(protocol).items() if inspect.isfunction(item) and name[0] != "_"}


@pytest.mark.parametrize(
    ("implementation", "protocol"),
    [(ToyData, DataModule), (ProteinDataModule, DataModule), (ToyModule, Task), (ParTokenTask, Task)],
    ids=lambda item: item.__name__,
)
def test_a_domain_has_every_method_of_the_contract_with_its_arguments(implementation, protocol):
    for name, expected in members(protocol).items():
        method = getattr(implementation, name)
        assert list(inspect.signature(method).parameters) == list(inspect.signature(expected).parameters), name


@pytest.mark.parametrize("task", [ToyModule, ParTokenTask])
def test_a_task_names_its_unit_and_the_metrics_of_its_epoch_line(task):
    assert set(Task.__annotations__) == {"unit", "epoch_line", "loss_weights", "metrics"}
    assert task.unit.endswith("s") and "val_loss" in task.epoch_line
