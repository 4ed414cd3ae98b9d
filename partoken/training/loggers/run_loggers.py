"""The loggers of a run, from their creation to their end, and as the trainer of a stage sees them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from partoken.errors import UserError
from partoken.system.instantiation import instantiate
from partoken.training.loggers.guard import Guard
from partoken.training.loggers.label import RunLabel
from partoken.training.loggers.libraries import Library, Series, library_of
from partoken.training.loggers.targets import logger_class, logger_nodes
from partoken.training.settings import TrainSettings
from partoken.training.stages import Position

__all__ = ["RunLogger", "RunLoggers", "StageLogger", "open_loggers"]


class RunLogger:
    """A logger of the run, whose failures do not stop the run.

    Arguments:
        name: of the logger in the configuration.
        library: how to talk to the logger.
    """

    def __init__(self, name: str, library: Library) -> None:
        self.library = library
        self.logger: Logger = library.logger
        self.guard = Guard(name)
        self.metrics: set[str] = set()
        """Names of the metrics that were logged."""
        self.last_step = 0
        """Largest step of a metric, counted from the beginning of the run."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Logs numbers at a step of the run."""
        self.metrics.update(metrics)
        self.last_step = max(self.last_step, step or 0)
        with self.guard.during("log metrics"):
            self.logger.log_metrics(dict(metrics), step)

    def log_series(self, series: Series) -> None:
        """Logs numbers at several steps of the run."""
        for step, metrics in series:
            self.metrics.update(metrics)
            self.last_step = max(self.last_step, step)
        with self.guard.during("log metrics"):
            self.library.log_series(series)

    def close(self, status: str) -> None:
        """Ends the run in the library, whatever fails."""
        with self.guard.during("save"):
            self.logger.save()
        with self.guard.during("finalize"):
            self.library.finalize(status)
        with self.guard.during("close"):
            self.library.close(status)
        self.guard.report()


class RunLoggers:
    """All loggers of a run.

    Arguments:
        loggers: created and started.
    """

    def __init__(self, loggers: Sequence[RunLogger] = ()) -> None:
        self.loggers = list(loggers)
        self.status = "failed"
        """Of the run, as far as the loggers know."""

    def for_stage(self, position: Position) -> list[Logger]:
        """Returns the loggers as the trainer of the stage at a position uses them."""
        return [StageLogger(logger, position) for logger in self.loggers]

    def log_configuration(self, groups: Mapping[str, Any], scores: list[str]) -> None:
        """Logs the groups of the configuration; see `Library.log_configuration`."""
        for logger in self.loggers:
            with logger.guard.during("log the configuration"):
                logger.library.log_configuration(groups, scores)

    def log_end(self, summary: Mapping[str, Any], folder: Path | None = None) -> None:
        """Logs how the run ended: final scores, status, path of the best checkpoint, and pictures.

        Arguments:
            summary: the content of `summary.json`; only `status` is required.
            folder: the run folder, whose pictures in `plots/` are logged. None: there are no pictures.
        """
        self.status = summary["status"]
        facts = {name: summary.get(name) for name in ("status", "reason", "best_checkpoint")}
        scores = _final_scores(summary)
        pictures = sorted((folder / "plots").glob("*.png")) if folder is not None else []
        for logger in self.loggers:
            missing = {name: value for name, value in scores.items() if name not in logger.metrics}
            if missing:
                logger.log_metrics(missing, logger.last_step)
            with logger.guard.during("log the result"):
                logger.library.log_facts({name: str(fact) for name, fact in facts.items() if fact is not None})
            for picture in pictures:
                with logger.guard.during("log pictures"):
                    logger.library.log_picture(picture, logger.last_step)

    def close(self) -> None:
        """Closes all loggers, whatever fails."""
        for logger in self.loggers:
            logger.close(self.status)


@contextlib.contextmanager
def open_loggers(settings: Mapping[str, Any], train: TrainSettings, folder: Path) -> Iterator[RunLoggers]:
    """Creates the loggers of the run and closes them even after an error, so that no job logs into another job's run.

    Only the main process logs.

    Arguments:
        settings: the groups of the configuration; all but `logger` are logged.
        train: the train settings.
        folder: the run folder.

    Raises:
        UserError: a logger that cannot be created or started.
    """
    label = RunLabel.read(settings.get("run") or {}, folder)
    nodes = logger_nodes(settings, train, str(folder))
    loggers = RunLoggers()
    try:
        for name, node in nodes.items():
            loggers.loggers.append(RunLogger(name, _open(name, node, label, folder)))
        groups = {key: value for key, value in settings.items() if key != "logger"}
        groups["run"] = {"name": label.name, "tags": list(label.tags), "folder": str(folder)}
        loggers.log_configuration(groups, [f"best_{train.monitor}"])
        yield loggers
    except Exception as error:
        if loggers.status == "failed":
            loggers.log_end({"status": "failed", "reason": str(error) or type(error).__name__})
        raise
    except BaseException:
        loggers.log_end({"status": "interrupted"})
        raise
    finally:
        loggers.close()


def _open(name: str, node: Mapping[str, Any], label: RunLabel, folder: Path) -> Library:
    """Creates a logger and starts its run."""
    if getattr(rank_zero_only, "rank", 0):
        return Library(DummyLogger())
    kind = library_of(logger_class(name, node))
    arguments = kind.arguments(node, label, folder)
    try:
        with kind.creation(arguments):
            library = kind(instantiate(arguments, f"logger.{name}"))
            library.start()
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(
            f"logger.{name} cannot be started: {type(cause).__name__}: {cause}; repair it, or leave it out with "
            f"~logger.{name}"
        ) from error
    return library


def _final_scores(summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the scores of a finished run under the names of its metrics."""
    scores = {f"test_{name}": value for name, value in (summary.get("test") or {}).items()}
    if "monitor" in summary:
        scores[f"best_{summary['monitor']['name']}"] = summary["monitor"]["best"]
        scores["best_epoch"] = summary["best_epoch"]
    return {name: float(value) for name, value in scores.items() if isinstance(value, int | float)}


class StageLogger(Logger):
    """A logger of the run for the trainer of one stage, which counts steps and epochs from its own beginning.

    The steps and epochs that it hands on count from the beginning of the run. The run logs the configuration and
    closes the logger itself. Failures of the logger are caught.

    Arguments:
        run_logger: of the run.
        position: of the stage in its run.
    """

    def __init__(self, run_logger: RunLogger, position: Position) -> None:
        super().__init__()
        self.run_logger = run_logger
        self.logger = run_logger.logger
        self.position = position

    @property
    def name(self) -> str | None:
        name: str | None = self._fact("name")
        return name

    @property
    def version(self) -> int | str | None:
        version: int | str | None = self._fact("version")
        return version

    @property
    def save_dir(self) -> str | None:
        save_dir: str | None = self._fact("save_dir")
        return save_dir

    @property
    def experiment(self) -> Any:
        """The object of the logging library; see Lightning's documentation of the logger."""
        return self._fact("experiment")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" in metrics:
            metrics = {**metrics, "epoch": metrics["epoch"] + self.position.first_epoch}
        self.run_logger.log_metrics(metrics, None if step is None else step + self.position.first_step)

    def log_series(self, series: Series) -> None:
        """Logs numbers at several steps of the stage."""
        self.run_logger.log_series([(step + self.position.first_step, metrics) for step, metrics in series])

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run has logged its whole configuration."""

    def log_graph(self, *args: Any, **kwargs: Any) -> None:
        with self.run_logger.guard.during("log the graph of the model"):
            self.logger.log_graph(*args, **kwargs)

    def save(self) -> None:
        with self.run_logger.guard.during("save"):
            self.logger.save()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        with self.run_logger.guard.during("take a checkpoint"):
            self.logger.after_save_checkpoint(checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Saves what was logged; the run closes the logger after its last stage."""
        self.save()

    def _fact(self, name: str) -> Any:
        with self.run_logger.guard.during(f"give its {name}"):
            return getattr(self.logger, name, None)
        return None
