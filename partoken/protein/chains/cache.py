"""Chains cached on disk, so that a source is read once.

A cache file holds the coordinates, float32 [N, 4, 3], the amino acid codes, uint8 [N], an index as JSON, and a footer:
49 bytes per residue. It is written atomically, checked against its checksum when it is opened, and mapped into memory
for each read.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.features import ResidueFeatures, open_features, write_features
from partoken.protein.chains.store import ChainStore
from partoken.system.files import atomic_write, delete_partial
from partoken.system.locks import file_lock
from partoken.system.skipped import Skipped
from partoken.system.user_files import open_regular

__all__ = ["CACHE_VERSION", "cached", "cached_features", "cached_numbers", "default_folder"]

log = logging.getLogger(__name__)

CACHE_VERSION = 1
MAGIC = b"PTCHAINS"
FOOTER = struct.Struct("<8sIIQQ")
"""Magic bytes, version, checksum of everything before the footer, number of residues, bytes of the index."""
COORDS_BYTES = 4 * 3 * 4
BLOCK = 1 << 22

Stream = Iterable[Backbone | Skipped | Counter[str]]


def default_folder() -> Path:
    """Returns the default cache folder: `$XDG_CACHE_HOME/partoken` or `~/.cache/partoken`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partoken"


def cached(
    name: str,
    cache_key: Mapping[str, Any],
    state: Any,
    read_source: Callable[[], Stream],
    folder: str | os.PathLike[str] | None,
) -> ChainStore:
    """Opens the cache of a source, and first builds it if it is missing, damaged or out of date.

    If several processes ask for the same cache at the same time, one of them builds it and the others wait.

    Arguments:
        name: start of the file name, for people.
        cache_key: plain values that identify the source and how it is read; each key has its own file.
        state: plain value that changes when the content of the source changes; the file is then built again.
        read_source: yields the chains, the skipped inputs, and counts for the notes of the store.
        folder: cache folder; None takes `default_folder()`.

    Raises:
        UserError: the folder cannot be written.
    """
    header = {"version": CACHE_VERSION, "identity": cache_key, "state": _digest(state)}
    with _locked_file(folder, f"{name}-{_digest(cache_key)[:16]}.chains") as path:
        store = _open(path, header)
        if store is None:
            _build(path, header, read_source())
            store = _open(path, header)
            assert store is not None, "a cache just written is not readable"
    return store


def cached_numbers(
    name: str,
    cache_key: Any,
    compute: Callable[[], np.ndarray],
    folder: str | os.PathLike[str] | None,
) -> np.ndarray:
    """Returns an array of integers from its cache, and first computes it if the cache is missing or damaged.

    Arguments:
        name: start of the file name, for people.
        cache_key: plain value that identifies the input of the computation.
        compute: returns the numbers, integers [n].
        folder: cache folder; None takes `default_folder()`.

    Returns:
        int64 [n].

    Raises:
        UserError: the folder cannot be written.
    """
    with _locked_file(folder, f"{name}-{_digest(cache_key)[:16]}.numbers") as path:
        with contextlib.suppress(OSError):
            with open_regular(path) as file:
                raw = file.read()
            content, checksum = raw[:-4], raw[-4:]
            if len(raw) % 8 == 4 and zlib.crc32(content) == int.from_bytes(checksum, "little"):
                return np.frombuffer(content, dtype=np.int64)
        numbers = np.ascontiguousarray(compute(), dtype=np.int64)
        content = numbers.tobytes()
        with atomic_write(path, "wb") as file:
            file.write(content + zlib.crc32(content).to_bytes(4, "little"))
    return numbers


def cached_features(
    name: str,
    cache_key: Any,
    ids: Sequence[str],
    lengths: np.ndarray,
    width: int,
    compute: Callable[[], Iterable[np.ndarray]],
    folder: str | os.PathLike[str] | None,
) -> ResidueFeatures:
    """Opens features of residues from their cache, and first computes them if the cache is missing or damaged.

    Arguments:
        name: start of the file name, for people.
        cache_key: plain value that identifies the input of the computation.
        ids: n names of chains.
        lengths: number of residues of each chain, int64 [n].
        width: number D of features of a residue.
        compute: yields the features of the residues in order, float [any number, D].
        folder: cache folder; None takes `default_folder()`.

    Raises:
        UserError: the folder cannot be written.
    """
    with _locked_file(folder, f"{name}-{_digest(cache_key)[:16]}.npz") as path:
        if path.is_file():
            with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
                if archive.testzip() is None:
                    return open_features(path)
            log.warning("the cache %s is damaged: computing it again", path)
        write_features(path, ids, lengths, width, compute(), np.float32)
        return open_features(path)


@contextlib.contextmanager
def _locked_file(folder: str | os.PathLike[str] | None, name: str) -> Iterator[Path]:
    """Yields the path of a cache file while this process alone may use it."""
    folder = default_folder() if folder is None else Path(folder)
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(f"{path}.lock"):
            delete_partial(path)
            yield path
    except OSError as error:
        raise UserError(f"data.cache_dir={folder} cannot be written: {error}; choose another folder") from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _build(path: Path, header: Mapping[str, Any], stream: Stream) -> None:
    """Writes a cache file; the chains pass through memory one at a time."""
    ids: list[str] = []
    lengths: list[int] = []
    fields: list[Mapping[str, str]] = []
    skipped: list[Skipped] = []
    notes: Counter[str] = Counter()
    with atomic_write(path, "wb") as file, tempfile.TemporaryFile(dir=path.parent) as codes:
        output = _ChecksumWriter(file)
        for item in stream:
            if isinstance(item, Counter):
                notes += item
            elif isinstance(item, Skipped):
                skipped.append(item)
            else:
                ids.append(item.id)
                lengths.append(len(item))
                fields.append(item.fields)
                output.write(item.coords.tobytes())
                codes.write(item.sequence.tobytes())
        codes.seek(0)
        shutil.copyfileobj(codes, output, BLOCK)
        names = list(dict.fromkeys(name for row in fields for name in row))
        index = {
            "key": header,
            "ids": ids,
            "lengths": lengths,
            "columns": {name: [row.get(name, "") for row in fields] for name in names},
            "skipped": [dataclasses.astuple(s) for s in skipped],
            "notes": notes,
        }
        raw = json.dumps(index).encode()
        output.write(raw)
        file.write(FOOTER.pack(MAGIC, CACHE_VERSION, output.checksum, sum(lengths), len(raw)))


class _ChecksumWriter:
    """Writes to a file and updates a checksum of the written bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.checksum = 0

    def write(self, content: bytes) -> None:
        self.checksum = zlib.crc32(content, self.checksum)
        self.file.write(content)


def _open(path: Path, header: Mapping[str, Any]) -> ChainStore | None:
    """Returns the chains of a cache file, or None if it is missing, damaged or has another header."""
    try:
        with open_regular(path) as file:
            index, residues = _read_index(file, path.stat().st_size)
            if index["key"] != json.loads(json.dumps(header)):
                log.info("the source of the cache %s has changed: reading it again", path)
                return None
            _check_content(file, path.stat().st_size)
            _check_index(index, residues)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, struct.error, KeyError, OSError) as error:
        log.warning("the cache %s is damaged (%s): building it again", path, error)
        return None
    offsets = np.cumsum([0, *index["lengths"]], dtype=np.int64)
    skipped = [Skipped(*row) for row in index["skipped"]]
    arrays = _MappedArrays(path, residues)
    return ChainStore(index["ids"], offsets, index["columns"], arrays, skipped, index["notes"])


def _read_footer(file: IO[bytes], size: int) -> tuple[int, int, int]:
    """Returns checksum, number of residues and bytes of the index; raises ValueError for a wrong version or size."""
    file.seek(max(size - FOOTER.size, 0))
    magic, version, checksum, residues, index_bytes = FOOTER.unpack(file.read(FOOTER.size))
    if (magic, version) != (MAGIC, CACHE_VERSION):
        raise ValueError("not a cache of this version")
    if size != residues * (COORDS_BYTES + 1) + index_bytes + FOOTER.size:
        raise ValueError("wrong size")
    return checksum, residues, index_bytes


def _read_index(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    """Returns the index of a cache file and its number of residues."""
    _, residues, index_bytes = _read_footer(file, size)
    file.seek(size - FOOTER.size - index_bytes)
    return json.loads(file.read(index_bytes)), residues


def _check_index(index: Mapping[str, Any], residues: int) -> None:
    """Raises ValueError if the parts of an index contradict each other; a wrong type raises as Python does."""
    num_chains, lengths = len(index["ids"]), index["lengths"]
    if len(lengths) != num_chains or any(len(column) != num_chains for column in index["columns"].values()):
        raise ValueError("its index lists different numbers of chains")
    if not all(type(length) is int and length >= 0 for length in lengths) or sum(lengths) != residues:
        raise ValueError("its index lists other lengths than it has residues")
    for row in index["skipped"]:
        Skipped(*row)
    Counter(index["notes"]).total()


def _check_content(file: IO[bytes], size: int) -> None:
    """Raises ValueError if the content of a cache file does not match its checksum."""
    expected, _, _ = _read_footer(file, size)
    file.seek(0)
    checksum, left = 0, size - FOOTER.size
    while left > 0 and (block := file.read(min(BLOCK, left))):
        checksum = zlib.crc32(block, checksum)
        left -= len(block)
    if checksum != expected:
        raise ValueError("wrong checksum")


class _MappedArrays:
    """Maps the arrays of a cache file into memory, anew for each call, so that the pages can be freed after it."""

    def __init__(self, path: Path, residues: int) -> None:
        self.path = path
        self.residues = residues
        self._footer = self._read_footer()

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        if self.residues == 0:
            return np.empty((0, 4, 3), np.float32), np.empty(0, np.uint8)
        raw = self._map()
        end = self.residues * COORDS_BYTES
        return raw[:end].view(np.float32).reshape(-1, 4, 3), raw[end : end + self.residues]

    def _map(self) -> np.ndarray:
        """Maps the whole file, uint8 [bytes], and makes sure that it is still the one that was opened."""
        try:
            if self._read_footer() == self._footer:
                return np.memmap(self.path, mode="r")
        except (OSError, ValueError):
            pass  # the file is gone, or empty
        raise UserError(
            f"{self.path} was damaged or replaced while this run read it; start the run again, which builds it anew, "
            "and give runs on other data a data.cache_dir of their own"
        )

    def _read_footer(self) -> tuple[int, bytes]:
        """Returns the size of the file and its last bytes, with the checksum of its content."""
        with open_regular(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - FOOTER.size, 0))
            return size, file.read()
