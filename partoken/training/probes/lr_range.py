"""The learning rate range test: a short training whose rate rises from step to step, to see where the loss falls."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from partoken.errors import UserError, check_number, did_you_mean
from partoken.system.checkpoint import read_checkpoint
from partoken.training.continuing import CHECKPOINT_KEY
from partoken.training.engine import carry_out
from partoken.training.module import ScheduledModule, scheduled_module
from partoken.training.optim import ScheduledOptimizer
from partoken.training.probes.range_curve import RangeCurve, analyse, explosion
from partoken.training.probes.short_run import check_one_device, untraced
from partoken.training.settings import TrainSettings
from partoken.training.stages import TrainStage, weights_source

__all__ = ["RangeTest", "RisingRate", "lines", "range_test", "suggested_overrides"]

NEVER = 10**9
"""Epochs between validations, which the test does not need."""

_TRAINER: dict[str, Any] = {
    "check_val_every_n_epoch": NEVER,
    "val_check_interval": 1.0,
    "num_sanity_val_steps": 0,
}
_CONSTANT: dict[str, Any] = {"use_cosine_schedule": False, "schedule": None, "early_stopping_patience": None}
_TRAIN: dict[str, Any] = {**_CONSTANT, "resume_from": None, "scheduler": None}
_STAGE: dict[str, Any] = {**_CONSTANT, "epochs": None, "weights_from": "initial"}
_STAGE |= {"ramp_epochs": 0, "freeze_last": [], "freeze_last_epochs": 0}


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What is tried. The rates are those of the first parameter group of the first optimizer.

    Raises:
        UserError: a value that cannot be used.
    """

    low: float = 1e-6
    """Rate of the first step, above 0."""
    high: float = 1.0
    """Rate of the last step, above `low`."""
    steps: int = 100
    """Optimizer steps, 10 or more."""

    def __post_init__(self) -> None:
        check_number("--min", self.low, above=0)
        check_number("--max", self.high, above=0)
        check_number("--steps", self.steps, minimum=10, whole=True)
        if self.high <= self.low:
            raise UserError(f"--max={self.high:g} must be above --min={self.low:g}")

    def rate(self, step: int) -> float:
        """Returns the rate of a step, counted from 0: `low * (high / low) ** (step / (steps - 1))`.

        >>> [f"{RangeTest(low=1e-4, high=1e-2, steps=21).rate(step):.0e}" for step in (0, 10, 20)]
        ['1e-04', '1e-03', '1e-02']
        """
        return float(self.low * (self.high / self.low) ** (step / (self.steps - 1)))


def range_test(
    settings: Mapping[str, Any], test: RangeTest, *, stage: str | None = None
) -> tuple[RangeCurve, dict[str, float]]:
    """Trains with rising rates in a folder that is deleted; checkpoints are only read.

    All optimizers and parameter groups keep the ratios of their peak rates. The stage has its full loss weights and
    freezes what it always freezes. `train.resume_from` gives the weights at the beginning; without it they are fresh.
    Momenta start at zero.

    Arguments:
        settings: the groups of the configuration, plain.
        test: the rates.
        stage: name of the stage that is tested; None: that of the checkpoint, or the first one.

    Returns:
        The curve, and the keys of the suggested rates with their values; none if there is no suggestion.

    Raises:
        UserError: the run cannot be carried out, there is no such stage, or the task logs no `train_loss`.
    """
    check_one_device("partoken lr-range", settings["trainer"])
    train = TrainSettings.read(settings["train"])
    stages = train.run_stages()
    checkpoint = None if train.resume_from is None else read_checkpoint(train.resume_from)
    of_checkpoint = (checkpoint or {}).get(CHECKPOINT_KEY, {}).get("stage", "")
    number = _stage_number([own.name for own in stages], stage, of_checkpoint)
    weights = None
    source = weights_source(stages, number)
    if checkpoint is not None and (of_checkpoint == stages[number].name or source):
        weights = checkpoint
    elif source is not None and not source.stage:
        weights = read_checkpoint(source.file)
    rising = RisingRate(test, weights, begins_stage=of_checkpoint != stages[number].name)
    with untraced(settings) as (own, folder):
        own |= {"fit": True, "callbacks": {}}  # callbacks of the user may need the validation that is left out
        own["train"] = _only_stage(own["train"], number, test.steps)
        trainer = {key: value for key, value in own["trainer"].items() if key not in ("max_epochs", "max_steps")}
        length = {} if train.stages is not None else {"max_epochs": -1, "max_steps": test.steps}  # a stage has its own
        own["trainer"] = {**trainer, **_TRAINER, **length}
        try:
            carry_out(own, folder, callbacks=[rising])
        except UserError:
            if rising.has_finite_loss:
                raise
            rising.record(math.nan)
        except Enough:
            pass
    curve = analyse(rising.rates, rising.losses)
    factor = None if curve.suggestion is None else curve.suggestion / rising.peak
    return curve, {} if factor is None else suggested_overrides(train, number, rising.optimizers, factor)


def lines(
    curve: RangeCurve, test: RangeTest, suggested: Mapping[str, float], overrides: Sequence[str]
) -> Iterator[str]:
    """Yields the lines about a range test, and the command that trains with the suggested rate.

    Arguments:
        curve: of the test.
        test: what was tried.
        suggested: keys with their values, as `range_test` returns them.
        overrides: with which the test was made.
    """
    last = f"{curve.rates[-1]:.2e}"
    yield f"{len(curve.rates)} of {test.steps} optimizer steps, rate from {test.low:.2e} to {last}"
    if curve.steepest is not None:
        yield f"the loss falls fastest at  {curve.steepest:.2e}"
    if curve.divergence is not None:
        yield f"the loss diverges at       {curve.divergence:.2e}"
    if curve.suggestion is None:
        yield "no suggestion: the loss neither fell nor diverged; try a higher --max, or more --steps"
        return
    reason = "where the loss falls fastest" if curve.divergence is None else "a tenth of where it diverges"
    yield f"suggestion                 {curve.suggestion:.2e}, {reason}"
    changed = {f"{key}={value:.2g}": key for key, value in suggested.items()}
    kept = [word for word in overrides if word.lstrip("+").partition("=")[0] not in changed.values()]
    yield f"next: partoken train {shlex.join([*kept, *changed])}"


def suggested_overrides(
    train: TrainSettings, number: int, optimizers: Sequence[str], factor: float
) -> dict[str, float]:
    """Returns the keys that decide the peak rates of a stage, with their values times a factor.

    Arguments:
        train: the train settings.
        number: of the stage.
        optimizers: names of the task's optimizers; "" for the only one.
        factor: suggested over present rate.

    >>> stages = {"first": {"epochs": 1}, "second": {"epochs": 1, "lr": 0.5}}
    >>> train = TrainSettings(lr=0.1, stages=stages, monitor="val_loss", monitor_mode="min")
    >>> suggested_overrides(train, 0, [""], 10), suggested_overrides(train, 1, [""], 10)
    ({'train.stages.first.lr': 1.0}, {'train.stages.second.lr': 5.0})
    """
    values = {}
    for name in optimizers:
        stage: TrainStage[TrainSettings] = train.run_stages(name)[number]
        key = stage.settings.key("lr")
        if key == "train.lr" and stage.name:
            key = f"{stage.path}.lr"  # other stages may need another rate
        values[key] = stage.settings.lr * factor
        groups = stage.settings.parameter_groups()
        values |= {f"{group.path}.lr": group.settings.lr * factor for group in groups if group.has_own_rate}
    return values


class Enough(Exception):
    """Ends the training of a range test."""


class RisingRate(pl.Callback):
    """Sets the rate of each optimizer step, and records the loss of its batches.

    Arguments:
        test: the rates.
        weights: checkpoint with whose weights the model begins; None: it begins with those that it has.
        begins_stage: the weights are of an earlier stage, so that the stage prepares the model after it got them.
    """

    def __init__(self, test: RangeTest, weights: Mapping[str, Any] | None, *, begins_stage: bool) -> None:
        self.test = test
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.peak = math.nan
        """Present peak rate of the first group of the first optimizer."""
        self.optimizers: list[str] = []
        """Their names."""
        self._weights = weights
        self._begins_stage = begins_stage
        self._window: list[float] = []

    @property
    def has_finite_loss(self) -> bool:
        """Whether the losses since the last optimizer step are finite; if one is not, the run ends with an error."""
        return all(map(math.isfinite, self._window))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._begins_stage:
            self._load(scheduled_module(pl_module))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = scheduled_module(pl_module)
        if not self._begins_stage:
            self._load(module)
        first = next(iter(module.scheduled.values()))
        self.optimizers = list(module.scheduled)
        self.peak = first.optimizer.param_groups[0]["initial_lr"]
        module.before_optimizer_step = self._set_rate
        self._watch_loss(trainer, module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._window:
            raise UserError(f"partoken lr-range: {type(pl_module).__name__} logs no train_loss, which the test needs")
        steps = scheduled_module(pl_module).optimizer_steps
        if steps == len(self.rates):
            return  # a batch within a window of accumulation, or a step that a gradient scaler skipped
        self.record(sum(self._window) / len(self._window))
        if steps == self.test.steps or explosion(self.losses) is not None:
            raise Enough

    def record(self, loss: float) -> None:
        """Adds the step that was just taken."""
        self.rates.append(self.test.rate(len(self.rates)))
        self.losses.append(loss)
        self._window = []

    def _load(self, module: ScheduledModule) -> None:
        if self._weights is not None:
            module.stage.load_weights(module, self._weights)

    def _set_rate(self, scheduled: ScheduledOptimizer) -> None:
        """Sets the rates of an optimizer before its next step."""
        factor = self.test.rate(scheduled.steps) / self.peak
        for group in scheduled.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def _watch_loss(self, trainer: pl.Trainer, module: ScheduledModule) -> None:
        """Takes the loss of each batch where every task hands it over: from its log."""
        log = module.log

        def watched(name: str, value: Any, *args: Any, **options: Any) -> None:
            if name == "train_loss":
                self._window.append(float(value.detach() if isinstance(value, Tensor) else value))
            log(name, value, *args, **options)

        module.log = watched  # type: ignore[method-assign]


def _stage_number(names: Sequence[str], chosen: str | None, of_checkpoint: str) -> int:
    """Returns the number of the stage that is tested."""
    if chosen is None:
        return names.index(of_checkpoint) if of_checkpoint in names else 0
    if chosen not in names:
        known = f"choose from {', '.join(names)}" if names != [""] else "the run has no train.stages; leave it out"
        raise UserError(f"--stage={chosen}: no such stage, {known}.{did_you_mean(chosen, names)}")
    return names.index(chosen)


def _only_stage(train: Mapping[str, Any], number: int, steps: int) -> dict[str, Any]:
    """Returns the `train` group of a run that consists of one stage of another run, with a constant rate."""
    own = {**train, **_TRAIN}
    stages = train.get("stages")
    if stages is None:
        return own
    if isinstance(stages, Mapping):
        name = list(stages)[number]
        return {**own, "stages": {name: {**stages[name], **_STAGE, "steps": steps}}}
    return {**own, "stages": [{**stages[number], **_STAGE, "steps": steps}]}
