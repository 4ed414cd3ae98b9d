"""What a run or a sweep costs, as lines for a person."""

import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from partoken.errors import UserError
from partoken.training.engine import Present
from partoken.training.probes.cost import Cost, Measurement, estimate, measure_apart, same_cost
from partoken.training.settings import TrainSettings

__all__ = ["duration", "run_lines", "sweep_lines"]


def run_lines(settings: Mapping[str, Any], cost: Cost, now: datetime.datetime | None = None) -> Iterator[str]:
    """Yields the lines about the cost of a run.

    Arguments:
        settings: the groups of the configuration, plain.
        cost: of the run.
        now: when the run would start; None: now.
    """
    measured = sum(1 + len(stage.windows) for stage in cost.measurement.stages)
    yield f"measured {measured} optimizer steps in {duration(cost.measurement.seconds)}; nothing was kept"
    names = [stage.name or "training" for stage in cost.stages]
    width = max(16, *map(len, names))
    yield f"{'':<{width}}{'epochs':>8}{'steps':>10}{'a step':>12}{'an epoch':>14}{'validation':>14}{'in all':>14}"
    for name, stage in zip(names, cost.stages, strict=True):
        cells = [f"{stage.epochs:>8,}", f"{stage.steps:>10,}", f"{duration(stage.step):>12}"]
        cells += [f"{duration(value):>14}" for value in (stage.training, stage.validation, stage.repeated)]
        yield f"{name:<{width}}{''.join(cells)}"
    yield f"{'start and end':<{width}}  {duration(cost.once)}"
    yield f"{'memory':<{width}}  {_memory(cost.measurement)}"
    yield f"{'time':<{width}}  {_range(cost.seconds, cost.error)}"
    start = now or datetime.datetime.now().astimezone()
    yield f"{'end':<{width}}  {_end(start, cost.seconds)} if it starts now"
    yield from (f"{'note':<{width}}  {sentence}" for sentence in _notes(settings))


def sweep_lines(
    jobs: Mapping[str, Mapping[str, Any]],
    *,
    present: Present | None = None,
    measure: Callable[[Mapping[str, Any], Present | None], Measurement] | None = None,
    now: datetime.datetime | None = None,
) -> Iterator[str]:
    """Yields the lines about the cost of each job of a sweep, and of all of them one after another.

    Jobs that differ only in rates, seeds and lengths share a measurement; see `same_cost`. A job that fails has a line
    with its reason, and the total is without it.

    Arguments:
        jobs: the groups of the configuration of each job, plain, by a label such as "0: train.lr=0.1".
        present: draws the pictures of a run folder; a function of a module, so that another process can import it.
        measure: measures one job; None: `measure_apart`, in a process of its own as a job of a sweep.
        now: when the sweep would start; None: now.
    """
    measured: list[tuple[Mapping[str, Any], Measurement]] = []
    costs: list[Cost] = []
    start = now or datetime.datetime.now().astimezone()
    for label, settings in jobs.items():
        try:
            known = [measurement for other, measurement in measured if same_cost(settings, other)]
            if not known:
                known = [(measure or measure_apart)(settings, present)]
                measured.append((settings, known[0]))
            cost = estimate(settings, known[0])
        except UserError as error:
            yield f"{label}  would fail: {error}"
            continue
        costs.append(cost)
        steps = sum(stage.steps for stage in cost.stages)
        yield f"{label}  {steps:,} steps, {_range(cost.seconds, cost.error)}, {_memory(cost.measurement)}"
    total, spread = sum(cost.seconds for cost in costs), sum(cost.error for cost in costs)
    times = f"{len(measured)} measurement{'s' * (len(measured) != 1)}"
    failed = f", without {len(jobs) - len(costs)} that would fail" if len(costs) < len(jobs) else ""
    yield f"{len(costs)} jobs one after another{failed}, from {times}: {_range(total, spread)}"
    yield f"end: {_end(start, total)} if it starts now"
    notes = dict.fromkeys(sentence for settings in jobs.values() for sentence in _notes(settings))
    yield from (f"note: {sentence}" for sentence in notes)


def duration(seconds: float) -> str:
    """Returns a time for a person.

    >>> [duration(seconds) for seconds in (0.0123, 4.5, 59.6, 200, 7500, 200_000)]
    ['12 ms', '4.5 s', '1 min 00 s', '3 min 20 s', '2 h 05 min', '2 d 7 h']
    """
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h"


def _notes(settings: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each setting whose effect on the time is not known."""
    train, trainer, notes = TrainSettings.read(settings["train"]), settings["trainer"], []
    patience = next((stage.settings for stage in train.run_stages() if stage.settings.early_stopping_patience), None)
    if patience is not None:
        notes.append(f"{patience.key('early_stopping_patience')}={patience.early_stopping_patience} may end it sooner")
    if trainer.get("max_time") is not None:
        notes.append(f"trainer.max_time={trainer['max_time']} ends the training of a stage")
    if settings.get("logger") or train.use_wandb:
        notes.append("without the loggers")
    if train.num_workers:
        notes.append(f"without the memory of the {train.num_workers} processes that load batches (train.num_workers)")
    return notes


def _range(seconds: float, error: float) -> str:
    low, high = duration(max(0.0, seconds - error)), duration(seconds + error)
    return f"{duration(seconds)} ({low} to {high})"


def _memory(measurement: Measurement) -> str:
    process = f"{measurement.memory / 1e9:.1f} GB"
    return process if measurement.gpu_memory is None else f"{process}, GPU {measurement.gpu_memory / 1e9:.1f} GB"


def _end(start: datetime.datetime, seconds: float) -> str:
    """Returns the end of a run for a person, with the day if it is another one."""
    end = start + datetime.timedelta(seconds=seconds)
    return f"{end:%H:%M}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M}"
