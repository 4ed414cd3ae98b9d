"""Reads the backbone atoms of a PDB file. Many lines are read at once, and other atoms are never converted.

The columns are those of the PDB format 3.3 (https://www.wwpdb.org/documentation/file-format), with what simulation
programs put between them: segment identifiers, residue names of four letters, chain names of two.
"""

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

_ATOM, _HETA, _TM, _TER, _END, _MODE = (
    int.from_bytes(word, "little") for word in (b"ATOM", b"HETA", b"TM", b"TER", b"END", b"MODE")
)

_BLANK = np.uint8(ord(" "))

_PHOSPHORUS = len(SLOTS)
_NAMES = {
    int.from_bytes(text.encode(), "little"): slot
    for name, slot in (SLOTS | {"P": _PHOSPHORUS}).items()
    for text in {name.ljust(4), f" {name}".ljust(4), f"  {name}".ljust(4), name.rjust(4)}
}
"""Place of an atom by the four characters of its name; programs differ in the blanks around it.
Phosphorus shows that a chain is a nucleic acid."""
_NAME_CODES = np.array([*sorted(_NAMES), (1 << 32) - 1], dtype=np.uint32)
"""The last one is no text, but larger than all."""
_NAME_SLOTS = np.array([_NAMES.get(int(code), -1) for code in _NAME_CODES])


@dataclass(frozen=True)
class _Lines:
    """The n lines of backbone atoms in the first model of a file."""

    text: np.ndarray
    """uint8 [n, WIDTH], blank after the end of a line."""
    slot: np.ndarray
    """int [n]."""
    is_hetero: np.ndarray
    """bool [n]."""
    run: np.ndarray
    """int [n]: number of TER lines before the line."""
    num_ter: int
    """Number of TER lines."""
    chains: np.ndarray
    """Columns 21 and 22 of the ATOM lines of backbone atoms and phosphorus, distinct, uint16."""
    further_models: int
    """Number of models after the first."""


def is_pdb(content: bytes) -> bool:
    """Says whether a text has atom lines of the PDB format."""
    return content.startswith((b"ATOM", b"HETATM")) or b"\nATOM" in content or b"\nHETATM" in content


def read_pdb(content: bytes, *, b_factors: bool = True) -> Atoms:
    """Reads the backbone atoms of the first model of a PDB file.

    Arguments:
        content: ASCII text with at least one atom line.
        b_factors: False: the B factors are not needed, and are NaN.

    Raises:
        UnusableFile: an atom line is cut off, or has no residue number.
    """
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    return _atoms(_lines(content), b_factors)


def _lines(content: bytes) -> _Lines:
    """Finds the lines of backbone atoms in the first model."""
    padded = content + b"\n" * (WIDTH + 1)
    halves, words, windows = (
        np.ndarray((len(padded) - width + 1,), dtype=kind, buffer=padded, strides=(1,))
        for kind, width in (("<u2", 2), ("<u4", 4), (f"V{WIDTH}", WIDTH))
    )
    ends = (np.frombuffer(padded, dtype=np.uint8)[: len(content) + 1] == ord("\n")).nonzero()[0]
    starts = np.zeros_like(ends)
    np.add(ends[:-1], 1, out=starts[1:])
    record = words[starts]
    is_coordinate = (record == _ATOM) | (record == _HETA)
    limits = (((record & 0xFFFFFF) == _END) | (record == _MODE)).nonzero()[0]
    limits = limits[(record[limits] != _MODE) | ((words[starts[limits] + 4] & 0xFF) == ord("L"))]
    hetero = (record == _HETA).nonzero()[0]
    is_of_model = is_coordinate.copy()
    is_of_model[hetero] = halves[starts[hetero] + 4] == _TM  # HETA alone makes no model
    end, further = _first_model(is_of_model, limits)
    starts, ends, record, is_coordinate = starts[:end], ends[:end], record[:end], is_coordinate[:end]

    lengths = ends - starts
    is_atom, is_hetero, is_ter = record == _ATOM, record == _HETA, (record & 0xFFFFFF) == _TER
    _check_lengths(padded, starts, lengths, is_coordinate)
    name = words[starts + 12]
    entry = _NAME_CODES.searchsorted(name)
    slot = np.where(_NAME_CODES[entry] == name, _NAME_SLOTS[entry], -1)
    backbone = (is_coordinate & (slot >= 0) & (slot != _PHOSPHORUS)).nonzero()[0]
    rows = windows[starts[backbone]].view(np.uint8).reshape(-1, WIDTH)
    if len(backbone) and (lengths[backbone].min() < WIDTH or b"\r" in content):
        within = np.arange(WIDTH) < lengths[backbone, None]
        rows = np.where(within & (rows >= _BLANK), rows, _BLANK)
    return _Lines(
        rows,
        slot[backbone],
        is_hetero[backbone],
        is_ter.cumsum()[backbone],
        int(is_ter.sum()),
        number_runs(halves[starts[is_atom & (slot >= 0)] + 20])[1],
        further,
    )


def _first_model(is_coordinate: np.ndarray, limits: np.ndarray) -> tuple[int, int]:
    """Finds the models of a file.

    Arguments:
        is_coordinate: which lines are those of an atom, bool [lines].
        limits: numbers of the lines that separate models: MODEL, ENDMDL and END.

    Returns:
        The number of lines before the second model, and how many models follow the first.
    """
    blocks = pairwise([0, *limits.tolist(), len(is_coordinate)])
    ends = [end for start, end in blocks if is_coordinate[start:end].any()]
    return (ends[0], len(ends) - 1) if len(ends) > 1 else (len(is_coordinate), 0)


def _check_lengths(content: bytes, starts: np.ndarray, lengths: np.ndarray, is_coordinate: np.ndarray) -> None:
    """Raises `UnusableFile` if an atom line ends before its coordinates do."""
    short = (is_coordinate & (lengths < END_OF_COORDINATES)).nonzero()[0]
    if len(short):
        start, length = starts[short[0]], lengths[short[0]]
        line = content[start : start + length].decode("ascii", "replace").strip()
        raise UnusableFile(f"not readable as PDB: an atom line ends before its coordinates: {line}")


def _atoms(lines: _Lines, b_factors: bool) -> Atoms:
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
        points=decimals(text[:, 30:54].T.reshape(3, 8, -1).transpose(1, 0, 2)).T,
        residue=names.residue,
        chain=names.chain,
        segment=segments(text[:, 72:76]),
        run=lines.run,
        number=number,
        icode=icode,
        altloc=altloc,
        occupancy=decimals(text[:, 54:60].T, blank=1.0) if altloc.any() else np.ones(len(text)),
        b_factor=decimals(text[:, 60:66].T) if b_factors else np.full(len(text), np.nan),
        is_hetero=lines.is_hetero,
        # TER ends a polymer; but some programs write ligands before it, such as free standard amino acids.
        in_polymer=lines.is_hetero & is_closed & is_modified[names.residue],
        residue_names=names.residue_names,
        chain_names=names.chain_names,
        polymer_names=frozenset(names.chain_name(int(code)) for code in lines.chains),
        further_models=lines.further_models,
    )
