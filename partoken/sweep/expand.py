"""From the command line of a sweep to its jobs, each with its resolved configuration; imports no torch."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from partoken.composition import plain, plain_group, without_hydra
from partoken.config import compose
from partoken.errors import UserError, check_choice, check_flag, check_number, check_text
from partoken.overrides import parse_arguments, parse_overrides
from partoken.resume_keys import forks_off
from partoken.sweep.space import Dimension, SearchSettings, dimension

__all__ = ["Job", "Sweep", "expand", "is_sweep"]

SHOWS = ("cfg", "help", "hydra_help", "info", "shell_completion")
"""Options of Hydra that show something and run nothing."""

NOT_PART = ("checkpoint", "cost", "hydra", "launcher", "logger", "n_jobs", "print_config", "resume", "run", "sweep")
"""Groups and keys of the configuration that change no number of a job."""
NO_EFFECT = ["train.resume_from", "train.on_schedule_change", "train.num_workers", "train.use_wandb"]
NO_EFFECT += ["train.wandb_project", "trainer.enable_progress_bar"]
"""Further keys that change no number of a job."""

OF_THE_SWEEP = ("hydra.sweep.", "hydra.sweeper.", "hydra.mode")
"""Beginnings of overrides that concern the sweep and not its jobs."""
OF_HYDRA = ("hydra/launcher", "hydra/sweeper")


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: Sequence[str]
    """Of its command line."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Its resolved configuration, plain, without what changes no number; empty if it could not be composed."""
    error: str | None = None
    """Why it cannot run."""
    composed: DictConfig | None = field(default=None, repr=False, compare=False)
    """Its whole configuration, with Hydra's."""

    @property
    def identity(self) -> str:
        """What tells it from other jobs, as text."""
        return json.dumps(self.config or list(self.overrides), sort_keys=True)

    @property
    def groups(self) -> dict[str, Any]:
        """All groups of its configuration, plain; it must have been composed."""
        assert self.composed is not None
        return plain(without_hydra(self.composed))

    def subfolder(self, number: int) -> str:
        """Returns the name of its folder in the folder of the sweep, as `hydra.sweep.subdir` has it."""
        if self.composed is None:
            return str(number)
        with open_dict(self.composed):
            self.composed.hydra.job.num = number
        return str(self.composed.hydra.sweep.subdir)


@dataclass(frozen=True)
class Sweep:
    """What the command line of a sweep asks for."""

    folder: Path
    """Of the sweep."""
    jobs: Sequence[Job]
    """All jobs; of a search, which chooses its jobs while it runs, the two ends of its space, to be checked."""
    options: Sequence[str]
    """Options of Hydra that every job gets, such as `--config-dir=...`."""
    metric: str
    """Metric by which jobs are compared."""
    direction: str
    """"max" or "min"."""
    retry_failed: bool
    threads: int | None
    """Threads of a job; None: the cores divided by the jobs at a time."""
    n_jobs: int
    launcher: Mapping[str, Any]
    """`_target_` and arguments of the launcher."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The group `sweep`, plain."""
    common: Sequence[str] = ()
    """Overrides that every job has."""
    config_dir: str | None = None
    """A folder of the user with more YAML files."""
    search: SearchSettings | None = None
    """How a search chooses its jobs; None: every combination of the values is a job."""
    space: Sequence[Dimension] = ()
    """The values from which a search chooses."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The resolved configuration on which a search lays its choices, plain, without what changes no number."""

    def job(self, words: Sequence[str]) -> Job:
        """Returns the job with these overrides beside those that every job has."""
        return _job([*self.common, *words], self.config_dir)


def is_sweep(arguments: Sequence[str]) -> bool:
    """Returns whether a command line runs a sweep: it has `-m`, and no option that only shows something."""
    if not any(word.startswith(("-", "hydra.mode=")) for word in arguments):
        return False
    options = parse_arguments(arguments)
    if any(getattr(options, name) for name in SHOWS):
        return False
    return bool(options.multirun or any(word.upper() == "HYDRA.MODE=MULTIRUN" for word in options.overrides))


def expand(arguments: Sequence[str]) -> Sweep:
    """Returns the jobs of a sweep: one for each combination of the values, the values of the last key first.

    The grammar of the values is Hydra's: `a,b`, `range(1,4)`, `glob(*)`. Keys of `hydra.sweeper.params`, which a file
    of `conf/sweep/` may hold, count as if they stood at the beginning of the command line.

    Arguments:
        arguments: overrides and Hydra's own options.

    Raises:
        UserError: a mistake that concerns the whole sweep. A job that alone cannot be composed has its `error`.

    See also:
        https://hydra.cc/docs/advanced/override_grammar/extended/
    """
    options = parse_arguments(arguments)
    config_dir = options.config_dir
    for word in options.overrides:
        if word.lstrip("+").startswith(OF_HYDRA):
            raise UserError(f"{word}: a sweep has launchers of its own; use launcher=local n_jobs=2 instead")
    for name in ("config_path", "config_name"):
        if getattr(options, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} with -m: a sweep composes its jobs from conf/; add your files with --config-dir")
    given = parse_overrides(options.overrides)
    common = [item.input_line or "" for item in given if not item.is_sweep_override()]
    # A fork needs a trunk: the first one stands for all.
    trunks = [item for item in given if item.get_key_element() == "resume" and item.is_discrete_sweep()]
    common += [f"resume={next(item.sweep_string_iterator())}" for item in trunks]
    main = compose(common, config_dir, with_hydra=True)
    params = main.hydra.sweeper.get("params") or {}
    keys = {item.get_key_element() for item in given}
    preset = parse_overrides([_word(key, value) for key, value in params.items()])
    overrides = [*(item for item in preset if item.get_key_element() not in keys), *given]
    metric, direction = _metric(main)
    check_number("n_jobs", main.n_jobs, minimum=1, whole=True)
    check_number("sweep.threads", main.sweep.threads, minimum=1, whole=True, optional=True)
    check_flag("sweep.retry_failed", main.sweep.retry_failed)
    settings = plain_group(main, "sweep")
    search = SearchSettings.read(settings)
    variants = _variants(settings.get("variants"), overrides)
    if main.n_jobs > 1 and main.hydra.runtime.choices.get("launcher") == "serial":
        raise UserError(f"n_jobs={main.n_jobs}: launcher=serial runs one job at a time; add launcher=local")
    launcher = plain_group(main, "launcher")
    sweep = Sweep(
        folder=Path(main.hydra.sweep.dir),
        jobs=list(_jobs(overrides, variants, config_dir)) if search is None else [],
        options=[word for word in arguments if word not in (*options.overrides, "-m", "--multirun")],
        metric=metric,
        direction=direction,
        retry_failed=main.sweep.retry_failed,
        threads=main.sweep.threads or launcher.get("cpus_per_task"),
        n_jobs=main.n_jobs,
        launcher=launcher,
        settings=settings,
        common=list(dict.fromkeys(item.input_line or "" for item in overrides if not item.is_sweep_override())),
        config_dir=config_dir,
        search=search,
    )
    return sweep if search is None else _search(sweep, overrides)


def _metric(main: DictConfig) -> tuple[str, str]:
    """Returns the metric and the direction of a sweep."""
    metric, direction = main.sweep.metric, main.sweep.direction
    check_text("sweep.metric", metric, optional=True)
    if direction is not None:
        check_choice("sweep.direction", direction, ("max", "min"))
    if metric in (None, main.train.monitor):
        return main.train.monitor, direction or main.train.monitor_mode
    if direction is None:
        raise UserError(f"sweep.metric={metric}: also set sweep.direction=max or sweep.direction=min")
    return metric, direction


def _word(key: str, value: Any) -> str:
    """Returns a value of a YAML file as an override.

    >>> _word("train.warmup_steps", None), _word("train.lr", 0.1)
    ('train.warmup_steps=null', 'train.lr=0.1')
    """
    return f"{key}={'null' if value is None else value}"


def _variants(variants: Any, overrides: Sequence[Override]) -> list[list[str]]:
    """Returns the overrides of each of `sweep.variants`, without keys that the command line or the preset sets."""
    if variants is None:
        return []
    if not isinstance(variants, list) or not variants or not all(isinstance(item, Mapping) for item in variants):
        raise UserError(f"sweep.variants={variants!r}: must be a list of mappings from keys to values, or null")
    keys = {item.get_key_element() for item in overrides}
    return [[_word(key, value) for key, value in variant.items() if key not in keys] for variant in variants]


def _search(sweep: Sweep, overrides: Sequence[Override]) -> Sweep:
    """Returns a search with its space."""
    space = {item.get_key_element(): dimension(item) for item in overrides if item.is_sweep_override()}
    if not space:
        raise UserError("sweep.trials: no key has values to choose from; add some: 'train.lr=interval(1e-4,1e-2)'")
    if sweep.settings.get("variants") is not None:
        raise UserError("sweep.variants: a search chooses from single keys; set sweep.variants=null")
    if sweep.retry_failed:
        raise UserError("sweep.retry_failed=true: a search has learnt from its failed jobs; raise sweep.trials instead")
    assert sweep.search is not None
    sweep.search.check_metric(sweep.metric)
    ends = zip(*(item.ends() for item in space.values()), strict=True)
    words = [[item.word(value) for item, value in zip(space.values(), end, strict=True)] for end in ends]
    jobs = [sweep.job(chosen) for chosen in words]
    if all(job.error for job in jobs):
        raise UserError(jobs[0].error or "")
    fixed = _identity(compose(sweep.common, sweep.config_dir, with_hydra=True))
    return replace(sweep, jobs=jobs, space=list(space.values()), fixed=fixed)


def _jobs(overrides: Sequence[Override], variants: Sequence[list[str]], config_dir: str | None) -> Iterator[Job]:
    choices: dict[str, list[str]] = {}
    for item in overrides:
        line = item.input_line or ""
        if not item.is_sweep_override():
            choices[item.get_key_element()] = [line]
        elif item.is_discrete_sweep():
            key = item.get_key_element()
            choices[key] = [f"{key}={value}" for value in item.sweep_string_iterator()]
        else:
            raise UserError(f"{line}: an interval has no list of values; search in it with sweep=search")
    combinations = itertools.product(variants or [[]], itertools.product(*choices.values()))
    jobs = [_job([*variant, *chosen], config_dir) for variant, chosen in combinations]
    if all(job.error for job in jobs):
        raise UserError(jobs[0].error or "")
    _check_duplicates(jobs)
    yield from jobs


def _job(overrides: list[str], config_dir: str | None) -> Job:
    own = [word for word in overrides if not word.lstrip("+~").startswith(OF_THE_SWEEP)]
    try:
        cfg = compose(overrides, config_dir, with_hydra=True)
        if cfg.resume is not None and not forks_off(cfg.schedule):
            raise UserError(f"resume={cfg.resume}: a sweep goes on by itself; give the same command without it")
        if cfg.trainer.get("num_nodes") not in (None, 1):
            raise UserError(
                f"trainer.num_nodes={cfg.trainer.num_nodes}: a job of a sweep runs on one machine; leave it out, or "
                "start each run with torchrun or srun"
            )
    except UserError as error:
        return Job(own, error=str(error))
    return Job(own, _identity(cfg), composed=cfg)


def _identity(cfg: DictConfig) -> dict[str, Any]:
    """Returns the part of a configuration that decides the numbers of a job, plain and as JSON would return it."""
    config = {str(group): _resolved(cfg, group) for group in cfg if group not in NOT_PART}
    if forks_off(cfg.schedule):
        config["resume"] = cfg.resume  # the trunk decides the numbers
    for path in NO_EFFECT:
        if path == "train.resume_from" and not cfg.fit:
            continue  # the checkpoint that the job tests
        group, _, key = path.partition(".")
        if isinstance(config.get(group), dict):
            config[group].pop(key, None)
    return config


def _resolved(cfg: DictConfig, group: Any) -> Any:
    value = cfg[group]
    return _plain(OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _check_duplicates(jobs: Sequence[Job]) -> None:
    """Rejects two jobs that would compute the same."""
    seen: dict[str, int] = {}
    for number, job in enumerate(jobs):
        first = seen.setdefault(job.identity, number)
        if first != number:
            raise UserError(
                f"jobs {first} ({' '.join(jobs[first].overrides)}) and {number} ({' '.join(job.overrides)}) have the "
                "same configuration; leave one of the values out"
            )
