"""From overrides on a command line to a checked configuration; imports no torch."""

import contextlib
import inspect
import logging
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from partoken.errors import UserError, did_you_mean
from partoken.system.process import prepare_process

__all__ = ["check_config", "check_trainer_keys", "compose", "instantiate", "launch", "log_failed_job", "plain_group"]

log = logging.getLogger(__name__)

CONF = Path(__file__).resolve().parents[1] / "conf"
PRIMARY = "config_partoken"

TYPED_GROUPS = ("data", "model")
"""Groups whose values must have the types of their defaults; `train` names a class that checks its own, and Lightning
checks `trainer`."""

RUN_ARGUMENTS = ("callbacks", "logger", "plugins", "default_root_dir", "enable_checkpointing", "fast_dev_run")
"""Arguments of Lightning's Trainer that the run sets itself."""

OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(3), use_cache=True, replace=True)


def compose(overrides: Sequence[str]) -> DictConfig:
    """Composes the primary config with Hydra overrides and checks it, as `run_partoken.py` does.

    Raises:
        UserError: an unknown key or option of a group, or a value of another type than its default.
    """
    try:
        cfg = _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from None
    _check(cfg, overrides)
    return cfg


def check_config(cfg: DictConfig) -> None:
    """Checks the config of the current Hydra job: every key is known, every value has the type of its default.

    Raises:
        UserError: naming the key, what was found, and the closest known key.
    """
    _check(cfg, HydraConfig.get().overrides.task)


def plain_group(cfg: DictConfig, group: str) -> dict[str, Any]:
    """Returns a group of the config as plain values, interpolations resolved."""
    plain = OmegaConf.to_container(cfg[group], resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def instantiate(node: Mapping[str, Any], group: str, **arguments: Any) -> Any:
    """Creates what `_target_` of a config group names.

    Arguments:
        node: the group, plain.
        group: its name, for messages.
        arguments: added to the group's own.

    Raises:
        UserError: no such target, wrong arguments, or a `UserError` of the target.
    """
    try:
        return hydra.utils.instantiate(dict(node), **arguments, _convert_="all", _recursive_=False)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if unknown := re.search(r"unexpected keyword argument '(\w+)'", str(cause)):
            key = f"{group}.{unknown.group(1)}"
            raise UserError(f"{key} is not a setting of {node['_target_']}: leave it out, with ~{key}") from None
        if isinstance(cause, (TypeError, ImportError)) or "Error locating target" in str(error):
            raise UserError(f"{group}: {str(error).splitlines()[0]} ({cause})") from None
        raise


def check_trainer_keys(keys: Iterable[str]) -> None:
    """Checks that keys are arguments of Lightning's Trainer that a user may set.

    Lightning is imported only if there is a key that `conf/trainer/default.yaml` does not list.

    Raises:
        UserError: naming the key and the closest known one.
    """
    listed = OmegaConf.load(CONF / "trainer/default.yaml") if CONF.is_dir() else {}
    for key in keys:
        if key in RUN_ARGUMENTS:
            raise UserError(f"trainer.{key} is set by the run itself and cannot be given")
        if key not in listed:
            import pytorch_lightning as pl  # seconds

            known = list(inspect.signature(pl.Trainer.__init__).parameters)[1:]
            if key not in known:
                raise UserError(f"trainer.{key} is no argument of Lightning's Trainer.{did_you_mean(key, known)}")


@contextlib.contextmanager
def log_failed_job() -> Iterator[None]:
    """Logs the error of a sweep's job when it happens; Hydra shows the first one only after all jobs are done."""
    try:
        yield
    except Exception as error:
        job = HydraConfig.get()
        if job.mode == RunMode.MULTIRUN:
            log.error("job %s failed: %s", job.job.num, error)
        raise


def launch(main: Callable[[], Any]) -> None:
    """Calls a `@hydra.main` function; a user error ends in one message and exit status 2, without a traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises errors instead of printing them itself
    prepare_process()
    try:
        main()
    except UserError as error:
        message = str(error)
    except InstantiationException:
        raise  # `instantiate` has turned the user's errors into UserErrors
    except (HydraException, OmegaConfBaseException) as error:
        message = _explain(error, [word for word in sys.argv[1:] if not word.startswith("-")])
    except OSError as error:
        if error.filename is None:
            raise
        message = f"{error.filename}: {error.strerror}; a run folder can be chosen with hydra.run.dir=FOLDER"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _compose(overrides: Sequence[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(PRIMARY, list(overrides))
    if not CONF.is_dir():
        raise UserError(f"{CONF} does not exist: run from a clone of the project, installed with `pip install -e .`")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(PRIMARY, list(overrides))


def _group_choices(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that choose an option of a config group."""
    return [word for word in overrides if (CONF / word.lstrip("+").split("=")[0].split("@")[0]).is_dir()]


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _group_leaves(cfg: DictConfig, group: str) -> dict[str, Any]:
    if cfg.get(group) is None:
        return {}
    return dict(_leaves(plain_group(cfg, group), f"{group}."))


def _check(cfg: DictConfig, overrides: Sequence[str]) -> None:
    if cfg.get("trainer") is not None:
        check_trainer_keys(map(str, cfg.trainer))
    defaults = _compose(_group_choices(overrides))
    for group in (*TYPED_GROUPS, "train"):
        known = _known_leaves(defaults, group)
        for path, value in _group_leaves(cfg, group).items():
            if path in known:
                if group in TYPED_GROUPS:
                    _check_type(path, value, known[path])
            elif not any(path.startswith(f"{key}.") for key in known):  # a mapping may replace a null
                raise UserError(f"{path} is not a key of the configuration.{did_you_mean(path, known)}")
    instantiate(plain_group(cfg, "train"), "train")


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


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Returns an error of Hydra as one message that names the closest key or option."""
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key = unknown.group(1)
        defaults = OmegaConf.to_container(_compose(_group_choices(overrides)), resolve=False)
        assert isinstance(defaults, dict)
        known = [path for path, _ in _leaves({str(name): value for name, value in defaults.items()})]
        return f"{key} is not a key of the configuration.{did_you_mean(key, known)}"
    if option := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, name = option.groups()
        options = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
        if options:
            listed = ", ".join(options)
            return f"{group}={name}: no such option, choose from {listed}.{did_you_mean(name, options)}"
    return " ".join(line.strip() for line in [text, str(error.__cause__ or "")] if line.strip())
