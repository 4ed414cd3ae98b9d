"""Names in the columns of a PDB file that programs use in different ways: residue, chain and segment."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from partoken.protein.sources.amino_acids import amino_acid, is_force_field_name
from partoken.protein.sources.atoms import number_names, number_runs

__all__ = ["Names", "chain_codes", "files_of", "read_names", "segments"]

MAX_STRETCH = 3
"""Residues in a row with an unknown name of four letters; longer stretches are a chain with a name of two letters."""

MIN_ATOMS = 5
"""Backbone atoms of a segment, on average over the file."""

_BLANK = ord(" ")
_FILE_BITS = 16


@dataclass(frozen=True)
class Names:
    """The residue and chain names of n atoms."""

    residue: np.ndarray
    """int [n]: position in `residue_names`."""
    chain: np.ndarray
    """int [n]: position in `chain_names`."""
    residue_names: list[str]
    chain_names: list[str]
    chain_files: np.ndarray
    """int [chain names]: the file of each."""
    long_chains: frozenset[int]
    """Codes of chains whose name has two letters, see `chain_codes`."""

    def chain_name(self, code: int) -> str:
        """Returns the chain name of a code of `chain_codes`."""
        return _decode(code & 0xFFFF if code in self.long_chains else code & 0xFF00)


def chain_codes(columns: np.ndarray, file: np.ndarray) -> np.ndarray:
    """Returns numbers for chains, int64 [n]: columns 21 and 22 as a little-endian number, and above them the file.

    Arguments:
        columns: uint16 [n].
        file: number of the file, int [n].
    """
    return columns | (file << _FILE_BITS)


def files_of(codes: np.ndarray) -> np.ndarray:
    """Returns the files of codes of `chain_codes`."""
    return codes >> _FILE_BITS


def read_names(text: np.ndarray, number: np.ndarray, file: np.ndarray) -> Names:
    """Reads residue and chain names.

    Column 21 belongs to the residue name (`LYSH`) or to the chain name (`AA`). All atoms of a file with the same
    columns 21 and 22 have one answer.

    Arguments:
        text: columns 18 to 22 of n atoms, ASCII codes, uint8 [n, 5].
        number: residue numbers, int [n].
        file: number of the file of each atom, int [n].
    """
    residue, chain = text[:, :4].view("<u4")[:, 0], chain_codes(text[:, 3:].view("<u2")[:, 0], file)
    long_chains = frozenset[int]()
    if (text[:, 3] != _BLANK).any():
        pairs = np.unique(chain[text[:, 3] != _BLANK])
        long_chains = frozenset(int(pair) for pair in pairs if not _is_residue_name(int(pair), residue, chain, number))
    is_long = np.isin(chain, list(long_chains)) if long_chains else False
    residue = np.where(is_long, residue & 0xFFFFFF, residue)
    chain = np.where(is_long, chain, chain & ~0xFF)
    residue, distinct_residues = number_runs(residue)
    chain, distinct_chains = number_runs(chain)
    return Names(
        residue,
        chain,
        [_decode(code) for code in distinct_residues.tolist()],
        [_decode(code & 0xFFFF) for code in distinct_chains.tolist()],
        files_of(distinct_chains),
        long_chains,
    )


def _is_residue_name(pair: int, residue: np.ndarray, chain: np.ndarray, number: np.ndarray) -> bool:
    """Says whether column 21 of the atoms with a code of columns 21 and 22 belongs to their residue names.

    It does if all names of four letters are known. It also does if the first three letters are never an amino acid, as
    in `TIP3`, or if the residues sit one by one among those of the chain in column 22 and continue its numbers.

    Arguments:
        pair: the code, see `chain_codes`.
        residue: columns 18 to 21 of n atoms, little-endian numbers [n].
        chain: codes of n atoms, int64 [n].
        number: residue numbers, int [n].
    """
    members = chain == pair
    names = [_decode(int(code)) for code in np.unique(residue[members])]
    if all(is_force_field_name(name) for name in names):
        return True
    if all(amino_acid(name[:3]) is None for name in names):
        return True
    starts = np.flatnonzero(members & ~np.concatenate([[False], members[:-1]]))
    ends = np.flatnonzero(members & ~np.concatenate([members[1:], [False]]))
    return all(_continues(start, end, chain, number) for start, end in zip(starts.tolist(), ends.tolist(), strict=True))


def _continues(start: int, end: int, chain: np.ndarray, number: np.ndarray) -> bool:
    """Says whether the atoms from `start` to `end` are few residues of the chain in column 22 beside them."""
    if len(np.unique(number[start : end + 1])) > MAX_STRETCH:
        return False
    beside = [(start - 1, start), (end, end + 1)]
    return any(
        0 <= before
        and after < len(chain)
        and (chain[before] ^ chain[after]) & ~0xFF == 0
        and number[after] - number[before] == 1
        for before, after in beside
    )


def segments(text: np.ndarray, file: np.ndarray) -> np.ndarray:
    """Numbers the segment identifiers of n atoms, int [n].

    All numbers of a file are 0 if the columns cannot be identifiers, because they change too often: some formats write
    charges there.

    Arguments:
        text: columns 73 to 76, ASCII codes, uint8 [n, 4].
        file: number of the file of each atom, int [n].
    """
    words = text.view("<u4")[:, 0]
    if len(words) == 0 or (words == words[0]).all():
        return np.zeros(len(words), dtype=np.int64)
    words, distinct = number_runs(words)
    codes = number_names(_decode(int(word)) for word in distinct)[0][words]
    changes = (codes[1:] != codes[:-1]) & (file[1:] == file[:-1])
    is_steady = np.bincount(file[1:], changes, file[-1] + 1) * MIN_ATOMS <= np.bincount(file)
    return np.where(is_steady[file], codes, 0)


@lru_cache(maxsize=4096)
def _decode(code: int) -> str:
    """Returns the name in a column, given as a little-endian number."""
    return code.to_bytes(4, "little").replace(b"\0", b" ").decode("latin-1").strip()
