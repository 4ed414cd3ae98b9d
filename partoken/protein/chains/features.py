"""Residue features that users bring, such as the embeddings of a protein language model: one row per residue.

Three formats, joined to the chains by id. All values are floating point numbers of one dtype, and all chains have one
width D:

- An NPZ file for n chains with N residues in total: `id`, [n] strings; `offsets`, int64 [n + 1]: chain i has the rows
  `offsets[i]` to `offsets[i + 1]`; `features`, [N, D].
- An NPZ file with one array [L, D] per chain, named by the chain's id: `numpy.savez(path, **{id: array})`.
- A folder with a file `ID.npy` for each chain, [L, D].

The files are mapped into memory for each read, so an NPZ file must not be compressed.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from partoken.errors import UserError
from partoken.system.files import atomic_write
from partoken.system.user_files import open_regular

__all__ = ["ResidueFeatures", "open_features", "write_features"]

_FLAT = ("id", "offsets", "features")
_LOCAL_HEADER = 30
"""Bytes of a zip member's own header, before its name and its extra fields."""


class ResidueFeatures:
    """Features of the residues of n chains, on disk. It holds no open file, so processes that load data can pickle it.

    See also:
        `open_features`, which creates it.

    Arguments:
        path: the NPZ file, or the folder of NPY files.
        ids: n names of chains.
        starts: int64 [n]: the first byte of each chain's values in its file.
        lengths: int64 [n]: number of residues of each chain.
        width: number D of features of a residue.
        dtype: dtype of the values in the file.
    """

    def __init__(
        self,
        path: Path,
        ids: Sequence[str],
        starts: np.ndarray,
        lengths: np.ndarray,
        width: int,
        dtype: np.dtype[Any],
    ) -> None:
        self.path = path
        self.ids = list(ids)
        self.lengths = lengths
        self.width = width
        self.dtype = dtype
        self._rows = {name: row for row, name in enumerate(self.ids)}
        self._starts = starts
        self._is_folder = path.is_dir()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, chain_id: object) -> bool:
        return chain_id in self._rows

    @property
    def fingerprint(self) -> list[Any]:
        """Plain values that change if the file or folder changes: its path, size, and time of the last change."""
        files = [self.path / f"{name}.npy" for name in self.ids] if self._is_folder else [self.path]
        stats = [file.stat() for file in files]
        return [str(self.path.resolve()), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)]

    def length(self, chain_id: str) -> int | None:
        """Returns the number of residues of a chain, or None if the chain has no features."""
        row = self._rows.get(chain_id)
        return None if row is None else int(self.lengths[row])

    def read(self, chain_id: str) -> np.ndarray:
        """Returns a copy of the features of a chain, float32 [L, D].

        Raises:
            KeyError: the chain has no features.
            UserError: a value is not finite.
        """
        return next(self.read_all([chain_id]))

    def read_all(self, chain_ids: Iterable[str]) -> Iterator[np.ndarray]:
        """Yields copies of the features of some chains, float32 [L, D] each, in the order given.

        Raises:
            KeyError: a chain has no features.
            UserError: a value is not finite, or the file is not the one that was opened.
        """
        raw = None if self._is_folder else self._map(self.path)
        for name in chain_ids:
            row = self._rows[name]
            content = self._map(self.path / f"{name}.npy") if raw is None else raw
            start, length = int(self._starts[row]), int(self.lengths[row])
            values = content[start : start + length * self.width * self.dtype.itemsize]
            if len(values) < length * self.width * self.dtype.itemsize:
                raise UserError(_changed(self.path))
            features = np.array(values.view(self.dtype), dtype=np.float32).reshape(length, self.width)
            if not np.isfinite(features).all():
                raise UserError(
                    f"{self.path}: the features of chain {name} hold a value that is not a finite number; "
                    "compute them again, or leave the chain out of the file"
                )
            yield features

    def _map(self, path: Path) -> np.ndarray:
        """Returns the bytes of a file, which are read when they are used."""
        try:
            return np.memmap(path, mode="r")
        except (OSError, ValueError):  # it is gone or empty
            raise UserError(_changed(self.path)) from None


def _changed(path: Path) -> str:
    return f"{path}: it was cut or removed while it was read; leave the residue features alone until the run has ended"


def open_features(path: str | os.PathLike[str]) -> ResidueFeatures:
    """Opens residue features: reads where each chain is, and checks everything but the values.

    Arguments:
        path: an NPZ file or a folder, see the top of this module.

    Raises:
        UserError: the file or folder is missing, has another format, is compressed, or its arrays contradict each
            other.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give an NPZ file, or a folder of files ID.npy")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return _open_flat(path, members) if members.keys() >= set(_FLAT) else _open_by_chain(path, members)
    except UserError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an NPZ file of residue features: {error}") from None


def write_features(
    path: str | os.PathLike[str],
    ids: Sequence[str],
    lengths: Sequence[int] | np.ndarray,
    width: int,
    chunks: Iterable[np.ndarray],
    dtype: str | np.dtype[Any] | type = np.float16,
) -> None:
    """Writes residue features as an NPZ file of flat arrays, with constant memory, completely or not at all.

    Arguments:
        path: the NPZ file; its folder exists, and a file that has the name is replaced.
        ids: n names of chains.
        lengths: number of residues of each chain, [n]; N in total.
        width: number D of features of a residue.
        chunks: arrays [any number, D] that together have the N residues of the chains in their order.
        dtype: dtype of the values in the file.

    Raises:
        ValueError: the chunks do not have N rows of D values together.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "features.npz")
    ...     write_features(file, ["a", "b"], [2, 3], 4, [np.ones((5, 4))])
    ...     features = open_features(file)
    ...     features.width, features.length("b"), features.read("b").shape
    (4, 3, (3, 4))
    """
    kind = np.dtype(dtype).newbyteorder("<")
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    shape = (int(offsets[-1]), width)
    with atomic_write(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in (("id", np.array(ids, dtype=np.str_)), ("offsets", offsets)):
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("features.npy", "w", force_zip64=True) as member:
            header = {"descr": kind.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            written = 0
            for chunk in chunks:
                if chunk.ndim != 2 or chunk.shape[1] != width:
                    raise ValueError(f"a chunk has the shape {chunk.shape}, expected [rows, {width}]")
                written += len(chunk)
                member.write(np.ascontiguousarray(chunk, dtype=kind).tobytes())
        if written != shape[0]:
            raise ValueError(f"the chunks have {written} rows, but the chains have {shape[0]} residues")


class _Array(NamedTuple):
    """An array in a file: its name, and what its header says."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool
    start: int
    """The first byte of the values in the file."""


def _open_flat(path: Path, members: dict[str, zipfile.ZipInfo]) -> ResidueFeatures:
    [array] = _member_arrays(path, {"features": members["features"]})
    _check_arrays(path, [array])
    with np.load(path, allow_pickle=False) as arrays:
        ids = [name.decode() if isinstance(name, bytes) else str(name) for name in arrays["id"]]
        offsets = np.asarray(arrays["offsets"], dtype=np.int64)
    rows, width = array.shape
    covers_all = (
        offsets.shape == (len(ids) + 1,) and offsets[0] == 0 and offsets[-1] == rows and (np.diff(offsets) >= 0).all()
    )
    if not covers_all:
        raise UserError(
            f"{path}: offsets do not divide {rows} residues into {len(ids)} chains; "
            f"expected {len(ids) + 1} numbers from 0 to {rows}, none below the one before"
        )
    [(most_frequent, count)] = Counter(ids).most_common(1) or [("", 0)]
    if count > 1:
        raise UserError(f"{path}: the id {most_frequent} occurs {count} times; give each chain once")
    starts = array.start + offsets[:-1] * width * array.dtype.itemsize
    return ResidueFeatures(path, ids, starts, np.diff(offsets), width, array.dtype)


def _open_by_chain(path: Path, members: dict[str, zipfile.ZipInfo]) -> ResidueFeatures:
    if not members:
        raise UserError(f"{path} holds no array; save one array [residues, width] per chain, named by its id")
    return _of_arrays(path, _member_arrays(path, members))


def _open_folder(path: Path) -> ResidueFeatures:
    files = sorted(path.glob("*.npy"))
    if not files:
        raise UserError(f"{path}: the folder holds no file ID.npy; save the features of each chain with numpy.save")
    return _of_arrays(path, [_file_array(file) for file in files])


def _of_arrays(path: Path, arrays: Sequence[_Array]) -> ResidueFeatures:
    """Creates the features of chains that have an array each."""
    _check_arrays(path, arrays)
    starts, lengths = np.array([(a.start, a.shape[0]) for a in arrays], dtype=np.int64).T
    return ResidueFeatures(path, [a.name for a in arrays], starts, lengths, arrays[0].shape[1], arrays[0].dtype)


def _member_arrays(path: Path, members: dict[str, zipfile.ZipInfo]) -> list[_Array]:
    """Reads where the arrays of an NPZ file are, without their values."""
    arrays = []
    with open(path, "rb") as file:
        for name, info in members.items():
            if info.compress_type != zipfile.ZIP_STORED:
                raise UserError(
                    f"{path} is compressed, so it cannot be mapped into memory; save it with numpy.savez instead of "
                    "numpy.savez_compressed"
                )
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER)
            name_bytes, extra_bytes = (int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
            file.seek(info.header_offset + _LOCAL_HEADER + name_bytes + extra_bytes)
            arrays.append(_read_header(file, name))
    return arrays


def _file_array(path: Path) -> _Array:
    """Reads where the array of an NPY file is, without its values."""
    try:
        with open_regular(path) as file:
            array = _read_header(file, path.stem)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not an NPY file: {error}; save it again with numpy.save") from None
    expected = array.start + int(np.prod(array.shape)) * array.dtype.itemsize
    if path.stat().st_size < expected:
        raise UserError(f"{path} has {path.stat().st_size} bytes, expected {expected}; save it again with numpy.save")
    return array


def _read_header(file: IO[bytes], name: str) -> _Array:
    """Reads the header of an array in the NPY format; raises ValueError if there is none."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return _Array(name, shape, dtype, by_column, file.tell())


def _check_arrays(path: Path, arrays: Sequence[_Array]) -> None:
    """Checks that all arrays are [rows, D] floating point numbers of one width and dtype."""
    first = arrays[0]
    for array in arrays:
        if len(array.shape) != 2 or array.shape[1] == 0:
            raise UserError(f"{path}: {array.name} has the shape {list(array.shape)}, expected [residues, width]")
        if array.dtype.kind != "f":
            raise UserError(f"{path}: {array.name} is {array.dtype}; save it with .astype(numpy.float16) or float32")
        if array.by_column:
            raise UserError(f"{path}: {array.name} is stored by column; save numpy.ascontiguousarray of it")
        if array.shape[1] != first.shape[1] or array.dtype != first.dtype:
            raise UserError(
                f"{path}: {first.name} has {first.shape[1]} {first.dtype} values per residue, but {array.name} has "
                f"{array.shape[1]} {array.dtype} values; give all chains the same"
            )
