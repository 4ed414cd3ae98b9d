"""One protein chain: backbone coordinates, sequence, name. Imports only NumPy, so that readers start fast."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["AMINO_ACIDS", "ATOMS", "UNKNOWN", "Backbone", "ResidueNames", "decode", "encode"]

ATOMS = ("N", "CA", "C", "O")
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
UNKNOWN = len(AMINO_ACIDS)

_CODES = np.full(256, UNKNOWN, dtype=np.uint8)
_CODES[np.frombuffer(AMINO_ACIDS.encode(), dtype=np.uint8)] = np.arange(UNKNOWN)
_CODES[np.frombuffer(AMINO_ACIDS.lower().encode(), dtype=np.uint8)] = np.arange(UNKNOWN)
_LETTERS = np.frombuffer((AMINO_ACIDS + "X").encode(), dtype=np.uint8)


def encode(letters: str | bytes) -> np.ndarray:
    """Returns the codes of one-letter amino acids.

    Arguments:
        letters: L characters, upper or lower case.

    Returns:
        uint8 [L]: 0 to 19 in alphabetical order of the letters, 20 for every other character.

    >>> encode("ACX").tolist()
    [0, 1, 20]
    """
    raw = letters.encode("latin-1", "replace") if isinstance(letters, str) else letters
    return _CODES[np.frombuffer(raw, dtype=np.uint8)]


def decode(codes: np.ndarray) -> str:
    """Returns the one-letter amino acids of codes, uint8 [L]; an unknown residue is `X`.

    >>> decode(encode("MKT?"))
    'MKTX'
    """
    return _LETTERS[codes].tobytes().decode()


@dataclass(frozen=True, eq=False)
class ResidueNames:
    """How a structure file names the L residues of a chain, and where they are in the file."""

    file: str | os.PathLike[str]
    """The file, or the member of an archive."""
    numbers: list[str]
    """[L]: residue numbers, those of the authors in an mmCIF file; empty if the file has none."""
    insertion_codes: list[str]
    """[L]: a letter after the number; empty for most residues."""
    names: list[str]
    """[L]: names such as ALA."""
    points: np.ndarray
    """float64 [L, 4, 3]: positions of N, CA, C, O as they are in the file, also where they are impossible."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """The backbone of one chain with L residues.

    Raises:
        ValueError: an array has the wrong shape, dtype or length.
    """

    id: str
    """Name, unique within a data set."""
    coords: np.ndarray
    """float32 [L, 4, 3]: N, CA, C, O in angstrom. All three numbers of a missing atom are NaN."""
    sequence: np.ndarray
    """uint8 [L]: amino acid codes, see `encode`."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further facts by name: its file, its chain, the cells of its row in a table."""
    names: ResidueNames | None = None
    """The residues in the chain's structure file; None: it was read from something else, or from a cache."""

    def __post_init__(self) -> None:
        length = len(self.coords)
        if self.coords.shape != (length, 4, 3) or self.coords.dtype != np.float32:
            raise ValueError(
                f"{self.id}: coords are {self.coords.dtype} {self.coords.shape}, expected float32 [L, 4, 3]"
            )
        if self.sequence.shape != (length,) or self.sequence.dtype != np.uint8:
            raise ValueError(
                f"{self.id}: sequence is {self.sequence.dtype} {self.sequence.shape}, expected uint8 [{length}]"
            )

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def letters(self) -> str:
        """The sequence in one-letter code."""
        return decode(self.sequence)
