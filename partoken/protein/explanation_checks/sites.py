"""Tables of known residues, such as those of active sites; the network never sees them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from partoken.errors import UserError
from partoken.protein.sources.label_table import read_label_table

__all__ = ["EMBEDDED", "KnownSites", "read_sites"]

EMBEDDED = "embedded"
"""Name of the catalytic residues of 26 of the chains that ship; NOTICE names their source."""

_AUTHOR_NUMBER = re.compile(r"-?\d+[A-Za-z]?")


@dataclass(frozen=True)
class KnownSites:
    """The known residues of one chain, as a table gives them."""

    id: str
    names: tuple[str, ...]
    """Author numbers with insertion codes, such as `112A`, or positions counted from 0."""
    by_position: bool
    letters: str = ""
    """One-letter codes of the residues in the order of `names`; empty if the table has none."""

    def find(self, sequence: str, numbers: Sequence[str] | None = None) -> tuple[int, ...]:
        """Finds the residues in a chain.

        Arguments:
            sequence: One-letter codes of the chain's residues.
            numbers: Author number of each residue with its insertion code; None: the chain has none, so author numbers
                count from 1 along the chain.

        Returns:
            Positions counted from 0, ascending, each once.

        Raises:
            UserError: a residue is not in the chain, occurs twice, or has another letter.
        """
        if self.by_position:
            places = {str(position): [position] for position in range(len(sequence))}
        else:
            places = {}
            for position, number in enumerate(numbers or [str(i + 1) for i in range(len(sequence))]):
                places.setdefault(number, []).append(position)
        found = []
        for place, name in enumerate(self.names):
            at = places.get(name, [])
            if len(at) != 1:
                what = "position" if self.by_position else "author number"
                problem = "occurs more than once" if at else "is not in the chain"
                raise UserError(
                    f"sites of {self.id}: the residue with {what} {name} {problem}, which has {len(sequence)} "
                    "residues; a column residues has author numbers, a column positions counts from 0"
                )
            if self.letters and self.letters[place] != sequence[at[0]]:
                raise UserError(
                    f"sites of {self.id}: residue {name} is {self.letters[place]} in the table and {sequence[at[0]]} "
                    "in the chain; check that the numbers count as the table's column says"
                )
            found.append(at[0])
        return tuple(sorted(set(found)))


def read_sites(path: str | os.PathLike[str]) -> Mapping[str, KnownSites]:
    """Reads a table of known residues.

    Arguments:
        path: CSV file with a column `id`, the name of a chain, and a column `residues` with author numbers or
            `positions` with positions counted from 0, separated by spaces, commas or semicolons. A column `letters` may
            have the residues' one-letter codes, which are then checked. `EMBEDDED` is the table that ships, if no file
            has this name.

    Returns:
        The sites by id.

    Raises:
        UserError: the table cannot be read, lacks a column, has an id twice, no residue or one that is not a number, or
            not as many letters as residues.
    """
    if os.fspath(path) == EMBEDDED and not Path(path).exists():
        path = str(resources.files("partoken.protein.embedded") / "catalytic_sites.csv")
    rows = read_label_table(path)
    columns = list(rows[0]) if rows else []
    given = [name for name in ("residues", "positions") if name in columns]
    if "id" not in columns or len(given) != 1:
        raise UserError(
            f"{path}: its columns are {', '.join(columns) or 'none'}; needed are id and either residues (author "
            "numbers) or positions (counted from 0)"
        )
    sites: dict[str, KnownSites] = {}
    for row in rows:
        one = _parse(row, given[0], path)
        if one.id in sites:
            raise UserError(f"{path}: {one.id} has two rows; put its residues into one")
        sites[one.id] = one
    return sites


def _parse(row: Mapping[str, str], column: str, path: str | os.PathLike[str]) -> KnownSites:
    names = tuple(name for name in re.split(r"[\s,;]+", row[column]) if name)
    by_position = column == "positions"
    allowed = str.isdecimal if by_position else _AUTHOR_NUMBER.fullmatch
    if not names or not all(map(allowed, names)):
        example = "0 41 95" if by_position else "42 96 112A"
        raise UserError(f"{path}: {column} of {row['id']} is {row[column]!r}; expected numbers such as {example}")
    letters = re.sub(r"[\s,;]+", "", row.get("letters", ""))
    if letters and len(letters) != len(names):
        raise UserError(f"{path}: {row['id']} has {len(names)} {column} and {len(letters)} letters; give one for each")
    return KnownSites(row["id"], tuple(map(_plain, names)), by_position, letters)


def _plain(name: str) -> str:
    """Removes leading zeros: `007A` becomes `7A`."""
    return re.sub(r"^(-?)0+(?=\d)", r"\1", name).upper()
