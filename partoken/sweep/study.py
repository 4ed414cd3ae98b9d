"""The trials of a search in their database, with Optuna: which values to try next, and which trials are hopeless.

References:
    Optuna: A Next-generation Hyperparameter Optimization Framework, https://arxiv.org/abs/1907.10902
    Tree-Structured Parzen Estimator, https://arxiv.org/abs/2304.11127
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from partoken.errors import UserError
from partoken.sweep.space import Dimension, SearchSettings

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

__all__ = ["Trials"]

NAME = "search"
BAD = "has no value"
"""Constraint that a trial without a value breaks, so that the sampler ranks it below all others."""


class Trials:
    """The trials of a search, numbered from 0. The caller sees to it that one process at a time calls a method.

    Arguments:
        path: of the SQLite database, which is created if missing.
        settings: how the search chooses.
        space: the values from which it chooses.
        direction: "max" or "min".

    Raises:
        UserError: Optuna is missing, or the database cannot be read.
    """

    def __init__(self, path: Path, settings: SearchSettings, space: Sequence[Dimension], direction: str) -> None:
        self._optuna = optuna = _import_optuna()
        self._settings, self._space = settings, space
        self._trials: dict[int, Trial] = {}
        self._study = optuna.create_study(
            study_name=NAME,
            storage=_open(optuna, path),
            direction="maximize" if direction == "max" else "minimize",
            sampler=self._sampler(0),
            pruner=self._pruner(),
            load_if_exists=True,
        )

    def __len__(self) -> int:
        return len(self._all())

    def unfinished(self) -> list[int]:
        """Returns the numbers of the trials that were asked for and not told."""
        return [trial.number for trial in self._all() if not trial.state.is_finished()]

    def ask(self) -> int:
        """Begins a trial and returns its number."""
        self._study.sampler = self._sampler(len(self))
        trial = self._study.ask()
        number: int = trial.number
        self._trials[number] = trial
        return number

    def words(self, number: int) -> list[str]:
        """Returns the overrides of a trial, and chooses those that a killed process did not choose."""
        self._study.sampler = self._sampler(number)
        trial = self._trial(number)
        return [item.word(_suggest(trial, item)) for item in self._space]

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Takes note of the metric after an epoch, unless it is known.

        Arguments:
            number: of the trial.
            epoch: epochs that are done.
            value: of the metric, finite.

        Returns:
            Whether it was news.
        """
        known = self._frozen(number)
        if epoch in known.intermediate_values or known.state.is_finished():
            return False
        self._trial(number).report(value, epoch)
        return True

    def is_hopeless(self, number: int) -> bool:
        """Returns whether the pruner would stop a trial after its last report."""
        return self._trial(number).should_prune()

    def tell(self, number: int, value: float | None, *, is_stopped: bool = False) -> None:
        """Ends a trial, if another process has not done it.

        Arguments:
            number: of the trial.
            value: of the metric; None: it has none, which is worse than any value.
            is_stopped: the trial was stopped early, so its last report counts.
        """
        if self._frozen(number).state.is_finished():
            return
        if value is not None:
            self._study.tell(number, value)
            return
        if not is_stopped and not self._frozen(number).constraints:
            self._trial(number).set_constraint(BAD, 1.0)
        self._study.tell(number, state=self._optuna.trial.TrialState.PRUNED)

    def discard(self, number: int) -> None:
        """Ends a trial from which nothing is learnt."""
        if not self._frozen(number).state.is_finished():
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def values(self) -> dict[int, float]:
        """Returns the metric of each trial that has one and was not stopped early."""
        complete = self._optuna.trial.TrialState.COMPLETE
        return {item.number: item.value for item in self._all() if item.state == complete and item.value is not None}

    def _all(self) -> "list[FrozenTrial]":
        found: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        return found

    def _frozen(self, number: int) -> "FrozenTrial":
        return self._all()[number]

    def _trial(self, number: int) -> "Trial":
        if number not in self._trials:
            self._trials[number] = self._optuna.trial.Trial(self._study, self._frozen(number)._trial_id)
        return self._trials[number]

    def _sampler(self, number: int) -> Any:
        """Returns the sampler of one trial.

        One sampler for all trials would draw the same numbers again when the search is started again.
        """
        seed = int(np.random.SeedSequence([self._settings.sampler_seed, number]).generate_state(1)[0])
        return self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=self._settings.startup_trials)

    def _pruner(self) -> Any:
        if self._settings.pruner == "none":
            return self._optuna.pruners.NopPruner()
        return self._optuna.pruners.MedianPruner(
            n_startup_trials=self._settings.startup_trials, n_warmup_steps=self._settings.prune_after_epochs
        )


def _suggest(trial: "Trial", item: Dimension) -> Any:
    if item.choices is not None:
        return trial.suggest_categorical(item.key, item.choices)
    assert item.low is not None and item.high is not None
    if item.is_whole:
        low, high, step = int(item.low), int(item.high), int(item.step or 1)
        return trial.suggest_int(item.key, low, high, step=step, log=item.is_log)
    return trial.suggest_float(item.key, item.low, item.high, step=item.step, log=item.is_log)


def _open(optuna: ModuleType, path: Path) -> "RDBStorage":
    from sqlalchemy.exc import DatabaseError

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False)  # SQLAlchemy gives each thread a connection of its own

    try:
        # The address cannot hold every name of a folder, so it names the kind of database only.
        storage: RDBStorage = optuna.storages.RDBStorage(f"sqlite:///{path.name}", engine_kwargs={"creator": connect})
    except (DatabaseError, optuna.exceptions.OptunaError) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason}); restore it, or choose another hydra.sweep.dir") from None
    return storage


def _import_optuna() -> ModuleType:
    try:
        import optuna
        import sqlalchemy  # noqa: F401

        if not hasattr(optuna.trial.Trial, "set_constraint"):
            raise ImportError
    except ImportError:
        raise UserError(
            "a search needs Optuna 5: install it with pip install 'partoken[sweep]', in a clone with "
            '.venv/bin/pip install -c constraints.txt -e ".[sweep]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
