"""Real training in a folder that is deleted afterwards: to measure what a run costs, or to try learning rates."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from partoken.composition import PREVIEW_FOLDER
from partoken.errors import UserError
from partoken.schedule.length import num_devices

__all__ = ["check_one_device", "untraced"]


@contextlib.contextmanager
def untraced(settings: Mapping[str, Any], run_folder: str | None = None) -> Iterator[tuple[dict[str, Any], Path]]:
    """Yields settings for a run that leaves nothing, and its folder, which is deleted at the end of the block.

    The run has no logger and no progress bar, and this package logs only warnings meanwhile. It can be stopped at any
    time: the trainer has no minimum of epochs or steps, and no limit of time.

    Arguments:
        settings: the groups of the configuration, plain.
        run_folder: the folder that paths in the settings name as the run folder; None: that of a preview.
    """
    package = logging.getLogger("partoken")
    level = package.level
    with tempfile.TemporaryDirectory(prefix="partoken-") as name:
        moved = _replace_folder(dict(settings), run_folder or PREVIEW_FOLDER, name)
        trainer = {**moved["trainer"], "enable_progress_bar": False}
        trainer |= {key: None for key in ("min_epochs", "min_steps", "max_time") if key in trainer}
        train = {**moved["train"], "use_wandb": False}
        package.setLevel(logging.WARNING)
        try:
            yield {**moved, "train": train, "trainer": trainer, "logger": None}, Path(name)
        finally:
            package.setLevel(level)


def check_one_device(command: str, trainer: Mapping[str, Any]) -> None:
    """Rejects a trainer with several devices: their processes would each start the command again.

    Arguments:
        command: for the message.
        trainer: the `trainer` group of the configuration.

    Raises:
        UserError: the trainer has several devices.
    """
    if (number := num_devices(trainer)) > 1:
        raise UserError(
            f"{command} works on one device, and the trainer has {number} (trainer.devices={trainer.get('devices')}, "
            f"trainer.num_nodes={trainer.get('num_nodes', 1)}); add trainer.devices=1 trainer.num_nodes=1"
        )


def _replace_folder(value: Any, old: str, new: str) -> Any:
    """Returns plain values in which each path inside one folder is inside another."""
    if isinstance(value, Mapping):
        return {key: _replace_folder(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace_folder(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value.removeprefix(old)
    return value
