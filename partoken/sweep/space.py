"""What a search chooses from, and how; imports neither torch nor Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from partoken.errors import UserError, check_choice, check_number

__all__ = ["PRUNERS", "Dimension", "SearchSettings", "dimension"]

PRUNERS = ("median", "none")
TAGS = {"log"}


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a search chooses: the keys that `conf/sweep/search.yaml` adds to the group `sweep`.

    Raises:
        UserError: a value that cannot be used, naming its key.
    """

    trials: int
    """Jobs of the whole search, 1 or more, also if it is started several times."""
    sampler_seed: int
    """Seed of the choices, 0 or more."""
    startup_trials: int
    """Trials whose values are drawn at random, and jobs that must have finished before another one is stopped."""
    pruner: str
    """One of `PRUNERS`: "median" stops a job that is worse than the median of the finished ones."""
    prune_after_epochs: int
    """Epochs after which a job may be stopped, 1 or more."""

    @classmethod
    def read(cls, group: Mapping[str, Any]) -> Self | None:
        """Creates the settings from the group `sweep`; None: the sweep is no search."""
        if "trials" not in group:
            return None
        return cls(**{item.name: group[item.name] for item in fields(cls)})

    def __post_init__(self) -> None:
        for name, minimum in (("trials", 1), ("sampler_seed", 0), ("startup_trials", 0), ("prune_after_epochs", 1)):
            check_number(f"sweep.{name}", getattr(self, name), minimum=minimum, whole=True)
        check_choice("sweep.pruner", self.pruner, PRUNERS)

    def check_metric(self, metric: str) -> None:
        """Rejects a metric by which the pruner cannot judge a job that runs.

        Arguments:
            metric: by which jobs are compared.

        Raises:
            UserError: naming the metric and the fix.
        """
        if self.pruner != "none" and metric.startswith("test_"):
            raise UserError(
                f"sweep.metric={metric}: a job that runs has no score of the test, so none can be stopped early; set "
                "sweep.pruner=none, or choose a metric of the validation"
            )

    def plain(self) -> dict[str, Any]:
        """Returns the settings for `sweep.json`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """A key of a search and its values: either `choices`, or numbers from `low` to `high`, both included."""

    key: str
    """As on the command line."""
    choices: Sequence[str] | None = None
    """Its values, as they stand on a command line."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    """Distance of neighbouring values; None: every number of the range."""
    is_whole: bool = False
    """Whether the values are whole numbers."""
    is_log: bool = False
    """Whether each decade is equally likely."""

    def word(self, value: Any) -> str:
        """Returns the override for a value.

        >>> Dimension(key="train.lr", low=0.1, high=0.5, step=0.1).word(0.30000000000000004)
        'train.lr=0.3'
        """
        if self.choices is None and not self.is_whole and self.step is not None:
            return f"{self.key}={value:.12g}"
        return f"{self.key}={value}"

    def ends(self) -> tuple[Any, Any]:
        """Returns the first and the last value."""
        return (self.choices[0], self.choices[-1]) if self.choices is not None else (self.low, self.high)

    def plain(self) -> dict[str, Any]:
        """Returns what `sweep.json` says of the values, without what does not apply."""
        return {name: value for name, value in asdict(self).items() if name != "key" and value not in (None, False)}

    def __str__(self) -> str:
        if self.choices is not None:
            return f"{self.key} of {', '.join(self.choices)}"
        steps = f" in steps of {self.step:g}" if self.step is not None and self.step != 1 else ""
        kind = " (log)" if self.is_log else " (whole numbers)" if self.is_whole else ""
        return f"{self.key} from {self.low:g} to {self.high:g}{steps}{kind}"


def dimension(item: Override) -> Dimension:
    """Returns the values of a key from Hydra's grammar: a list, `choice`, `range`, `interval` or `tag(log, ...)`.

    `range` leaves out its end, as in a sweep without a search; `interval` has both ends.

    Arguments:
        item: an override with several values.

    Raises:
        UserError: no value, an unknown tag, or a logarithmic scale that cannot be.

    See also:
        https://hydra.cc/docs/advanced/override_grammar/extended/

    >>> from hydra.core.override_parser.overrides_parser import OverridesParser
    >>> parse = OverridesParser.create().parse_override
    >>> print(dimension(parse("train.lr=tag(log,interval(1e-4,1e-2))")))
    train.lr from 0.0001 to 0.01 (log)
    >>> print(dimension(parse("train.warmup_epochs=range(1,4)")))
    train.warmup_epochs from 1 to 3 (whole numbers)
    >>> print(dimension(parse("train.optimizer=adamw,sgd")))
    train.optimizer of adamw, sgd
    """
    key, line, value = item.get_key_element(), item.input_line, item.value()
    tags = set(getattr(value, "tags", ()))
    if unknown := sorted(tags - TAGS):
        raise UserError(
            f"{line}: there is no tag {unknown[0]}; the only one is log, as in tag(log,interval(1e-4,1e-2))"
        )
    is_log = "log" in tags
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None
        is_whole = isinstance(low, int) and isinstance(high, int)
        found = Dimension(key=key, low=low, high=high, step=1 if is_whole else None, is_whole=is_whole, is_log=is_log)
    elif isinstance(value, RangeSweep):
        found = _numbers(key, line, value, is_log)
    else:
        if is_log:
            raise UserError(f"{line}: a list has no logarithmic scale; leave out the tag, or use an interval")
        return Dimension(key=key, choices=tuple(item.sweep_string_iterator()))
    _check_numbers(line, found)
    return found


def _numbers(key: str, line: str | None, value: RangeSweep, is_log: bool) -> Dimension:
    values = value.range()
    if isinstance(values, range):
        listed: Sequence[float] = values  # it may be long, and needs no memory
    else:
        listed = list(values)
    if not listed:
        raise UserError(f"{line}: this range has no value; write range(START,END,STEP) with END above START")
    low, high = sorted((listed[0], listed[-1]))
    return Dimension(
        key=key, low=low, high=high, step=abs(value.step), is_whole=isinstance(values, range), is_log=is_log
    )


def _check_numbers(line: str | None, found: Dimension) -> None:
    assert found.low is not None and found.high is not None
    if found.low > found.high:
        raise UserError(f"{line}: the interval ends below its start; write interval(LOW,HIGH)")
    if found.is_log and found.low <= 0:
        raise UserError(f"{line}: a logarithmic scale begins above 0; raise the start, or leave the tag log out")
    if found.is_log and found.step not in (None, 1 if found.is_whole else None):
        raise UserError(f"{line}: a logarithmic scale has no steps; use tag(log,interval(LOW,HIGH))")
