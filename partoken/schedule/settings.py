"""The settings of a schedule: which curve, in which unit, how long the warm-up is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Self

from partoken.errors import UserError, check_choice, check_flag, check_number
from partoken.schedule.curve import ScheduleError
from partoken.schedule.grammar import EXAMPLE, check_segments, is_fork

__all__ = ["INTERVALS", "ScheduleSettings"]

INTERVALS = ("epoch", "step")
SCALINGS = ("none", "linear")


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """Settings from which `make_plan` makes a plan.

    Raises:
        ScheduleError: a value that is invalid whatever the length of the run.
    """

    lr: float
    """Peak learning rate, above 0."""
    use_cosine_schedule: bool = False
    """True: linear warm-up, then cosine. False: the rate is constant."""
    schedule: Mapping[str, Any] | None = None
    """`segments`: a list of segments, which replaces warm-up and cosine; see `partoken.schedule.grammar`. Its other
    keys are those of a preset, which the segments have read. None, or segments of None: no list."""
    schedule_interval: str = "epoch"
    """When the rate moves: "epoch", or "step" for every optimizer step."""
    warmup_epochs: float | None = None
    """Epochs of warm-up; a fraction is allowed if the interval is "step". None: not set here."""
    warmup_steps: int | None = None
    """Optimizer steps of warm-up, for the interval "step"; wins over `warmup_epochs`. None: not set here.

    If neither is set, the warm-up takes 10 % of the run."""
    min_lr: float = 0.0
    """Learning rate at the end of the cosine, from 0 to `lr`."""
    num_cycles: float = 0.5
    """Waves of the cosine, above 0. 0.5 falls once."""
    lr_scaling: str = "none"
    """"linear" multiplies `lr` by the effective batch over `lr_scaling_base_batch`; "none" does not."""
    lr_scaling_base_batch: float = 256
    """Effective batch for which `lr` was chosen, above 0."""
    origin: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Configuration keys of the settings that do not come from `train.NAME`, for messages."""

    def __post_init__(self) -> None:
        try:
            self._check()
        except UserError as error:
            raise ScheduleError(str(error)) from None

    @classmethod
    def read(cls, source: Any) -> Self:
        """Creates settings from a mapping or an object. Missing keys get their defaults, other keys are ignored.

        Raises:
            ScheduleError: as the constructor.
        """
        read = source.get if isinstance(source, Mapping) else partial(getattr, source)
        values = {"lr": read("lr", None)}
        for item in fields(cls):
            if item.name not in ("lr", "origin"):
                values[item.name] = read(item.name, item.default)
        return cls(**values)

    def key(self, name: str) -> str:
        """Returns the configuration key of a setting, such as `train.lr` or `train.stages[1].lr`."""
        return self.origin.get(name, f"train.{name}")

    def assignment(self, name: str) -> str:
        """Returns key and value of a number as a person types them, such as `train.warmup_epochs=5`."""
        return f"{self.key(name)}={getattr(self, name):g}"

    @property
    def segments(self) -> Any:
        """The list of segments; None if there is none."""
        return None if self.schedule is None else self.schedule["segments"]

    @property
    def segments_key(self) -> str:
        """Configuration key of the list of segments."""
        return f"{self.origin.get('schedule', 'schedule')}.segments"

    @property
    def forks(self) -> bool:
        """Whether the rate goes on from the one of a checkpoint, in a run of its own."""
        return is_fork(self.segments)

    @property
    def moves(self) -> bool:
        """Whether the rate follows a curve, which needs to know how long the run is."""
        return self.use_cosine_schedule or self.segments is not None

    def _check(self) -> None:
        self._check_segments()
        check_flag(self.key("use_cosine_schedule"), self.use_cosine_schedule)
        check_choice(self.key("schedule_interval"), self.schedule_interval, INTERVALS)
        check_number(self.key("lr"), self.lr, above=0)
        check_number(self.key("min_lr"), self.min_lr, minimum=0)
        check_number(self.key("num_cycles"), self.num_cycles, above=0)
        for name in ("warmup_steps", "warmup_epochs"):
            check_number(self.key(name), getattr(self, name), minimum=0, optional=True)
            self._check_whole(name)
        check_choice(self.key("lr_scaling"), self.lr_scaling, SCALINGS)
        check_number(self.key("lr_scaling_base_batch"), self.lr_scaling_base_batch, above=0)

    def _check_segments(self) -> None:
        """Rejects a list of segments that is invalid whatever the length of the run, and keys that nothing reads."""
        if self.schedule is None:
            return
        key, own = self.segments_key.removesuffix(".segments"), self.schedule
        if not isinstance(own, Mapping) or "segments" not in own:
            raise ScheduleError(f"{key}={own!r}: must be a mapping with segments, such as {{segments: {EXAMPLE}}}")
        unread = [name for name in own if name != "segments"]
        if unread and (own["segments"] is None or "schedule" in self.origin):
            raise ScheduleError(f"{key}.{unread[0]}: no segment reads it; leave it out, or choose schedule=PRESET")
        if own["segments"] is not None:
            check_segments(own["segments"], self.segments_key)
        if self.forks and "schedule" in self.origin:
            raise ScheduleError(f"{key}: length=done forks a whole run; give it with schedule=cooldown")

    def _check_whole(self, name: str) -> None:
        """Rejects a fraction where the unit of the interval is counted."""
        value = getattr(self, name)
        if value is None or value == int(value):
            return
        if name == "warmup_steps":
            raise ScheduleError(f"{self.assignment(name)}: must be a whole number")
        if self.schedule_interval == "epoch":
            fix = f"{self.key('schedule_interval')}=step takes fractions of an epoch"
            raise ScheduleError(f"{self.assignment(name)}: must be a whole number; {fix}")
