"""What a `_target_` of a configuration may name: nothing outside an allow-list is imported or called."""

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from partoken.errors import UserError

__all__ = ["check_logging", "check_targets", "find_target", "trust", "trusted"]

ALLOWED = (
    "torch.optim",
    "torch.nn",
    "pytorch_lightning.loggers",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.profilers",
    "partoken",
)
"""Packages whose classes may be named; of partoken also the functions of a `catalog`."""

OF_HYDRA = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra.experimental.callbacks.LogJobReturnCallback",
        "hydra.experimental.callbacks.PickleJobInfoCallback",
    }
)
"""Classes that Hydra itself creates before a run begins."""

LOGGING = re.compile(r"logging\.(handlers\.)?\w+")
"""Handlers and formatters of the standard library."""

_trusted: set[str] = set()


def trust(names: Sequence[str]) -> None:
    """Lets `_target_` name classes and functions of further packages, for the rest of this process.

    Arguments:
        names: packages, modules or single classes: the key `allow_targets`.

    Raises:
        UserError: they are no list of dotted names.
    """
    if not isinstance(names, list | tuple):
        raise UserError(f"allow_targets={names!r}: must be a list of packages of yours, such as [my_package]")
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"allow_targets={list(names)!r}: must be a list of packages of yours, such as [my_package]")
    _trusted.update(names)


def trusted() -> list[str]:
    """Returns what `trust` has been given, for a further process."""
    return sorted(_trusted)


def check_targets(node: Any, path: str = "") -> None:
    """Rejects a `_target_` outside the allow-list, at any depth, before anything of it is imported.

    Arguments:
        node: a part of a configuration, plain.
        path: its key, for the message; "" for all of it.

    Raises:
        UserError: naming the key and the packages that are allowed.

    >>> check_targets({"train": {"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 2}}})
    """
    for key, target in _values(node, path, ("_target_",)):
        if not isinstance(target, str) or "." not in target:
            raise UserError(f"{key}={target!r}: must be the name of a class with its module, such as torch.nn.Linear")
        if target not in OF_HYDRA and not _is_allowed(target):
            raise UserError(_refusal(key, target))


def check_logging(node: Any, path: str) -> None:
    """Rejects a handler or a formatter of `logging.config` that is not one of the standard library.

    Arguments:
        node: Hydra's `job_logging` or `hydra_logging`, plain.
        path: its key, for the message.
    """
    for key, target in _values(node, path, ("class", "()")):
        if not isinstance(target, str) or not (LOGGING.fullmatch(target) or _is_under(target, _trusted)):
            raise UserError(f"{key}={target}: must be a class of logging or logging.handlers; leave it out")


def find_target(target: str, key: str = "_target_") -> Any:
    """Returns what a `_target_` names: a class, a function of a catalog, or something of a trusted package.

    Arguments:
        target: a dotted name.
        key: of the target in the configuration, for the message.

    Raises:
        UserError: it is outside the allow-list.
        ImportError, AttributeError: there is nothing of that name.
    """
    module, _, name = str(target).rpartition(".")
    if not module:
        raise ImportError(f"{target!r} names no module")
    if not _is_allowed(target):
        raise UserError(_refusal(key, target))
    found = getattr(importlib.import_module(module), name)
    if not _is_under(target, _trusted) and not _is_own(found, module):
        raise UserError(_refusal(key, target))
    return found


def _values(node: Any, path: str, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yields the values of keys with one of the names, at any depth, with their full keys."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            key = f"{path}.{name}" if path else str(name)
            if name in names:
                yield key, value
            yield from _values(value, key, names)
    elif isinstance(node, list | tuple):
        for number, item in enumerate(node):
            yield from _values(item, f"{path}[{number}]", names)


def _is_allowed(target: str) -> bool:
    return _is_under(target, ALLOWED) or _is_under(target, _trusted)


def _is_under(target: str, packages: Iterable[str]) -> bool:
    return any(target == package or target.startswith(f"{package}.") for package in packages)


def _is_own(found: Any, module: str) -> bool:
    """Returns whether a module's own package defines what was found in it, and it is a class or of a catalog."""
    is_kind = inspect.isclass(found) or (inspect.isfunction(found) and module.endswith(".catalog"))
    return is_kind and found.__module__.partition(".")[0] == module.partition(".")[0]


def _refusal(key: str, target: str) -> str:
    *packages, last = ALLOWED
    return (
        f"{key}={target}: is not allowed; a configuration may name classes of {', '.join(packages)} and {last}. For "
        f"code of your own, which it would run, add allow_targets=[{target.partition('.')[0]}] to the command line"
    )
