"""From overrides on a command line to a checked configuration; imports no torch."""

import argparse
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from partoken.composition import PRIMARY, compose_unchecked, explain, open_stages, plain, without_hydra
from partoken.config_checks import check_allowed, check_composed, check_single
from partoken.errors import NothingToDo, UserError, check_text
from partoken.overrides import (
    CONF,
    check_config_dir,
    check_overrides,
    name_fit,
    parse_arguments,
    quote,
)
from partoken.resume_keys import AUTO, LATEST, folder_to_resume
from partoken.system.files import atomic_write, explain_full_disk
from partoken.system.process import die_with_parent, discard_output, prepare_process, say_interrupted
from partoken.system.ranks import is_further_process, started_by
from partoken.system.run_folder import CONFIGURATION, Snapshot
from partoken.system.run_status import is_interrupt
from partoken.system.targets import check_logging, check_targets

__all__ = [
    "CONF",
    "absolute_paths",
    "check_config",
    "compose",
    "job_groups",
    "launch",
    "record_config",
]


PATH_KEYS = {
    "train": ("resume_from", "weights_from"),
    "data": ("root", "labels", "path", "table", "data_dir", "cache_dir", "residue_features", "stage1_dir"),
    "model": ("stage1_checkpoint", "backbone_file"),
}
"""Keys of files and folders. A relative path means the folder in which the command was started."""


def compose(
    overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None, *, with_hydra: bool = False
) -> DictConfig:
    """Composes the primary config with Hydra overrides and checks it, as `partoken train` does.

    Arguments:
        overrides: `key=value` and `group=option`.
        config_dir: a folder of the user with more YAML files.
        with_hydra: also returns Hydra's own settings, under the key `hydra`, which may ask for several jobs.

    Raises:
        UserError: an unknown key or option of a group, a value of another type than its default, a `config_dir` that
            cannot be used, or values for several jobs.
    """
    overrides = name_fit(overrides)
    check_overrides(overrides)
    check_config_dir(config_dir)
    overrides = open_stages(overrides, config_dir)
    try:
        cfg = compose_unchecked(overrides, config_dir, with_hydra=True)
        if not with_hydra:
            check_single(cfg.hydra)
            cfg = without_hydra(cfg)
        _expand_home(cfg)
        check_allowed(cfg, overrides)
        check_composed(cfg, overrides, config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, overrides, config_dir)) from None
    return cfg


def check_config(cfg: DictConfig) -> None:
    """Checks the config of the current Hydra job: every key is known, every value has the type of its default.

    A path that begins with `~` becomes one in the user's home.

    Raises:
        UserError: naming the key, what was found, and the closest known key; or values for several jobs.
    """
    job = HydraConfig.get()
    _expand_home(cfg)
    check_single(job)
    check_allowed(cfg, job.overrides.task)
    check_composed(cfg, [f"{group}={option}" for group, option in job.runtime.choices.items() if option is not None])


def absolute_paths(groups: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the groups of a configuration with absolute paths, for a job that runs in another folder.

    Hydra changes the folder with `hydra.job.chdir=true`. Paths inside stages change too.

    Arguments:
        groups: of the configuration, plain.
        folder: in which the command was started; the keys of `PATH_KEYS` are relative to it.

    >>> absolute_paths({"data": {"root": "chains", "limit": 8}, "fit": True}, Path("/home"))
    {'data': {'root': '/home/chains', 'limit': 8}, 'fit': True}
    """
    absolute = dict(groups)
    if isinstance(groups.get("resume"), str) and groups["resume"] not in (AUTO, LATEST):
        absolute["resume"] = str(folder / Path(groups["resume"]).expanduser())
    for group, keys in PATH_KEYS.items():
        values = absolute.get(group)
        if isinstance(values, Mapping):
            paths = {key: values[key] for key in keys if isinstance(values.get(key), str)}
            absolute[group] = {**values, **{key: str(folder / Path(path).expanduser()) for key, path in paths.items()}}
    train = absolute.get("train")
    if not isinstance(train, Mapping) or not train.get("stages"):
        return absolute
    stages = train["stages"]
    if isinstance(stages, Mapping):
        own: Any = {name: _absolute_stage(stage, folder) for name, stage in stages.items()}
    else:
        own = [_absolute_stage(stage, folder) for stage in stages]
    return {**absolute, "train": {**train, "stages": own}}


def _absolute_stage(stage: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Returns a stage with absolute paths; its weights may be those of a file, or those of another stage by name."""
    absolute = absolute_paths(stage, folder)
    weights = stage.get("weights_from")
    if isinstance(weights, str) and ("/" in weights or weights.endswith(".ckpt")):
        absolute["weights_from"] = str(folder / Path(weights).expanduser())
    return absolute


def job_groups(cfg: DictConfig) -> dict[str, Any]:
    """Returns the groups of the current Hydra job as plain values, with absolute paths if it runs in another folder."""
    groups, started_in = plain(cfg), Path(HydraConfig.get().runtime.cwd)
    return groups if Path.cwd() == started_in else absolute_paths(groups, started_in)


def record_config(cfg: DictConfig, folder: Path) -> None:
    """Writes the configuration of the current Hydra job into its run folder.

    Hydra would do so before anyone has checked whether the folder holds another run.

    Arguments:
        cfg: of the job, with its interpolations.
        folder: the run folder.
    """
    hydra_config = HydraConfig.get()
    contents = {"config": cfg, "hydra": {"hydra": hydra_config}, "overrides": hydra_config.overrides.task}
    (folder / CONFIGURATION).mkdir(exist_ok=True)
    for name, content in contents.items():
        with atomic_write(folder / CONFIGURATION / f"{name}.yaml") as file:
            file.write(OmegaConf.to_yaml(content))


def launch(job: Callable[[DictConfig], Any], arguments: Sequence[str]) -> int:
    """Runs a job on the configuration that Hydra composes from conf/ and a command line.

    Arguments:
        job: receives the configuration of the run.
        arguments: overrides and Hydra's own given, such as `--cfg job`.

    Returns:
        The exit status: 2 for a user error, after one message without a traceback.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them itself
    prepare_process()
    command_line, began, raises = list(sys.argv), time.time(), logging.raiseExceptions
    handlers = list(logging.getLogger().handlers)
    ended: list[UserError | NothingToDo] = []

    @functools.wraps(job)
    def run_job(cfg: DictConfig) -> Any:
        sys.argv[:] = command_line  # Lightning repeats this command line to start the processes of further devices
        hydra_config = HydraConfig.get()
        before = Snapshot.take(Path(hydra_config.runtime.output_dir), began)
        try:
            with explain_full_disk(hydra_config.runtime.output_dir):
                return job(cfg)
        except (UserError, NothingToDo) as error:
            ended.append(error)  # Hydra would print a line of its own before the message
            if OmegaConf.is_missing(hydra_config.job, "num") and not is_further_process():
                before.undo()  # a sweep reads in the folder why its job was refused

    arguments = name_fit(arguments)
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=PRIMARY)(run_job)
    given = argparse.Namespace(overrides=[], config_dir=None)
    try:
        given = parse_arguments(arguments)
        modes = [name for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(given, name)]
        if len(modes) > 1:
            raise UserError(f"--{modes[0]} with --{modes[1].replace('_', '-')}: give one of them")
        check_overrides(given.overrides)
        check_config_dir(given.config_dir)
        sys.argv[1:] = open_stages(arguments, given.config_dir)  # Hydra takes its arguments from there
        if not modes or given.run:
            sys.argv += _check_beforehand(given, open_stages(given.overrides, given.config_dir))
        if given.config_path is not None and "://" not in given.config_path:
            # Hydra would look beside this package; the last value wins
            sys.argv.append(f"--config-path={Path(given.config_path).resolve()}")
        if is_further_process() and started_by() is None:
            die_with_parent()  # the first process has started it
        logging.raiseExceptions = False  # a log on a full disk would print tracebacks
        try:
            main()
        finally:
            logging.raiseExceptions = raises
            sys.stdout.flush()  # a reader that has ended is noticed here, not at the exit
        if ended:
            raise ended[0]
    except NothingToDo as note:
        print(note)
        return 0
    except UserError as error:
        message = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        message = explain(error, given.overrides, given.config_dir)
    except (KeyboardInterrupt, SystemExit) as error:
        if not is_interrupt(error):
            raise
        return say_interrupted()
    except BrokenPipeError:
        return discard_output()
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}; a run folder can be chosen with hydra.run.dir=FOLDER"
    else:
        return 0
    finally:
        sys.argv[:] = command_line
        _close_logs(handlers)
    print(f"error: {message}", file=sys.stderr)
    return 2


def _close_logs(before: Sequence[logging.Handler]) -> None:
    """Closes the log files of a run, so that no later line opens one again in a folder that may be gone.

    Arguments:
        before: the handlers of the root logger before the run, which stay.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler) and handler not in before:
            root.removeHandler(handler)
            handler.close()


def _check_beforehand(given: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """Checks a configuration before Hydra creates anything that it names, or the folder of the run.

    Arguments:
        given: the command line, parsed.
        words: its overrides.

    Returns:
        Further overrides: the run folder, if `resume` decides it.
    """
    cfg = compose_unchecked(words, given.config_dir, given.config_path or str(CONF), given.config_name, with_hydra=True)
    own = OmegaConf.to_container(cfg.hydra)
    assert isinstance(own, dict)
    check_text("hydra.run.dir", own["run"]["dir"])
    if not isinstance(own["verbose"], bool | str | list):
        raise UserError(f"hydra.verbose={own['verbose']!r}: must be true, false or a list of loggers")
    check_allowed(cfg, words)
    check_targets(own, "hydra")
    for name in ("job_logging", "hydra_logging"):
        check_logging(own[name], f"hydra.{name}")
    if given.config_path is None and given.config_name is None:
        check_single(cfg.hydra)
        check_composed(cfg, words, given.config_dir)
    unresolved: Any = OmegaConf.to_container(cfg.hydra.run)
    folder = folder_to_resume(cfg.get("resume"), str(unresolved["dir"]))
    return [] if folder is None else [f"hydra.run.dir={quote(str(folder))}"]


def _expand_home(cfg: DictConfig) -> None:
    """Replaces `~` at the beginning of paths; the shell leaves it alone inside `KEY=~/x`."""
    if isinstance(cfg.get("resume"), str):
        cfg.resume = os.path.expanduser(cfg.resume)
    for group, keys in PATH_KEYS.items():
        values = cfg.get(group)
        for key in keys if OmegaConf.is_dict(values) else ():
            path = None if OmegaConf.is_missing(values, key) else values.get(key)
            if isinstance(path, str) and path.startswith("~"):
                values[key] = os.path.expanduser(path)
