"""Reads the backbone atoms of PDB files. Many lines are read at once, and other atoms are never converted.

The columns are those of the PDB format 3.3 (https://www.wwpdb.org/documentation/file-format), with what simulation
programs put between them: segment identifiers, residue names of four letters, chain names of two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from partoken.protein.sources.amino_acids import amino_acid
from partoken.protein.sources.atoms import SLOTS, Atoms, UnusableFile, number_runs
from partoken.protein.sources.fixed_width import decimals, integers
from partoken.protein.sources.pdb_names import chain_codes, files_of, read_names, segments

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
    """The n lines of backbone atoms in the first model of each file."""

    text: np.ndarray
    """uint8 [n, WIDTH], blank after the end of a line and in place of control characters."""
    file: np.ndarray
    """int [n], ascending."""
    slot: np.ndarray
    """int [n]."""
    is_hetero: np.ndarray
    """bool [n]."""
    run: np.ndarray
    """int [n]: number of TER lines before the line, in all files."""
    runs: np.ndarray
    """int [files]: number of TER lines up to the end of the file."""
    nucleic: np.ndarray
    """The chains of ATOM lines of phosphorus, distinct, see `chain_codes`."""
    further_models: list[int]
    """For each file, the number of models after the first."""


def is_pdb(content: bytes) -> bool:
    """Says whether a text has atom lines of the PDB format."""
    return content.startswith((b"ATOM", b"HETATM")) or b"\nATOM" in content or b"\nHETATM" in content


def read_pdb(contents: Sequence[bytes], *, b_factors: bool = True) -> Atoms:
    """Reads the backbone atoms of the first model of each of some PDB files.

    Arguments:
        contents: ASCII text of each, with at least one atom line.
        b_factors: False: the B factors are not needed, and are NaN.

    Raises:
        UnusableFile: an atom line is cut off, or has no residue number.
    """
    texts = [content if b"\n" in content else content.replace(b"\r", b"\n") for content in contents]
    return _atoms(_lines(texts), b_factors)


def _lines(texts: Sequence[bytes]) -> _Lines:
    """Finds the lines of backbone atoms in the first model of each file."""
    texts = [text if text.endswith(b"\n") else text + b"\n" for text in texts]
    padded = b"".join([*texts, b"\n" * WIDTH])
    halves, words, windows = (
        np.ndarray((len(padded) - width + 1,), dtype=kind, buffer=padded, strides=(1,))
        for kind, width in (("<u2", 2), ("<u4", 4), (f"V{WIDTH}", WIDTH))
    )
    ends = _line_ends(np.frombuffer(padded, dtype=np.uint8)[:-WIDTH])
    starts = np.zeros_like(ends)
    np.add(ends[:-1], 1, out=starts[1:])
    first_lines = starts.searchsorted(np.cumsum([0, *map(len, texts)]))
    record = words[starts]
    is_coordinate = (record == _ATOM) | (record == _HETA)
    limits = (((record & 0xFFFFFF) == _END) | (record == _MODE)).nonzero()[0]
    limits = limits[(record[limits] != _MODE) | ((words[starts[limits] + 4] & 0xFF) == ord("L"))]
    hetero = (record == _HETA).nonzero()[0]
    is_of_model = is_coordinate.copy()
    is_of_model[hetero] = halves[starts[hetero] + 4] == _TM  # HETA alone makes no model
    models = [_first_model(is_of_model, limits, *lines) for lines in pairwise(first_lines.tolist())]
    further_models = [further for _, further in models]
    if any(further_models):
        is_first = np.zeros(len(starts), dtype=bool)
        for first, (end, _) in zip(first_lines, models, strict=False):
            is_first[first:end] = True
        starts, ends, record, is_coordinate = (of_line[is_first] for of_line in (starts, ends, record, is_coordinate))
        first_lines = np.concatenate([[0], is_first.cumsum()])[first_lines]

    lengths = ends - starts
    is_atom, is_hetero, is_ter = record == _ATOM, record == _HETA, (record & 0xFFFFFF) == _TER
    _check_lengths(padded, starts, lengths, is_coordinate)
    name = words[starts + 12]
    entry = _NAME_CODES.searchsorted(name)
    slot = np.where(_NAME_CODES[entry] == name, _NAME_SLOTS[entry], -1)
    backbone = (is_coordinate & (slot >= 0) & (slot != _PHOSPHORUS)).nonzero()[0]
    rows = windows[starts[backbone]].view(np.uint8).reshape(-1, WIDTH)
    if len(rows) and rows.min() < _BLANK:  # a line ends, or has a control character
        within = np.arange(WIDTH) < lengths[backbone, None]
        rows = np.where(within & (rows >= _BLANK), rows, _BLANK)
    run = is_ter.cumsum()
    phosphorus = (is_atom & (slot == _PHOSPHORUS)).nonzero()[0]
    file, file_of_phosphorus = (
        np.repeat(np.arange(len(texts)), np.diff(line.searchsorted(first_lines))) for line in (backbone, phosphorus)
    )
    return _Lines(
        rows,
        file,
        slot[backbone],
        is_hetero[backbone],
        run[backbone],
        np.concatenate([[0], run])[first_lines[1:]],
        number_runs(chain_codes(halves[starts[phosphorus] + 20], file_of_phosphorus))[1],
        further_models,
    )


def _line_ends(text: np.ndarray) -> np.ndarray:
    """Returns the positions of the line feeds in ASCII codes, uint8 [n]."""
    is_end = text == ord("\n")
    width = WIDTH + 1
    if len(text) % width == 0 and is_end[WIDTH::width].all() and np.count_nonzero(is_end) * width == len(text):
        return np.arange(WIDTH, len(text), width)  # as the archive writes them; ten times as fast as to look for them
    return is_end.nonzero()[0]


def _first_model(is_coordinate: np.ndarray, limits: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """Finds the models of a file.

    Arguments:
        is_coordinate: which lines are those of an atom, bool [lines].
        limits: numbers of the lines that separate models: MODEL, ENDMDL and END.
        first: number of the first line of the file.
        last: number of the line after its last.

    Returns:
        The number of the line after the first model, and how many models follow the first.
    """
    begin, end = limits.searchsorted([first, last])
    blocks = pairwise([first, *limits[begin:end].tolist(), last])
    ends = [end for start, end in blocks if is_coordinate[start:end].any()]
    return (ends[0], len(ends) - 1) if len(ends) > 1 else (last, 0)


def _check_lengths(content: bytes, starts: np.ndarray, lengths: np.ndarray, is_coordinate: np.ndarray) -> None:
    """Raises `UnusableFile` if an atom line ends before its coordinates do."""
    short = (is_coordinate & (lengths < END_OF_COORDINATES)).nonzero()[0]
    if len(short):
        start, length = starts[short[0]], lengths[short[0]]
        line = content[start : start + length].decode("ascii", "replace").strip()
        raise UnusableFile(f"not readable as PDB: an atom line ends before its coordinates: {line}")


def _atoms(lines: _Lines, b_factors: bool) -> Atoms:
    """Converts the columns of n atom lines."""
    text, file = lines.text, lines.file
    head = _residue_starts(text, file)
    of_residue = np.repeat(np.arange(len(head)), np.diff(head, append=len(text)))
    number, is_number = integers(text[head, 22:26].T)
    if not is_number.all():
        line = text[head[np.argmin(is_number)]].tobytes().decode("latin-1")[:END_OF_COORDINATES]
        raise UnusableFile(f"not readable as PDB: an atom line without a residue number: {line}")
    names = read_names(text[head, 17:22], number, file[head])
    altloc, icode = (
        np.where(letters == _BLANK, 0, letters).astype(np.int64) for letters in (text[:, 16], text[head, 26])
    )
    known = [amino_acid(name) for name in names.residue_names]
    is_modified = np.array([one is not None and one.is_modified for one in known], dtype=bool)
    residue, chain = names.residue[of_residue], names.chain[of_residue]
    polymer_names: list[set[str]] = [set() for _ in lines.further_models]
    for code, of_file in zip(lines.nucleic.tolist(), files_of(lines.nucleic).tolist(), strict=True):
        polymer_names[of_file].add(names.chain_name(code))
    for one in np.bincount(chain[~lines.is_hetero]).nonzero()[0].tolist():
        polymer_names[names.chain_files[one]].add(names.chain_names[one])
    is_closed = lines.run < lines.runs[file]
    occupancy = np.ones(len(text))
    if altloc.any():
        has_conformers = np.bincount(file, altloc)[file] > 0
        occupancy = np.where(has_conformers, decimals(text[:, 54:60].T, blank=1.0), 1.0)
    return Atoms(
        slot=lines.slot,
        points=decimals(text[:, 30:54].T.reshape(3, 8, -1).transpose(1, 0, 2)).T,
        residue=residue,
        chain=chain,
        segment=segments(text[:, 72:76], file),
        run=lines.run,
        number=number[of_residue],
        icode=icode[of_residue],
        altloc=altloc,
        occupancy=occupancy,
        b_factor=decimals(text[:, 60:66].T) if b_factors else np.full(len(text), np.nan),
        is_hetero=lines.is_hetero,
        # TER ends a polymer; but some programs write ligands before it, such as free standard amino acids.
        in_polymer=lines.is_hetero & is_closed & is_modified[residue],
        residue_names=names.residue_names,
        chain_names=names.chain_names,
        chain_files=names.chain_files,
        polymer_names=[frozenset(of_file) for of_file in polymer_names],
        further_models=lines.further_models,
    )


def _residue_starts(text: np.ndarray, file: np.ndarray) -> np.ndarray:
    """Returns the atoms whose residue, columns 18 to 27, is not that of the atom before: positions among n, int.

    Arguments:
        text: the lines, uint8 [n, WIDTH].
        file: number of the file of each, int [n].
    """
    is_new = np.ones(len(text), dtype=bool)
    is_new[1:] = file[1:] != file[:-1]
    for column in (17, 19):  # eight columns from each
        words = np.ascontiguousarray(text[:, column : column + 8]).view("<u8")[:, 0]
        is_new[1:] |= words[1:] != words[:-1]
    return is_new.nonzero()[0]
