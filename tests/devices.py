"""Processes that stand for the devices of one run, joined by gloo; forked, so that none imports torch again."""

import multiprocessing
import os
import socket
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from partoken.schedule.length import num_devices
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training.engine import carry_out


def on_devices(function: Callable[..., Any], *arguments: Any, num: int = 2, join: bool = True) -> list[Any]:
    """Calls a function in `num` processes that torchrun seems to have started, and returns their results in order.

    Arguments:
        function: gets the arguments.
        arguments: for the function.
        num: processes.
        join: puts the processes into a group, as Lightning does in a run.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=_act, args=(function, arguments, rank, num, port, join, Path(folder)))
            for rank in range(num)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: a fork beside other threads
            for process in processes:
                process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * num
        return [torch.load(Path(folder, str(rank)), weights_only=False) for rank in range(num)]


def train_on_devices(settings: dict[str, Any], folder: Path, num: int) -> None:
    """Carries out a run on `num` devices."""
    assert num_devices(settings["trainer"]) == num
    folder.mkdir()
    on_devices(_train, settings, folder, num=num, join=False)


def assert_same_run(one: Path, two: Path, tolerance: float = 1e-9) -> None:
    """Compares the tables and the weights of two runs in float64."""
    assert (one / "lr.csv").read_text() == (two / "lr.csv").read_text()
    rows, others = (read_table(folder / "metrics.csv") for folder in (one, two))
    assert len(rows) == len(others) > 1
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - {"seconds", "residues_per_second", "tiles_per_second", "stage"}:
            # Evaluation stores its outputs in float32.
            close = pytest.approx(float(other[name] or 0), rel=1e-6 if "val" in name else tolerance)
            assert float(row[name] or 0) == close, name
    saved, also_saved = (read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (one, two))
    assert saved.keys() == also_saved.keys()
    for name, value in saved.items():
        torch.testing.assert_close(
            value.double(), also_saved[name].double(), rtol=10 * tolerance, atol=10 * tolerance, msg=name
        )


def _train(settings: dict[str, Any], folder: Path) -> None:
    carry_out(settings, folder)


def _act(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rank: int,
    num: int,
    port: int,
    join: bool,
    folder: Path,
) -> None:
    torch.set_num_threads(1)
    if num > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "LOCAL_WORLD_SIZE": num, "GROUP_RANK": 0}
        store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ.update({name: str(value) for name, value in {**place, **store}.items()})
        rank_zero_only.rank = rank
        if join:
            dist.init_process_group("gloo")
    torch.save(function(*arguments), folder / str(rank))
    if dist.is_initialized():
        dist.destroy_process_group()
