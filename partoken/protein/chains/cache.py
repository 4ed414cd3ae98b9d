"""Chains on disk, so that they are read from their sources once.

One file holds the coordinates, float32 [N, 4, 3], the amino acid codes, uint8 [N], an index as JSON and a footer: 49
bytes a residue. It is written beside its final name and renamed when whole, checked against its checksum before it is
used, and mapped into memory for each read.
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
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.store import ChainStore
from partoken.system.files import atomic_write, delete_partial
from partoken.system.locks import file_lock
from partoken.system.skipped import Skipped

__all__ = ["CACHE_VERSION", "cached", "cached_numbers", "default_folder"]

log = logging.getLogger(__name__)

CACHE_VERSION = 1
MAGIC = b"PTCHAINS"
FOOTER = struct.Struct("<8sIIQQ")  # magic, version, checksum of all before, residues, bytes of the index
COORDS_BYTES = 4 * 3 * 4
BLOCK = 1 << 22

Stream = Iterable[Backbone | Skipped | Counter[str]]


def default_folder() -> Path:
    """Returns where caches go unless the user says otherwise: `$XDG_CACHE_HOME/partoken` or `~/.cache/partoken`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partoken"


def cached(
    name: str,
    identity: Mapping[str, Any],
    state: Any,
    chains: Callable[[], Stream],
    folder: str | os.PathLike[str] | None,
) -> ChainStore:
    """Opens the cache of a source, after building it if it is missing, damaged, or not of what the source is now.

    Processes that want the same cache at the same time build it once.

    Arguments:
        name: begins the file's name, for people.
        identity: what is read and how, plain values; another identity is another file.
        state: plain value that changes when the source's content does; the file is then built anew.
        chains: reads the source; also yields counts for the notes.
        folder: where caches are; None takes `default_folder()`.

    Raises:
        UserError: the folder cannot be written.
    """
    key = {"version": CACHE_VERSION, "identity": identity, "state": _digest(state)}
    with _alone(folder, f"{name}-{_digest(identity)[:16]}.chains") as path:
        store = _open(path, key)
        if store is None:
            _build(path, key, chains())
            store = _open(path, key)
            assert store is not None, "a cache just written is not readable"
    return store


def cached_numbers(
    name: str, identity: Any, make: Callable[[], np.ndarray], folder: str | os.PathLike[str] | None
) -> np.ndarray:
    """Returns an array of integers that takes long to make, int64 [n], from its cache if it is there and whole.

    Arguments:
        name: begins the file's name, for people.
        identity: plain value that says what it was made from.
        make: makes it.
        folder: where caches are; None takes `default_folder()`.

    Raises:
        UserError: the folder cannot be written.
    """
    with _alone(folder, f"{name}-{_digest(identity)[:16]}.numbers") as path:
        with contextlib.suppress(OSError):
            raw = path.read_bytes()
            if len(raw) % 8 == 4 and zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], "little"):
                return np.frombuffer(raw[:-4], dtype=np.int64)
        numbers = np.ascontiguousarray(make(), dtype=np.int64)
        with atomic_write(path, "wb") as file:
            file.write(numbers.tobytes() + zlib.crc32(numbers.tobytes()).to_bytes(4, "little"))
    return numbers


@contextlib.contextmanager
def _alone(folder: str | os.PathLike[str] | None, name: str) -> Iterator[Path]:
    """Gives the path of a cache file to one process at a time."""
    folder = default_folder() if folder is None else Path(folder)
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file_lock(f"{path}.lock"):
            delete_partial(path)
            yield path
    except OSError as error:
        raise UserError(f"data.cache_dir={folder} cannot be written: {error}; name another folder") from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _build(path: Path, key: Mapping[str, Any], chains: Stream) -> None:
    ids: list[str] = []
    lengths: list[int] = []
    fields: list[Mapping[str, str]] = []
    skipped: list[Skipped] = []
    notes: Counter[str] = Counter()
    with atomic_write(path, "wb") as file, tempfile.TemporaryFile(dir=path.parent) as codes:
        checksum = _Checksum(file)
        for item in chains:
            if isinstance(item, Counter):
                notes += item
            elif isinstance(item, Skipped):
                skipped.append(item)
            else:
                ids.append(item.id)
                lengths.append(len(item))
                fields.append(item.fields)
                checksum.write(item.coords.tobytes())
                codes.write(item.sequence.tobytes())
        codes.seek(0)
        shutil.copyfileobj(codes, checksum, BLOCK)
        names = list(dict.fromkeys(name for row in fields for name in row))
        index = {
            "key": key,
            "ids": ids,
            "lengths": lengths,
            "columns": {name: [row.get(name, "") for row in fields] for name in names},
            "skipped": [dataclasses.astuple(s) for s in skipped],
            "notes": notes,
        }
        raw = json.dumps(index).encode()
        checksum.write(raw)
        file.write(FOOTER.pack(MAGIC, CACHE_VERSION, checksum.value, sum(lengths), len(raw)))


class _Checksum:
    """Writes through to a file and sums up what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.value = 0

    def write(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)
        self.file.write(data)


def _open(path: Path, key: Mapping[str, Any]) -> ChainStore | None:
    """Returns the chains of a cache file, or None where it is missing, damaged or has another key."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(max(size - FOOTER.size, 0))
            magic, version, checksum, residues, length = FOOTER.unpack(file.read(FOOTER.size))
            if (magic, version) != (MAGIC, CACHE_VERSION):
                raise ValueError("not a cache of this version")
            if size != residues * (COORDS_BYTES + 1) + length + FOOTER.size:
                raise ValueError("its size is wrong")
            file.seek(size - FOOTER.size - length)
            index = json.loads(file.read(length))
            if index["key"] != json.loads(json.dumps(key)):
                log.info("the source of %s changed: it is read again", path)
                return None
            if _checksum_of(file, size - FOOTER.size) != checksum:
                raise ValueError("its checksum is wrong")
    except FileNotFoundError:
        return None
    except (ValueError, struct.error, KeyError, OSError) as error:
        log.warning("the cache %s is damaged (%s): it is built anew", path, error)
        return None
    offsets = np.concatenate([[0], np.cumsum(index["lengths"], dtype=np.int64)]).astype(np.int64)
    skipped = [Skipped(*row) for row in index["skipped"]]
    return ChainStore(index["ids"], offsets, index["columns"], _Mapped(path, residues), skipped, index["notes"])


def _checksum_of(file: IO[bytes], size: int) -> int:
    file.seek(0)
    value = 0
    while size > 0 and (block := file.read(min(BLOCK, size))):
        value = zlib.crc32(block, value)
        size -= len(block)
    return value


class _Mapped:
    """Maps a cache file's arrays into memory, anew at each call: what was read is not held."""

    def __init__(self, path: Path, residues: int) -> None:
        self.path = path
        self.residues = residues

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        if self.residues == 0:
            return np.empty((0, 4, 3), np.float32), np.empty(0, np.uint8)
        raw = np.memmap(self.path, mode="r")
        end = self.residues * COORDS_BYTES
        return raw[:end].view(np.float32).reshape(-1, 4, 3), raw[end : end + self.residues]
