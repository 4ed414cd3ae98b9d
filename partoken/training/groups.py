"""The groups of `train.groups`: which parameters they have, and the layers among them. Imports no torch."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from partoken.errors import UserError, check_number, did_you_mean
from partoken.schedule import Plan, ScheduleSettings
from partoken.training.stages import is_under

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DEFAULT", "EXAMPLE", "OWN_SETTINGS", "OWN_WARMUP", "Group", "Part", "check_group", "divide"]

Settings = TypeVar("Settings", bound=ScheduleSettings)

DEFAULT = "default"
"""Name of the parameters that no group matches."""
BASE = "base"
"""Name of the deepest layer of a group: its parameters outside the list of layers."""

OWN_WARMUP = ("warmup_epochs", "warmup_steps", "min_lr")
"""Keys of a group that need a plan of its own."""
OWN_SETTINGS = ("lr", *OWN_WARMUP, "weight_decay", "no_weight_decay")
"""Keys of `train` that a group may set for itself."""
GROUP_KEYS = ("match", *OWN_SETTINGS, "factor", "layer_decay")

EXAMPLE = "{match: network.encoder.*, factor: 0.1}"


@dataclass(frozen=True)
class Group(Generic[Settings]):
    """A group of `train.groups`."""

    name: str
    path: str
    """Its key in the configuration, such as `train.groups.encoder`."""
    match: tuple[str, ...]
    """Patterns of names of parameters, as of files (`network.encoder.*`), or names of parts of the model."""
    settings: Settings
    """Those of its run or stage, with its own values."""
    has_own_rate: bool
    """Whether its peak is its own `lr`; False: it follows that of `train`."""
    layer_decay: float | None = None
    """Factor between the rates of a layer and of the layer above it, above 0, at most 1. None: all layers are alike."""

    def matched(self, pattern: str, names: Sequence[str]) -> list[str]:
        """Returns the parameters that one of its patterns matches."""
        return [name for name in names if fnmatchcase(name, pattern) or is_under(name, [pattern])]

    def layer(self, parameter: str) -> tuple[str, int] | None:
        """Returns the list of layers in which a parameter is, and the number of its layer; None: it is in none.

        The number is the first word of digits between the dots of the name, after what the pattern spells out.

        >>> group = Group("encoder", "train.groups.encoder", ("net2.0.*",), settings=None, has_own_rate=False)
        >>> group.layer("net2.0.layers.11.weight"), group.layer("net2.0.embedding.weight")
        (('net2.0.layers', 11), None)
        """
        pattern = next(pattern for pattern in self.match if self.matched(pattern, [parameter]))
        literal = pattern
        for wildcard in "*?[":
            literal = literal.partition(wildcard)[0]
        words = parameter.split(".")
        first = literal.count(".") + (literal == pattern)
        return next(
            ((".".join(words[:n]), int(words[n])) for n in range(first, len(words)) if words[n].isdecimal()), None
        )


@dataclass(frozen=True)
class Part:
    """The parameters that have one rate: those of no group, of a group, or of a layer of a group."""

    name: str
    """Of the part in tables: `default`, `encoder`, `encoder.3` for layer 3 of it, `encoder.base` below all layers."""
    group: Group[Any] | None
    """None: no group matches the parameters."""
    parameters: Mapping[str, nn.Parameter]
    """By name."""
    share: float = 1.0
    """Its peak as a share of the group's."""

    def among(self, names: Container[str]) -> Part:
        """Returns the part with only the parameters of some names."""
        own = {name: parameter for name, parameter in self.parameters.items() if name in names}
        return replace(self, parameters=own)

    def plan(self, plan: Plan) -> Plan:
        """Returns the plan of the part.

        Arguments:
            plan: of its group.

        Raises:
            UserError: the rate of a layer would begin below the minimum.
        """
        lr = self.share * plan.lr
        if plan.min_lr > lr:
            assert self.group is not None, "only a layer has a share below 1"
            raise UserError(
                f"{self.group.path}.layer_decay={self.group.layer_decay:g}: {self.name} would have the peak {lr:.3g}, "
                f"below {self.group.settings.assignment('min_lr')}; raise layer_decay, or set {self.group.path}.min_lr"
            )
        return replace(plan, lr=lr)


def check_group(path: str, own: Any) -> tuple[str, ...]:
    """Checks what a group sets, without the settings that it shares with `train`, and returns its patterns.

    Arguments:
        path: key of the group.
        own: its values.

    Raises:
        UserError: naming the key, what was found and what is allowed.
    """
    if not isinstance(own, Mapping):
        raise UserError(f"{path}={own!r}: must be a mapping such as {EXAMPLE}")
    for key in own:
        if key not in GROUP_KEYS:
            hint = did_you_mean(str(key), GROUP_KEYS)
            raise UserError(f"{path}.{key} is not a key here; allowed: {', '.join(GROUP_KEYS)}.{hint}")
    match = own.get("match")
    patterns = [match] if isinstance(match, str) else match
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise UserError(f"{path}.match={match!r}: must be a pattern such as network.encoder.*, or a list of patterns")
    check_number(f"{path}.factor", own.get("factor"), above=0, optional=True)
    check_number(f"{path}.layer_decay", own.get("layer_decay"), above=0, maximum=1, optional=True)
    if own.get("factor") is not None and own.get("lr") is not None:
        raise UserError(
            f"{path}.lr={own['lr']} and {path}.factor={own['factor']}: a group has one peak; leave one of them out"
        )
    return tuple(patterns)


def divide(parameters: Mapping[str, nn.Parameter], groups: Sequence[Group[Any]]) -> list[Part]:
    """Divides parameters: first those that no group matches, then those of each group, layer by layer.

    A part without parameters is left out.

    Arguments:
        parameters: that are trained, by their names in the model.
        groups: of the run or the stage.

    Raises:
        UserError: a pattern matches nothing, a parameter is in two groups, or no parameter has the number of a layer.
    """
    names, owner = list(parameters), dict[str, Group[Any]]()
    for group in groups:
        for pattern in group.match:
            matched = group.matched(pattern, names)
            if not matched:
                raise UserError(
                    f"{group.path}.match={pattern}: matches no parameter that is trained.{_hint(pattern, names)}"
                )
            for name in matched:
                if owner.setdefault(name, group) is not group:
                    raise UserError(
                        f"{group.path}.match={pattern}: matches {name}, which {owner[name].path}.match="
                        f"{', '.join(owner[name].match)} matches too; a parameter has one group, so narrow one of them"
                    )
    rest = {name: parameter for name, parameter in parameters.items() if name not in owner}
    parts = [Part(DEFAULT, None, rest)] if rest else []
    for group in groups:
        own = {name: parameter for name, parameter in parameters.items() if owner.get(name) is group}
        parts += [Part(group.name, group, own)] if group.layer_decay is None else _layers(group, own)
    return parts


def _layers(group: Group[Any], parameters: Mapping[str, nn.Parameter]) -> list[Part]:
    """Returns the layers of a group from the deepest to the highest, which has the group's rate.

    The rate of layer i of n is `layer_decay ** (n - i)` of the group's, as in BEiT (https://arxiv.org/abs/2106.08254).
    The layers are the list of modules that has most of the parameters; all parameters outside it are layer 0.
    """
    places = {name: place for name in parameters if (place := group.layer(name)) is not None}
    if not places:
        raise UserError(
            f"{group.path}.layer_decay={group.layer_decay:g}: no parameter that {', '.join(group.match)} matches has "
            f"the number of a layer in its name, such as in {group.name}.layers.0.weight; leave layer_decay out"
        )
    assert group.layer_decay is not None
    sizes: dict[str, int] = {}
    for name, (stem, _) in places.items():
        sizes[stem] = sizes.get(stem, 0) + parameters[name].numel()
    largest = max(sizes, key=lambda stem: sizes[stem])
    numbers = sorted({number for stem, number in places.values() if stem == largest})
    found: dict[int, dict[str, nn.Parameter]] = {}
    for name, parameter in parameters.items():
        stem, number = places.get(name, ("", 0))
        found.setdefault(1 + numbers.index(number) if stem == largest else 0, {})[name] = parameter
    names = [BASE, *map(str, numbers)]
    return [
        Part(f"{group.name}.{names[layer]}", group, found[layer], group.layer_decay ** (len(numbers) - layer))
        for layer in sorted(found)
    ]


def _hint(pattern: str, names: Sequence[str]) -> str:
    """Returns the name that is closest to a pattern, and some parts of the model."""
    parts = list(dict.fromkeys(".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 1)))
    close = did_you_mean(pattern.rstrip(".*"), [*parts, *names])
    return f"{close} Parts: {', '.join([part for part in parts if part.count('.') < 2][:20])}"
