"""The contract of a domain: what its data module and its task bring, so that the engine can run them.

A domain is one folder under `partoken/`, its files in `conf/` and one page in `docs/`. Its `conf/data/*.yaml` name in
`_target_` what creates a `DataModule`; its `conf/model/*.yaml` name in `_target_` a `Task`. The engine, the schedule,
the report and the sweep work with these two protocols and with nothing else of the domain.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader

__all__ = ["DataModule", "Task"]


class DataModule(Protocol):
    """The data of a run: a `LightningDataModule` that also describes itself.

    The engine creates it with the keys of `data` and with `batch_size`, `num_workers` and `seed` of `train`. It calls
    `prepare_data`, then `setup("fit")`, then `write_report` and `describe`.
    """

    first_epoch: int
    """Epochs of the run before the stage that is trained; the engine sets it, so that the order of the data differs."""

    def prepare_data(self) -> None:
        """Downloads what is missing; Lightning calls it once per machine."""

    def setup(self, stage: str) -> None:
        """Reads the data.

        Raises:
            UserError: the data cannot be used.
        """

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns the training batches; a `ResumableLoader` makes a resume exact within an epoch."""

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns the validation batches."""

    def test_dataloader(self) -> DataLoader[Any]:
        """Returns the test batches."""

    def num_train_batches(self, world_size: int) -> int | None:
        """Returns the batches of a training epoch on each of `world_size` devices; None if it is not known.

        The preview of the schedule calls it before any training, so it may read the data.
        """

    def settings(self) -> dict[str, Any]:
        """Returns plain values that the task needs and that a checkpoint must hold to predict, such as class names."""

    def describe(self) -> list[str]:
        """Returns the lines about the data that the run logs."""

    def write_report(self, folder: Path) -> None:
        """Writes what was read, and what was skipped and why, into the run folder.

        The engine also calls it when `setup` has raised, so that the user can see what to repair.
        """


class Task(Protocol):
    """The model of a run: a `ScheduledModule` with its steps, its metrics and its part of the summary.

    The engine creates it with the keys of `model`, with `train` (the train settings, plain) and with `data` (what
    `DataModule.settings` returned). `ScheduledModule` brings the optimizers, the schedule, freezing and defaults for
    everything here but the three steps.
    """

    unit: str
    """What `batch_units` counts, in the plural: the run reports its speed in it."""
    epoch_line: tuple[str, ...]
    """Names of the metrics that are logged on one line after each epoch and drawn in the loss plot."""
    metrics: tuple[str, ...]
    """Names of all metrics that the task may log, so that a misspelt `train.monitor` is refused; (): not checked."""
    loss_weights: dict[str, float]
    """Weights of the terms of the loss, by name; a stage may move them from batch to batch (`ramp_epochs`)."""

    @classmethod
    def metrics_of(cls, groups: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns `metrics`, and further ones that depend on the configuration, whose plain groups are given."""

    @classmethod
    def check_groups(cls, groups: Mapping[str, Any]) -> None:
        """Raises `UserError` if settings of the model and of the data, in plain groups, do not fit each other."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Returns the loss of a batch and logs what `metrics.csv` shall hold."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Evaluates a validation batch; the metric `train.monitor` must be logged by the end of the epoch."""

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Evaluates a test batch."""

    def batch_units(self, batch: Any) -> int:
        """Counts what a batch holds, in `unit`."""

    def freeze_parts(self, parts: Sequence[str]) -> None:
        """Freezes the named modules, buffers and running averages included, and unfreezes all others."""

    def load_weights(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads weights from the content of a checkpoint of an earlier stage or of another run."""

    def begin(self, given: str | None) -> None:
        """Prepares the weights of a stage that begins; `given` is the checkpoint that was loaded, if there is one."""

    def summary(self) -> Mapping[str, Any]:
        """Returns the domain's part of `summary.json` after the test, in plain values.

        The report knows these keys and no other:

        - `test`: scores of the tested checkpoint, `{metric: value}`.
        - `baselines`, optional: what simple answers score, `{name: {metric: value}}`; shown beside `test`.
        - `tables`, optional: scores of the parts of an answer, such as several labels, one line each,
          `{title: {row: {column: number}}}`. A score `ROW_...` in `test` is then shown in the line of its row only.
        - `facts`, optional: lines about the model for a person, `{name: text}`.
        - `matrices`, optional: pictures of counts, `{file name without suffix: matrix}`, a matrix being
          `{"title", "rows", "columns": axis names, "labels": names, "values": [label][label] counts}`.
        - `panels`, optional: grids of images, `{file name without suffix: panels}`, panels being
          `{"title", "file": NPZ file in the run folder, "rows": names, "columns": [column, ...]}`. A column is
          `{"name", "array": name in the file}`; its array has one image per row, `[rows, H, W, 3]` in red, green and
          blue from 0 to 1, or `[rows, H, W]` of numbers, NaN where missing. Columns of numbers also have `limits`,
          the two numbers at the ends of the colours, `colors`, one of "grey", "sequential" and "diverging", and
          `label`, what the numbers are, with their unit.
        """
