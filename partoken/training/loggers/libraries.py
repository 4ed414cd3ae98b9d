"""What a run tells its loggers, in the way of each library."""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from partoken.system.locks import file_lock
from partoken.system.nested import leaves
from partoken.training.loggers.label import RunLabel

__all__ = ["Library", "Series", "library_of"]

Series = Sequence[tuple[int, Mapping[str, float]]]
"""Steps with the numbers at each."""
METRICS_AT_ONCE = 1000
"""MLflow takes no more metrics in one transaction."""

SUCCESS = ("finished", "pruned")
"""Statuses of a run in which nothing went wrong."""


class Library:
    """Any logger: it receives everything through the methods that all loggers of Lightning have.

    Pictures are the exception: a logger receives them if it has a method `log_image(key, images)`, like Lightning's
    own for Weights & Biases.

    Arguments:
        logger: an object of Lightning's class.
    """

    extra: str | None = None
    """The package that the logger needs, which is also the name of the extra that installs it."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    @classmethod
    def arguments(cls, node: Mapping[str, Any], label: RunLabel, folder: Path) -> dict[str, Any]:
        """Returns the node of a logger with the name and the tags of the run, if its class takes them."""
        return dict(node)

    @classmethod
    @contextlib.contextmanager
    def creation(cls, node: Mapping[str, Any]) -> Iterator[None]:
        """Surrounds the creation of the logger and `start`."""
        yield

    def start(self) -> None:
        """Begins the run in the library, which may fail."""

    def log_configuration(self, groups: Mapping[str, Any], scores: list[str]) -> None:
        """Logs the groups of the configuration, and `run` with the name and the tags.

        Arguments:
            groups: plain values.
            scores: names of the metrics that compare runs.
        """
        self.logger.log_hyperparams(dict(groups))

    def log_series(self, series: Series) -> None:
        """Logs numbers at several steps."""
        for step, metrics in series:
            self.logger.log_metrics(dict(metrics), step)

    def log_picture(self, path: Path, step: int) -> None:
        """Logs a PNG file."""
        if hasattr(self.logger, "log_image"):
            self.logger.log_image(key=f"plots/{path.stem}", images=[str(path)])

    def log_facts(self, facts: Mapping[str, str]) -> None:
        """Logs texts about the finished run: its status, the reason, the path of the best checkpoint."""
        self.logger.log_hyperparams(dict(facts))

    def finalize(self, status: str) -> None:
        """Closes Lightning's logger.

        Arguments:
            status: of the run.
        """
        self.logger.finalize("success" if status in SUCCESS else "failed")

    def close(self, status: str) -> None:
        """Ends the run in the library, also if `finalize` has failed."""


class TensorBoard(Library):
    """Everything lands in one event file, because the run closes it only once."""

    extra = "tensorboard"
    logger: TensorBoardLogger

    def start(self) -> None:
        _ = self.logger.experiment

    def log_configuration(self, groups: Mapping[str, Any], scores: list[str]) -> None:
        """Logs the configuration as a text, and as hyper-parameters with the scores as their metrics.

        Lightning's `log_hyperparams` would also log a metric `hp_metric` with the value -1.
        """
        from torch.utils.tensorboard import summary

        hparams: Any = summary.hparams
        self.logger.hparams.update(groups)  # for its file hparams.yaml
        writer = self.logger.experiment
        writer.add_text("configuration", f"```yaml\n{_as_yaml(groups)}```")
        for part in hparams(_flat(groups), dict.fromkeys(scores, 0.0)):
            writer._get_file_writer().add_summary(part)

    def log_picture(self, path: Path, step: int) -> None:
        from matplotlib.image import imread

        self.logger.experiment.add_image(f"plots/{path.stem}", imread(path), step, dataformats="HWC")

    def log_facts(self, facts: Mapping[str, str]) -> None:
        for name, text in facts.items():
            self.logger.experiment.add_text(name, text)


class WeightsAndBiases(Library):
    """The run ends with an exit code, so that a failed run shows as failed."""

    extra = "wandb"
    logger: WandbLogger

    @classmethod
    def arguments(cls, node: Mapping[str, Any], label: RunLabel, folder: Path) -> dict[str, Any]:
        """Adds name, tags, and the mode "offline" unless a key or a mode is set in the environment."""
        node = {"name": label.name, **node, "tags": [*(node.get("tags") or []), *label.tags]}
        is_decided = {"mode", "offline"} & node.keys() or {"WANDB_MODE", "WANDB_API_KEY"} & os.environ.keys()
        return node if is_decided else {**node, "mode": "offline"}  # without an account a run must not fail

    def start(self) -> None:
        _ = self.logger.experiment

    def log_picture(self, path: Path, step: int) -> None:
        self.logger.log_image(key=f"plots/{path.stem}", images=[str(path)], step=step)

    def log_facts(self, facts: Mapping[str, str]) -> None:
        self.logger.experiment.summary.update(dict(facts))

    def close(self, status: str) -> None:
        self.logger.experiment.finish(exit_code=0 if status in SUCCESS else 1)


class MLflow(Library):
    """One process at a time creates the database and the experiment; MLflow has no lock for that."""

    extra = "mlflow"
    logger: MLFlowLogger

    @classmethod
    def arguments(cls, node: Mapping[str, Any], label: RunLabel, folder: Path) -> dict[str, Any]:
        """Adds the name, the tags, each with the value "true", and the tag `run_folder`."""
        tags = {**dict.fromkeys(label.tags, "true"), "run_folder": str(folder.absolute()), **(node.get("tags") or {})}
        return {"run_name": label.name, **node, "tags": tags}

    @classmethod
    @contextlib.contextmanager
    def creation(cls, node: Mapping[str, Any]) -> Iterator[None]:
        address = node.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI", "")
        scheme, _, database = str(address).partition(":///")
        with file_lock(f"{database}.lock") if scheme == "sqlite" else contextlib.nullcontext():
            yield

    def start(self) -> None:
        """Begins the run; an earlier one of the same folder, whose process was killed, no longer shows as running."""
        client, folder = self.logger.experiment, (self.logger.tags or {}).get("run_folder")
        for run in client.search_runs([str(self.logger.experiment_id)], "attributes.status = 'RUNNING'"):
            if run.info.run_id != self.logger.run_id and run.data.tags.get("run_folder") == folder:
                client.set_terminated(run.info.run_id, "KILLED")

    def log_configuration(self, groups: Mapping[str, Any], scores: list[str]) -> None:
        """Logs a parameter for each key, which MLflow shortens, and everything as `config.yaml`."""
        self.logger.log_hyperparams(_flat(groups))
        self.logger.experiment.log_text(self.logger.run_id, _as_yaml(groups), "config.yaml")

    def log_series(self, series: Series) -> None:
        """Logs all numbers in few transactions; each one waits for the disk."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for step, values in series for name, value in values.items()]
        for first in range(0, len(metrics), METRICS_AT_ONCE):
            some = metrics[first : first + METRICS_AT_ONCE]
            self.logger.experiment.log_batch(self.logger.run_id, metrics=some)

    def log_picture(self, path: Path, step: int) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path), "plots")

    def log_facts(self, facts: Mapping[str, str]) -> None:
        for name, text in facts.items():
            self.logger.experiment.set_tag(self.logger.run_id, name, text)

    def finalize(self, status: str) -> None:
        if status == "interrupted":
            self.logger.finalize("KILLED")
        else:
            super().finalize(status)


LIBRARIES: dict[type[Logger], type[Library]] = {
    TensorBoardLogger: TensorBoard,
    WandbLogger: WeightsAndBiases,
    MLFlowLogger: MLflow,
}


def library_of(kind: type[Logger]) -> type[Library]:
    """Returns how a run talks to loggers of a class."""
    return next((library for base, library in LIBRARIES.items() if issubclass(kind, base)), Library)


def _as_yaml(groups: Mapping[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(dict(groups)))


def _flat(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a configuration as they are typed on a command line, each with a number, a flag or a text.

    >>> _flat({"train": {"lr": 0.1, "stages": None, "freeze": ["encoder"]}})
    {'train.lr': 0.1, 'train.stages': 'null', 'train.freeze': '["encoder"]'}
    """
    flat = dict(leaves(groups))
    plain = {key: isinstance(value, bool | int | float | str) for key, value in flat.items()}
    return {key: value if plain[key] else json.dumps(value, ensure_ascii=False) for key, value in flat.items()}
