"""Chains from an NPZ file of flat arrays, with a CSV table beside it.

The file holds, for n chains of N residues in all:

- `offsets`, int64 [n + 1]: chain i has the residues offsets[i] to offsets[i + 1].
- `id`, [n] strings.
- `seq`: one-letter amino acids, [N] single characters or [n] strings.
- `coords`, float [N, 4, 3]: N, CA, C, O in angstrom, NaN where missing; or instead, at a quarter of the size,
- `coords_step`, int16 [N, 4, 3]: steps of 0.01 angstrom from one present atom to the next, in the order of the
  array; the first present atom of a chain is its origin and has step 0; a missing atom is -32768 three times.

The table has a column `id` and any others: labels, `split` (train, val, test), `cluster`.
"""

import csv
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone, encode
from partoken.protein.chains.cache import cached
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import MIN_LENGTH, READER_VERSION, UnusableChain, validate
from partoken.system.skipped import Skipped

__all__ = ["open_arrays", "read_arrays", "read_table", "table_of"]

MISSING_STEP = -32768
STEP = 0.01


def read_arrays(
    path: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
) -> Iterator[Backbone | Skipped | Counter[str]]:
    """Reads the chains of an NPZ file one after another; each one's fields are its row in the table.

    Arguments:
        path: the NPZ file.
        table: the CSV file; by default the one of the same name beside it.
        min_length: complete residues that a chain must have at least.
        max_length: residues that it may have at most; None for any number.

    Yields:
        Chains, what is not used, and counts for the report.

    Raises:
        UserError: a file is missing or not of this format, or its arrays contradict each other.
    """
    rows = _rows_by_id(table_of(path, table))
    with _open(path) as arrays:
        ids, offsets = [str(i) for i in arrays["id"]], np.asarray(arrays["offsets"], dtype=np.int64)
        kind = "coords_step" if "coords_step" in arrays else "coords"
        coords, letters = arrays[kind], arrays["seq"]
    _check(path, ids, offsets, coords, letters)
    seen: set[str] = set()
    for row, (name, start, stop) in enumerate(zip(ids, offsets[:-1], offsets[1:], strict=True)):
        if name in seen:
            yield Skipped(name, str(path), "its id is the id of an earlier chain of the file")
            continue
        seen.add(name)
        part = coords[start:stop]
        points = _from_steps(part) if kind == "coords_step" else part
        per_chain = len(letters) == len(ids) and letters.dtype.kind == "U"
        sequence = encode(str(letters[row]) if per_chain else letters[start:stop].astype("S1").tobytes())
        if len(sequence) != len(points):
            raise UserError(f"{path}: chain {name} has {len(points)} residues and a sequence of {len(sequence)}")
        try:
            points, impossible = validate(points, min_length=min_length, max_length=max_length)
        except UnusableChain as reason:
            yield Skipped(name, str(path), str(reason))
            continue
        if impossible:
            yield Counter({"residues with impossible geometry": impossible})
        yield Backbone(name, points, sequence, rows.get(name, {}))
    if rows and seen.isdisjoint(rows):
        raise UserError(f"{table_of(path, table)}: no id of the table is an id of {path} ({ids[0]}, ...)")


def open_arrays(
    path: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    *,
    min_length: int = MIN_LENGTH,
    max_length: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ChainStore:
    """Reads an NPZ file as `read_arrays` does, or opens the cache of an earlier reading.

    Raises:
        UserError: as `read_arrays`, or the cache cannot be written.
    """
    files = [Path(path), Path(table_of(path, table))]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file")
    limits = {"min_length": min_length, "max_length": max_length}
    identity = {
        "source": "arrays",
        "files": [str(file.resolve()) for file in files],
        "reader": READER_VERSION,
        **limits,
    }
    state = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return cached("arrays", identity, state, lambda: read_arrays(path, table, **limits), cache_dir)


def table_of(path: str | os.PathLike[str], table: str | os.PathLike[str] | None = None) -> str:
    """Returns the table's path: as given, or the NPZ file's with the ending of a table."""
    return str(Path(path).with_suffix(".csv") if table is None else table)


def read_table(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Reads a CSV file with a header; a byte order mark, other line ends, tabs and semicolons are understood.

    Raises:
        UserError: the file is missing, empty or no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} is empty; expected a header line and one line a chain, such as id,label")
    delimiter = max(",\t;", key=lines[0].count)
    rows = list(csv.DictReader(lines, delimiter=delimiter, restval="", skipinitialspace=True))
    return [{str(k).strip(): str(v).strip() for k, v in row.items() if k is not None} for row in rows]


def _rows_by_id(table: Any) -> dict[str, dict[str, str]]:
    rows = read_table(table)
    if rows and "id" not in rows[0]:
        raise UserError(f"{table} has no column id; found {', '.join(rows[0])}")
    # Of rows with one id the first counts, as of chains with one id.
    return {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in reversed(rows)}


def _open(path: Any) -> Any:
    try:
        arrays = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an NPZ file: {error}") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise UserError(f"{path} is a single array; expected an NPZ file with offsets, id, seq and coords")
    missing = [k for k in ("offsets", "id", "seq") if k not in arrays]
    missing += [] if "coords" in arrays or "coords_step" in arrays else ["coords (or coords_step)"]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays.files)}")
    return arrays


def _check(path: Any, ids: list[str], offsets: np.ndarray, coords: np.ndarray, letters: np.ndarray) -> None:
    if coords.ndim != 3 or coords.shape[1:] != (4, 3):
        raise UserError(f"{path}: coordinates are {list(coords.shape)}, expected [residues, 4, 3]")
    if (
        offsets.shape != (len(ids) + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(coords)
        or (np.diff(offsets) < 0).any()
    ):
        raise UserError(f"{path}: offsets do not cut {len(coords)} residues into {len(ids)} chains")
    if len(letters) not in (len(ids), len(coords)):
        raise UserError(f"{path}: seq has {len(letters)} entries, expected {len(ids)} strings or {len(coords)} letters")


def _from_steps(steps: np.ndarray) -> np.ndarray:
    """Returns coordinates, float32 [L, 4, 3], from steps, int16 [L, 4, 3]."""
    missing = steps[..., :1] == MISSING_STEP
    moves = np.where(missing, 0, steps).reshape(-1, 3).cumsum(0, dtype=np.int64).reshape(steps.shape)
    return np.where(missing, np.nan, moves * STEP).astype(np.float32)
