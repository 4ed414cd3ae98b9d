"""From the command line's overrides to a checked configuration; imports no torch."""

import contextlib
import logging
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["check_config", "compose", "launch", "log_failed_job"]

log = logging.getLogger(__name__)

CONF = Path(__file__).resolve().parents[1] / "conf"
PRIMARY = "config_partoken"
FRACTIONS = ("train.warmup_epochs",)  # whole by default, and may be a fraction
CHECKED_GROUPS = ("data", "model", "train")  # Lightning and the loggers check their own arguments

OmegaConf.register_new_resolver("unique", lambda: secrets.token_hex(3), use_cache=True, replace=True)


def compose(overrides: Sequence[str]) -> DictConfig:
    """Composes the primary config with Hydra overrides and checks it, as `run_partoken.py` does.

    Raises:
        UserError: an unknown key or group option, or a value of another type than the default's.
    """
    try:
        cfg = _compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(error, overrides)) from None
    _check(cfg, overrides)
    return cfg


def check_config(cfg: DictConfig) -> None:
    """Checks the config of the Hydra job under way: every key is known, every value has its default's type.

    Raises:
        UserError: naming the key, what was found, and the nearest known key.
    """
    _check(cfg, HydraConfig.get().overrides.task)


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
    """Calls a `@hydra.main` function; a user's mistake ends in one message and exit status 2, without a traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors on instead of printing them itself
    prepare_process()
    try:
        main()
    except UserError as error:
        message = str(error)
    except InstantiationException:
        raise  # the engine has told the user's mistakes apart from ours
    except (HydraException, OmegaConfBaseException) as error:
        message = _explain(error, [a for a in sys.argv[1:] if not a.startswith("-")])
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


def _groups(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides that choose an option of a config group."""
    return [o for o in overrides if (CONF / o.lstrip("+").split("=")[0].split("@")[0]).is_dir()]


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _plain(cfg: DictConfig, group: str) -> dict[str, Any]:
    node = cfg.get(group)
    return dict(_leaves(OmegaConf.to_container(node, resolve=True), f"{group}.")) if node is not None else {}


def _check(cfg: DictConfig, overrides: Sequence[str]) -> None:
    defaults = _compose(_groups(overrides))
    for group in CHECKED_GROUPS:
        known = _plain(defaults, group)
        if group == "train":  # an overlay may not bring a key that no file of the group has
            known = {k: v for k, v in known.items() if k.split(".")[1] in OmegaConf.load(CONF / "train/default.yaml")}
        for path, value in _plain(cfg, group).items():
            if path not in known:
                if any(path.startswith(f"{k}.") for k in known):
                    continue  # a mapping put where the default is null
                raise UserError(f"{path} is not a key of the configuration.{did_you_mean(path, list(known))}")
            _check_type(path, value, known[path])


def _check_type(path: str, value: Any, default: Any) -> None:
    kinds = {bool: (bool,), int: (int,), float: (int, float), str: (str,), list: (list,)}
    kind = float if path in FRACTIONS else type(default)
    if value is None or kind not in kinds:
        return
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{path}={value!r}: expected {kind.__name__}, as in its default {path}={default!r}")


def _explain(error: BaseException, overrides: Sequence[str]) -> str:
    """Returns Hydra's complaint as one message that names the nearest key or option."""
    text = str(error)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key = unknown.group(1)
        known = [path for path, _ in _leaves(OmegaConf.to_container(_compose(_groups(overrides)), resolve=False))]
        return f"{key} is not a key of the configuration.{did_you_mean(key, known)}"
    if option := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, name = option.groups()
        options = sorted(p.stem for p in (CONF / group).glob("*.yaml"))
        if options:
            return f"{group}={name}: no such option, choose from {', '.join(options)}.{did_you_mean(name, options)}"
    return " ".join(line.strip() for line in [text, str(error.__cause__ or "")] if line.strip())
