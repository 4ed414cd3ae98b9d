"""Reads the backbone atoms of a PDB file. Many lines are read at once, and other atoms are never converted.

The columns are those of the PDB format 3.3 (https://www.wwpdb.org/documentation/file-format), with what simulation
programs put between them: segment identifiers, residue names of four letters, chain names of two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from partoken.protein.sources.amino_acids import amino_acid
from partoken.protein.sources.atoms import SLOTS, Atoms, UnusableFile, number_runs
from partoken.protein.sources.fixed_width import decimals, integers
from partoken.protein.sources.pdb_names import read_names, segments

__all__ = ["is_pdb", "read_pdb"]

WIDTH = 80
"""Columns of a line that are read."""
END_OF_COORDINATES = 54
"""Columns that an atom line must have."""
CHUNK = 1 << 25
"""Bytes that are read at once."""

_ATOM, _HETA = (int.from_bytes(word, "little") for word in (b"ATOM", b"HETA"))
_TER = int.from_bytes(b"TER", "little")

_BLANK = np.uint8(ord(" "))

_PHOSPHORUS = len(SLOTS)
_NAMES = {
    int.from_bytes(text.encode(), "little"): slot
    for name, slot in (SLOTS | {"P": _PHOSPHORUS}).items()
    for text in {name.ljust(4), f" {name}".ljust(4), f"  {name}".ljust(4), name.rjust(4)}
}
"""Place of an atom by the four characters of its name; programs differ in the blanks around it.
Phosphorus shows that a chain is a nucleic acid."""
_NAME_CODES = np.array(sorted(_NAMES), dtype=np.uint32)
_NAME_SLOTS = np.array([_NAMES[code] for code in sorted(_NAMES)])


@dataclass(frozen=True)
class _Lines:
    """Some of the n lines of backbone atoms in a file."""

    text: np.ndarray
    """uint8 [n, WIDTH], blank after the end of a line."""
    slot: np.ndarray
    """int [n]."""
    is_hetero: np.ndarray
    """bool [n]."""
    run: np.ndarray
    """int [n]: number of TER lines before the line."""
    num_ter: int
    """Number of TER lines in this part of the file."""
    chains: np.ndarray
    """Columns 21 and 22 of the ATOM lines of backbone atoms and phosphorus, distinct, uint16."""


def is_pdb(content: bytes) -> bool:
    """Says whether a text has atom lines of the PDB format."""
    return _has_atoms(content, 0, len(content))


def read_pdb(content: bytes) -> Atoms:
    """Reads the backbone atoms of the first model of a PDB file.

    Arguments:
        content: ASCII text with at least one atom line.

    Raises:
        UnusableFile: an atom line is cut off, or has no residue number.
    """
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    model, further = _first_model(content)
    parts, runs = [], 0
    for chunk in _chunks(model):
        part = _lines(chunk, runs)
        runs += part.num_ter
        parts.append(part)
    return _atoms(
        _Lines(
            np.concatenate([part.text for part in parts]),
            np.concatenate([part.slot for part in parts]),
            np.concatenate([part.is_hetero for part in parts]),
            np.concatenate([part.run for part in parts]),
            runs,
            np.unique(np.concatenate([part.chains for part in parts])),
        ),
        further,
    )


def _first_model(content: bytes) -> tuple[bytes, int]:
    """Returns the lines of the first model, and how many models follow; MODEL, ENDMDL and END separate models."""
    limits = sorted([0, *_starts(content, b"\nEND"), *_starts(content, b"\nMODEL"), len(content)])
    blocks = [(start, end) for start, end in pairwise(limits) if _has_atoms(content, start, end)]
    if len(blocks) < 2:
        return content, 0
    return content[: blocks[0][1]], len(blocks) - 1


def _starts(content: bytes, mark: bytes) -> Iterator[int]:
    """Yields the starts of all lines that begin with a mark; the mark contains the end of the line before."""
    start = content.find(mark)
    while start >= 0:
        yield start + 1
        start = content.find(mark, start + 1)


def _has_atoms(content: bytes, start: int, end: int) -> bool:
    if content.startswith((b"ATOM", b"HETATM"), start, end):
        return True
    return content.find(b"\nATOM", start, end) >= 0 or content.find(b"\nHETATM", start, end) >= 0


def _chunks(content: bytes) -> Iterator[bytes]:
    """Divides a text into parts of about `CHUNK` bytes that end with a whole line."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start + CHUNK)
        end = len(content) if end < 0 else end + 1
        yield content[start:end]
        start = end


def _lines(content: bytes, run: int) -> _Lines:
    """Finds the lines of backbone atoms in a part of a file; `run` is the number of TER lines before it."""
    padded = content + b"\n" * (WIDTH + 1)
    text = np.frombuffer(padded, dtype=np.uint8)
    ends = np.flatnonzero(text[: len(content) + 1] == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    words = np.ndarray((len(padded) - 3,), dtype="<u4", buffer=padded, strides=(1,))
    record = words[starts]
    is_atom, is_hetero, is_ter = record == _ATOM, record == _HETA, (record & 0xFFFFFF) == _TER
    is_coordinate = is_atom | is_hetero
    lengths = ends - starts
    _check_lengths(padded, starts[is_coordinate], lengths[is_coordinate])

    name = words[starts + 12]
    entry = np.searchsorted(_NAME_CODES, name).clip(max=len(_NAME_CODES) - 1)
    slot = np.where(_NAME_CODES[entry] == name, _NAME_SLOTS[entry], -1)
    backbone = np.flatnonzero(is_coordinate & (slot >= 0) & (slot != _PHOSPHORUS))
    windows = np.ndarray((len(padded) - WIDTH + 1,), dtype=f"V{WIDTH}", buffer=padded, strides=(1,))
    rows = windows[starts[backbone]].view(np.uint8).reshape(-1, WIDTH)
    if len(backbone) and (lengths[backbone].min() < WIDTH or b"\r" in content):
        within = np.arange(WIDTH) < lengths[backbone, None]
        rows = np.where(within & (rows >= _BLANK), rows, _BLANK)
    halves = np.ndarray((len(padded) - 1,), dtype="<u2", buffer=padded, strides=(1,))
    runs = run + np.cumsum(is_ter)
    return _Lines(
        rows,
        slot[backbone],
        is_hetero[backbone],
        runs[backbone],
        int(is_ter.sum()),
        number_runs(halves[starts[is_atom & (slot >= 0)] + 20])[1],
    )


def _check_lengths(content: bytes, starts: np.ndarray, lengths: np.ndarray) -> None:
    """Raises `UnusableFile` if an atom line ends before its coordinates do."""
    short = np.flatnonzero(lengths < END_OF_COORDINATES)
    if len(short):
        start, length = starts[short[0]], lengths[short[0]]
        line = content[start : start + length].decode("ascii", "replace").strip()
        raise UnusableFile(f"not readable as PDB: an atom line ends before its coordinates: {line}")


def _atoms(lines: _Lines, further: int) -> Atoms:
    """Converts the columns of n atom lines."""
    text = lines.text
    number, is_number = integers(text[:, 22:26].T)
    if not is_number.all():
        line = text[np.argmin(is_number)].tobytes().decode("latin-1")[:END_OF_COORDINATES]
        raise UnusableFile(f"not readable as PDB: an atom line without a residue number: {line}")
    names = read_names(text[:, 17:22], number)
    altloc, icode = (np.where(text[:, column] == _BLANK, 0, text[:, column]).astype(np.int64) for column in (16, 26))
    known = [amino_acid(name) for name in names.residue_names]
    is_modified = np.array([one is not None and one.is_modified for one in known], dtype=bool)
    is_closed = lines.run < lines.num_ter
    return Atoms(
        slot=lines.slot,
        points=decimals(np.moveaxis(text[:, 30:54].reshape(-1, 3, 8), 2, 0)),
        residue=names.residue,
        chain=names.chain,
        segment=segments(text[:, 72:76]),
        run=lines.run,
        number=number,
        icode=icode,
        altloc=altloc,
        occupancy=decimals(text[:, 54:60].T, blank=1.0) if altloc.any() else np.ones(len(text)),
        b_factor=decimals(text[:, 60:66].T),
        is_hetero=lines.is_hetero,
        # TER ends a polymer; but some programs write ligands before it, such as free standard amino acids.
        in_polymer=lines.is_hetero & is_closed & is_modified[names.residue],
        residue_names=names.residue_names,
        chain_names=names.chain_names,
        polymer_names=frozenset(names.chain_name(int(code)) for code in lines.chains),
        further_models=further,
    )
