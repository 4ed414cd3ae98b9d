"""How loggers call a run: its name and its tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from partoken.errors import UserError, check_text, did_you_mean

__all__ = ["RunLabel"]

SWEEP_FILE = "sweep.json"
"""A folder with this file is the folder of a sweep."""


@dataclass(frozen=True)
class RunLabel:
    """The name and the tags of a run."""

    name: str
    """Not empty."""
    tags: tuple[str, ...] = ()
    """Words by which a logger can find the run."""

    @classmethod
    def read(cls, group: Mapping[str, Any], folder: Path) -> Self:
        """Creates the label from the `run` group of the configuration.

        Without `run.name` the run has the name of its folder. In a sweep the number of the job follows the name, and
        without `run.name` the name is that of the sweep's folder.

        Arguments:
            group: `name` and `tags`, both optional.
            folder: the run folder.

        Raises:
            UserError: an unknown key, or a value that cannot be used.

        >>> RunLabel.read({"name": None, "tags": ["paper"]}, Path("outputs/first"))
        RunLabel(name='first', tags=('paper',))
        """
        for key in group:
            if key not in ("name", "tags"):
                raise UserError(f"run.{key} is not a key of the configuration.{did_you_mean(key, ['name', 'tags'])}")
        name, tags = group.get("name"), group.get("tags") or []
        check_text("run.name", name, optional=True)
        if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
            raise UserError(f"run.tags={tags!r}: must be a list of texts such as [baseline,paper]")
        folder = folder.absolute()
        sweep = next((parent for parent in folder.parents if (parent / SWEEP_FILE).is_file()), None)
        if sweep is not None:
            return cls(f"{name or sweep.name}/{folder.relative_to(sweep)}", tuple(tags))
        return cls(name or folder.name, tuple(tags))
