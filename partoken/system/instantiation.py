"""Creates what a part of the configuration names in its `_target_`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from partoken.errors import UserError, did_you_mean
from partoken.system.annotations import check_annotations
from partoken.system.targets import find_target

__all__ = ["check_arguments", "instantiate"]


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
    check_arguments(kind, own, target, group)
    if group == "data":
        check_annotations(kind, own, group)
    return kind(**own)


def check_arguments(kind: Callable[..., Any], own: Mapping[str, Any], target: str, group: str) -> None:
    """Rejects arguments that a class or a function does not take, and those that it lacks.

    Arguments:
        kind: the class or the function.
        own: the arguments, by name.
        target: what the message calls it.
        group: of the configuration that the arguments come from.

    Raises:
        UserError: naming the key.
    """
    known = inspect.signature(kind).parameters
    takes_any = any(item.kind is item.VAR_KEYWORD for item in known.values())
    for key in own:
        if key not in known and not takes_any:
            hint = did_you_mean(key, known)
            raise UserError(f"{group}.{key} is not a setting of {target}: leave it out, with ~{group}.{key}.{hint}")
    for key, item in known.items():
        is_needed = item.default is item.empty and item.kind not in (item.VAR_KEYWORD, item.VAR_POSITIONAL)
        if is_needed and key not in own:
            raise UserError(f"{group}.{key}: has no value, and {target} needs one; give it with {group}.{key}=VALUE")
