"""Chains from an NPZ file of flat arrays, with a CSV table beside it.

The file holds n chains with N residues in total:

- `offsets`, int64 [n + 1]: chain i has the residues `offsets[i]` to `offsets[i + 1]`.
- `id`, [n] strings.
- `seq`: one-letter amino acids, [N] single characters or [n] strings.
- `coords`, float [N, 4, 3]: N, CA, C, O in angstrom, NaN for a missing atom. Or instead, at a quarter of the size:
- `coords_step`, int16 [N, 4, 3]: steps of 0.01 angstrom from one present atom to the next, in array order. The first
  present atom of a chain is the origin and has step 0; a missing atom is -32768 three times.

The table has a column `id` and any further columns: labels, `split` (train, val, test), `cluster`.
"""

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.chains.cache import cached
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import (
    MIN_LENGTH,
    READER_VERSION,
    UnusableChain,
    validate,
)
from partoken.protein.sources.label_table import read_label_table
from partoken.system.packed import check_unpacked_size
from partoken.system.skipped import Skipped
from partoken.system.user_files import check_regular

__all__ = ["open_arrays", "read_arrays", "table_path"]

MISSING_STEP = -32768
STEP = 0.01
"""Angstrom per step."""

DAMAGE = (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for a file that is damaged, or for an array of Python objects."""

KINDS = {"U": "texts", "S": "bytes", "i": "whole numbers", "u": "counts", "f": "numbers"}


def read_arrays(
    path: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    with_table: bool = True,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
) -> Iterator[Backbone | Skipped | Counter[str]]:
    """Reads the chains of an NPZ file; the fields of a chain are its row in the table.

    Arguments:
        path: the NPZ file.
        table: the CSV file; None takes the file of the same name beside the NPZ file.
        with_table: False does not read the table, and the chains have no fields.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.

    Yields:
        Chains, skipped inputs, and counts for the notes of the store.

    Raises:
        UserError: a file is missing or has another format, or its arrays contradict each other.
    """
    rows = _rows_by_id(table_path(path, table)) if with_table else {}
    with _open(path) as arrays:
        ids = [str(i) for i in np.ravel(_array(path, arrays, "id", "USiu"))]
        offsets = _array(path, arrays, "offsets", "iu").astype(np.int64)
        has_steps = "coords_step" in arrays
        coords = _array(path, arrays, "coords_step", "i") if has_steps else _array(path, arrays, "coords", "fiu")
        letters = _array(path, arrays, "seq", "US")
    _check(path, ids, offsets, coords, letters)
    seen: set[str] = set()
    for i, (name, start, stop) in enumerate(zip(ids, offsets[:-1], offsets[1:], strict=True)):
        if name in seen:
            yield Skipped(name, str(path), "its id is the id of an earlier chain of the file")
            continue
        seen.add(name)
        points = _from_steps(coords[start:stop]) if has_steps else coords[start:stop]
        is_string = len(letters) == len(ids) and letters.dtype.kind == "U"
        letter_bytes = None if is_string else letters[start:stop].astype("S1").tobytes()
        sequence = encode(str(letters[i]) if letter_bytes is None else letter_bytes)
        if len(sequence) != len(points):
            raise UserError(
                f"{path}: chain {name} has {len(points)} residues but a sequence of {len(sequence)} letters"
            )
        try:
            points, impossible = validate(points, min_length=min_length, max_length=max_length)
        except UnusableChain as reason:
            yield Skipped(name, str(path), str(reason))
            continue
        if impossible:
            yield Counter({"residues with impossible geometry": impossible})
        yield Backbone(name, points, sequence, rows.get(name, {}))
    if rows and seen.isdisjoint(rows):
        raise UserError(f"{table_path(path, table)}: no id in this table is an id in {path} ({ids[0]}, ...)")


def open_arrays(
    path: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ChainStore:
    """Reads an NPZ file like `read_arrays`, or opens the cache of an earlier reading.

    Arguments:
        path: the NPZ file.
        table: the CSV file; None takes the file of the same name beside the NPZ file.
        min_length: number of residues with N, CA and C that a chain must have.
        max_length: largest number of residues of a chain; None: no limit.
        cache_dir: cache folder; None takes the user's cache folder.

    Raises:
        UserError: see `read_arrays`; or the cache cannot be written.
    """
    files = [Path(path), Path(table_path(path, table))]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    limits: dict[str, Any] = {"min_length": min_length, "max_length": max_length}
    cache_key = {
        "source": "arrays",
        "files": [str(file.resolve()) for file in files],
        "reader": READER_VERSION,
        **limits,
    }
    state = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return cached("arrays", cache_key, state, lambda: read_arrays(path, table, **limits), cache_dir)


def table_path(path: str | os.PathLike[str], table: str | os.PathLike[str] | None = None) -> str:
    """Returns the path of the table: `table`, or if that is None, the NPZ file's path ending in `.csv`."""
    return str(Path(path).with_suffix(".csv") if table is None else table)


def _rows_by_id(table: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """Returns the rows of a table by their id; the first of several rows with one id counts."""
    rows = read_label_table(table)
    if rows and "id" not in rows[0]:
        raise UserError(f"{table} has no column id; its columns are {', '.join(rows[0])}.{did_you_mean('id', rows[0])}")
    return {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in reversed(rows)}


def _open(path: str | os.PathLike[str]) -> np.lib.npyio.NpzFile:
    """Opens an NPZ file and checks that it has the arrays needed."""
    try:
        check_regular(path)
        arrays = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except DAMAGE as error:
        reason = "it holds objects" if "pickle" in str(error) else str(error)
        raise UserError(f"{path} is not an NPZ file: {reason}") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise UserError(f"{path} is a single array; expected an NPZ file with offsets, id, seq and coords")
    assert arrays.zip is not None, "it is open"
    try:
        check_unpacked_size(arrays.zip)
    except ValueError as error:
        arrays.close()
        raise UserError(f"{path}: {error}") from None
    missing = [k for k in ("offsets", "id", "seq") if k not in arrays]
    if "coords" not in arrays and "coords_step" not in arrays:
        missing.append("coords (or coords_step)")
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files)}")
    return arrays


def _array(path: str | os.PathLike[str], arrays: np.lib.npyio.NpzFile, name: str, kinds: str) -> np.ndarray:
    """Reads an array of an NPZ file.

    Arguments:
        path: the file, for the message.
        arrays: the opened file.
        name: of the array.
        kinds: letters of the NumPy kinds that it may have.

    Raises:
        UserError: it is damaged, holds objects, or numbers where texts belong or the reverse.
    """
    try:
        array: np.ndarray = arrays[name]
    except DAMAGE as error:
        raise UserError(f"{path}: the array {name} is damaged or holds objects ({error}); save it again") from None
    if array.dtype.kind not in kinds:
        listed = ", ".join(KINDS[kind] for kind in kinds)
        raise UserError(f"{path}: the array {name} has the type {array.dtype}, expected {listed}; save it again")
    if array.ndim == 0:
        raise UserError(f"{path}: the array {name} is a single value; expected one for each chain or residue")
    return array


def _check(
    path: str | os.PathLike[str],
    ids: list[str],
    offsets: np.ndarray,
    coords: np.ndarray,
    letters: np.ndarray,
) -> None:
    """Checks that the arrays of a file agree in their shapes."""
    if coords.ndim != 3 or coords.shape[1:] != (4, 3):
        raise UserError(f"{path}: coordinates have the shape {list(coords.shape)}, expected [residues, 4, 3]")
    covers_all = (
        offsets.shape == (len(ids) + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(coords)
        and (np.diff(offsets) >= 0).all()
    )
    if not covers_all:
        raise UserError(
            f"{path}: offsets do not divide {len(coords)} residues into {len(ids)} chains; "
            f"expected {len(ids) + 1} numbers from 0 to {len(coords)}, none below the one before"
        )
    if len(letters) not in (len(ids), len(coords)):
        raise UserError(f"{path}: seq has {len(letters)} entries, expected {len(ids)} strings or {len(coords)} letters")


def _from_steps(steps: np.ndarray) -> np.ndarray:
    """Returns coordinates, float32 [L, 4, 3] in angstrom, from steps, int16 [L, 4, 3]."""
    missing = steps[..., :1] == MISSING_STEP
    moves = np.where(missing, 0, steps).reshape(-1, 3)
    positions = moves.cumsum(0, dtype=np.int64).reshape(steps.shape)
    return np.where(missing, np.nan, positions * STEP).astype(np.float32)
