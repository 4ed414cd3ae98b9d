"""From overrides on a command line to a checked configuration; imports no torch."""

import argparse
import functools
import inspect
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from partoken.errors import UserError, check_flag, check_text, did_you_mean
from partoken.overrides import (
    CONF,
    check_config_dir,
    check_overrides,
    choices_of_defaults,
    name_fit,
    options,
    parse_arguments,
)
from partoken.system.annotations import check_annotations
from partoken.system.files import atomic_write
from partoken.system.nested import leaves
from partoken.system.process import die_with_parent, discard_output, prepare_process, say_interrupted
from partoken.system.ranks import is_further_process, start_of_run, started_by
from partoken.system.run_folder import CONFIGURATION, Snapshot
from partoken.system.run_status import is_interrupt
from partoken.system.targets import check_logging, check_targets, find_target, trust
from partoken.trainer_arguments import check_trainer

__all__ = [
    "CONF",
    "absolute_paths",
    "check_config",
    "check_phases",
    "compose",
    "instantiate",
    "job_groups",
    "launch",
    "plain",
    "plain_group",
    "record_config",
]


PRIMARY = "config_partoken"

TYPED_GROUPS = ("data", "model")
"""Groups whose values must have the types of their defaults; `train` names a class that checks its own, and Lightning
checks `trainer`."""

COMPLETE_GROUPS = ("data", "model", "train", "trainer")
"""Groups of which no key may be taken out."""

OPTIONAL_GROUPS = ("callbacks", "logger")
"""Groups that may be taken out."""

STAGE_OVERRIDE = re.compile(r"train\.stages\.(\w+)\.")

PATH_KEYS = {
    "train": ("resume_from", "weights_from"),
    "data": ("root", "labels", "path", "table", "data_dir", "cache_dir", "residue_features", "stage1_dir"),
    "model": ("stage1_checkpoint", "backbone_file"),
}
"""Keys of files and folders. A relative path means the folder in which the command was started."""


def _run_folder() -> str:
    """Returns the folder of the current run; a preview has none."""
    return str(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else "RUN_FOLDER"


def _start_folder() -> str:
    """Returns the folder in which the command was started, also if `hydra.job.chdir` has left it."""
    return str(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else os.getcwd()


OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
OmegaConf.register_new_resolver("start_folder", _start_folder, replace=True)


def _start(pattern: str) -> str:
    """Formats the time at which the run was started, the same in all its processes; Hydra's `now` differs."""
    return time.strftime(pattern, time.localtime(start_of_run()[0]))


OmegaConf.register_new_resolver("start", _start, use_cache=True, replace=True)
OmegaConf.register_new_resolver("unique", lambda: start_of_run()[1], use_cache=True, replace=True)


def compose(
    overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None, *, with_hydra: bool = False
) -> DictConfig:
    """Composes the primary config with Hydra overrides and checks it, as `partoken train` does.

    Arguments:
        overrides: `key=value` and `group=option`.
        config_dir: a folder of the user with more YAML files.
        with_hydra: also returns Hydra's own settings, under the key `hydra`.

    Raises:
        UserError: an unknown key or option of a group, a value of another type than its default, or a `config_dir`
            that cannot be used.
    """
    overrides = name_fit(overrides)
    check_overrides(overrides)
    check_config_dir(config_dir)
    overrides = _open_stages(overrides, config_dir)
    try:
        cfg = _compose(overrides, config_dir, with_hydra=with_hydra)
        _expand_home(cfg)
        _check_allowed(cfg, overrides)
        _check(cfg, overrides, config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides, config_dir)) from None
    return cfg


def check_config(cfg: DictConfig) -> None:
    """Checks the config of the current Hydra job: every key is known, every value has the type of its default.

    A path that begins with `~` becomes one in the user's home.

    Raises:
        UserError: naming the key, what was found, and the closest known key; or values for several jobs.
    """
    job = HydraConfig.get()
    _expand_home(cfg)
    _check_single(job)
    _check_allowed(cfg, job.overrides.task)
    _check(cfg, [f"{group}={option}" for group, option in job.runtime.choices.items() if option is not None])


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Returns the config as plain values, interpolations resolved."""
    values = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def plain_group(cfg: DictConfig, group: str) -> dict[str, Any]:
    """Returns a group of the config as plain values, interpolations resolved."""
    return plain(cfg[group])


def instantiate(node: Mapping[str, Any], group: str, **arguments: Any) -> Any:
    """Creates what `_target_` of a config group names.

    Arguments:
        node: the group, plain.
        group: its name, for messages.
        arguments: added to the group's own.

    Raises:
        UserError: no such target, wrong arguments, or a `UserError` of the target.
    """
    target = node.get("_target_")
    if target is None:
        raise UserError(f"{group}._target_: has no value; it names the class or function that creates {group}")
    try:
        kind = find_target(target, f"{group}._target_")
    except (ImportError, AttributeError) as error:
        raise UserError(f"{group}._target_={target}: cannot be found: {error}") from None
    own = {**{key: value for key, value in node.items() if key != "_target_"}, **arguments}
    _check_arguments(kind, own, target, group)
    if group == "data":
        check_annotations(kind, own, group)
    return kind(**own)


def _check_arguments(kind: Callable[..., Any], own: Mapping[str, Any], target: str, group: str) -> None:
    """Rejects arguments that a class or a function does not take, and those that it lacks."""
    known = inspect.signature(kind).parameters
    takes_any = any(item.kind is item.VAR_KEYWORD for item in known.values())
    for key in own:
        if key not in known and not takes_any:
            raise UserError(f"{group}.{key} is not a setting of {target}: leave it out, with ~{group}.{key}")
    for key, item in known.items():
        is_needed = item.default is item.empty and item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)
        if is_needed and key not in own:
            raise UserError(f"{group}.{key}: has no value, and {target} needs one; give it with {group}.{key}=VALUE")


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


def check_phases(groups: Mapping[str, Any]) -> None:
    """Checks whether there is something to do: the keys `fit` (on the command line `train=false`) and `test`.

    Arguments:
        groups: of the configuration; missing keys mean a run that trains and tests.

    Raises:
        UserError: nothing is left to do, or there is no checkpoint to test.
    """
    fit, test = groups.get("fit", True), groups.get("test", True)
    check_flag("train", fit)
    check_flag("test", test)
    if fit:
        return
    if not test:
        raise UserError("train=false and test=false: nothing is left to do; set one of them to true")
    if groups["train"].get("resume_from") is None:
        raise UserError(
            "train=false tests a checkpoint and none is given; set train.resume_from=RUN_FOLDER/checkpoints/best.ckpt"
        )


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
    user_errors: list[UserError] = []

    @functools.wraps(job)
    def run_job(cfg: DictConfig) -> Any:
        sys.argv[:] = command_line  # Lightning repeats this command line to start the processes of further devices
        hydra_config = HydraConfig.get()
        before = Snapshot.take(Path(hydra_config.runtime.output_dir), began)
        try:
            return job(cfg)
        except UserError as error:
            user_errors.append(error)  # Hydra would print a line of its own before the message
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
        sys.argv[1:] = _open_stages(arguments, given.config_dir)  # Hydra takes its arguments from there
        if not modes or given.run:
            _check_beforehand(given, _open_stages(given.overrides, given.config_dir))
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
        if user_errors:
            raise user_errors[0]
    except UserError as error:
        message = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        message = _explain(error, given.overrides, given.config_dir)
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
    print(f"error: {message}", file=sys.stderr)
    return 2


def _check_beforehand(given: argparse.Namespace, words: Sequence[str]) -> None:
    """Checks a configuration before Hydra creates anything that it names, or the folder of the run.

    Arguments:
        given: the command line, parsed.
        words: its overrides.
    """
    cfg = _compose(words, given.config_dir, given.config_path or str(CONF), given.config_name, with_hydra=True)
    own = OmegaConf.to_container(cfg.hydra)
    assert isinstance(own, dict)
    check_text("hydra.run.dir", own["run"]["dir"])
    if not isinstance(own["verbose"], bool | str | list):
        raise UserError(f"hydra.verbose={own['verbose']!r}: must be true, false or a list of loggers")
    _check_allowed(cfg, words)
    check_targets(own, "hydra")
    for name in ("job_logging", "hydra_logging"):
        check_logging(own[name], f"hydra.{name}")
    if given.config_path is None and given.config_name is None:
        _check_single(cfg.hydra)
        _check(cfg, words, given.config_dir)


def _expand_home(cfg: DictConfig) -> None:
    """Replaces `~` at the beginning of paths; the shell leaves it alone inside `KEY=~/x`."""
    for group, keys in PATH_KEYS.items():
        values = cfg.get(group)
        for key in keys if OmegaConf.is_dict(values) else ():
            path = None if OmegaConf.is_missing(values, key) else values.get(key)
            if isinstance(path, str) and path.startswith("~"):
                values[key] = os.path.expanduser(path)


def _check_single(job: Any) -> None:
    """Rejects values for several jobs in a single run.

    Arguments:
        job: Hydra's own settings.
    """
    chosen = job.runtime.choices.get("sweep", "default")  # by the primary config, an experiment or the command line
    if chosen != "default" and OmegaConf.is_missing(job.job, "num"):
        raise UserError(f"sweep={chosen} is for several jobs: add -m, or leave it out for a single run")


def _compose(
    overrides: Sequence[str],
    config_dir: str | os.PathLike[str] | None = None,
    config_path: str = str(CONF),
    config_name: str | None = None,
    *,
    with_hydra: bool = False,
) -> DictConfig:
    primary = config_name or PRIMARY
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(primary, list(overrides), return_hydra_config=with_hydra)
    version.setbase("1.3")
    search_path = create_config_search_path(config_path)
    if config_dir is not None:  # as Hydra does for --config-dir
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}", SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2("partoken", search_path)
    try:
        return hydra.compose(primary, list(overrides), return_hydra_config=with_hydra)
    finally:
        GlobalHydra.instance().clear()


def _defaults_of(overrides: Sequence[str], config_dir: str | os.PathLike[str] | None) -> DictConfig:
    """Returns the defaults of the options that overrides choose."""
    return _compose_defaults(
        tuple(choices_of_defaults(overrides)), None if config_dir is None else os.fspath(config_dir)
    )


@functools.cache
def _compose_defaults(choices: tuple[str, ...], config_dir: str | None) -> DictConfig:
    """Composes defaults once, because a sweep checks all its jobs against them."""
    return _compose(choices, config_dir)


def _open_stages(words: Sequence[str], config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Lets overrides set keys of a known stage that its file does not list; `TrainSettings` checks these keys.

    Arguments:
        words: overrides, and Hydra's options.
        config_dir: a folder of the user with more YAML files.
    """
    if not any(STAGE_OVERRIDE.match(word) for word in words):
        return list(words)
    try:
        stages = _defaults_of(words, config_dir).train.stages or {}
    except (HydraException, OmegaConfBaseException):
        return list(words)  # the error is explained where the whole configuration is composed
    known = [match and match.group(1) in stages for match in map(STAGE_OVERRIDE.match, words)]
    return [f"++{word}" if is_known else word for word, is_known in zip(words, known, strict=True)]


def _group_leaves(cfg: DictConfig, group: str) -> dict[str, Any]:
    if cfg.get(group) is None:
        return {}
    return dict(leaves(plain_group(cfg, group), f"{group}."))


def _check_allowed(cfg: DictConfig, words: Iterable[str]) -> None:
    """Lets `_target_` name what the command line allows; a file that names a class may not allow it itself."""
    allowed = cfg.get("allow_targets")
    if OmegaConf.is_list(allowed):
        allowed = OmegaConf.to_container(allowed)
    if allowed and not any(word.lstrip("+").startswith("allow_targets=") for word in words):
        raise UserError(f"allow_targets={allowed}: a file sets it; only the command line may, so leave it out there")
    trust(allowed)


def _check(cfg: DictConfig, overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None) -> None:
    defaults = _defaults_of(overrides, config_dir)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    _check_complete(own, defaults)
    check_targets(plain(own))
    for group in (*TYPED_GROUPS, "train"):
        known = _known_leaves(defaults, group)
        for path, value in _group_leaves(cfg, group).items():
            if path in known:
                if group in TYPED_GROUPS:
                    _check_type(path, value, known[path])
            elif path.startswith("train.stages."):
                continue  # `TrainSettings` knows the keys of each kind of stage
            elif not any(path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in known):
                # A mapping may replace a null, and a null or a list may replace a mapping.
                raise UserError(f"{path} is not a key of the configuration.{did_you_mean(path, known)}")
    train = plain_group(cfg, "train")
    instantiate(train, "train")
    trainer = cfg.get("trainer")
    check_trainer(plain_group(cfg, "trainer") if isinstance(trainer, DictConfig) else trainer, train)
    check_phases(cfg)
    for name in ("print_config", "cost"):
        check_flag(name, cfg[name])


def _check_complete(cfg: DictConfig, defaults: DictConfig) -> None:
    """Rejects a key without a value: one that only the user can give, and one that `~KEY` has taken out.

    Arguments:
        cfg: the configuration of a run, without Hydra's own.
        defaults: of the same options.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"{missing[0]}: has no value; give it with {missing[0]}=VALUE")
    for key in map(str, cfg):
        if key not in defaults:
            raise UserError(f"{key} is not a key of the configuration.{did_you_mean(key, map(str, defaults))}")
    for key in map(str, defaults):
        if key not in cfg and key not in OPTIONAL_GROUPS:
            raise UserError(f"{key}: it has been taken out of the configuration; leave out ~{key}")
    for group in COMPLETE_GROUPS:
        if not OmegaConf.is_dict(cfg[group]):
            raise UserError(f"{group}={cfg[group]!r}: must be an option of {group}: {', '.join(options(group))}")
        if cfg[group].get("_target_") != defaults[group].get("_target_"):
            continue  # a class of the user's has keys of its own
        for key in map(str, defaults[group]):
            if key not in cfg[group]:
                raise UserError(f"{group}.{key}: it has been taken out of the configuration; leave out ~{group}.{key}")


def _known_leaves(defaults: DictConfig, group: str) -> dict[str, Any]:
    known = _group_leaves(defaults, group)
    if group != "train":
        return known
    # An experiment may not add a key that no file of the group has.
    listed = OmegaConf.load(CONF / "train/default.yaml")
    return {path: value for path, value in known.items() if path.split(".")[1] in listed}


def _check_type(path: str, value: Any, default: Any) -> None:
    kinds: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), list: (list,)}
    kind = type(default)
    if value is None or kind not in kinds:
        return
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{path}={value!r}: expected {kind.__name__}, as in its default {path}={default!r}")


def _explain(error: BaseException, overrides: Sequence[str], config_dir: str | os.PathLike[str] | None = None) -> str:
    """Returns an error of Hydra as one message that names the closest key or option."""
    if isinstance(error.__cause__, UserError):
        return str(error.__cause__)
    text = str(error)
    if several := re.search(r"Ambiguous value for argument '(.+)'", text):
        word = several.group(1)
        key, _, values = word.partition("=")
        return f"{word}: several values are a sweep, with -m; a list is written {key}=[{values}]"
    if place := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"+{place.group(1)}: {place.group(1)} is a key already; leave out the +"
    if unknown := re.search(r"Could not (?:override|delete from config\.) '([^']+)'(?: does not exist|\.)", text):
        key = unknown.group(1)
        return f"{key} is not a key of the configuration.{did_you_mean(key, _default_keys(overrides, config_dir))}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        known = error.options or options(group, config_dir)  # Hydra lists none for an option in a list
        return f"{group}={name}: no such option, choose from {', '.join(known)}.{did_you_mean(name, known)}"
    if place := re.search(r"full_key: (\S+)", text):
        return f"{place.group(1)}: {text.splitlines()[0]}; correct it, or leave it out"
    return " ".join(f"{text} {error.__cause__ or ''}".split())


def _default_keys(overrides: Sequence[str], config_dir: str | os.PathLike[str] | None) -> list[str]:
    """Returns every key of the chosen options; none if they cannot be composed, as when an option is wrong too."""
    try:
        defaults = OmegaConf.to_container(_defaults_of(overrides, config_dir), resolve=False)
    except (HydraException, OmegaConfBaseException):
        return []
    assert isinstance(defaults, dict)
    return [path for path, _ in leaves(defaults)]
