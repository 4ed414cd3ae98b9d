"""The content of structure files: opens regular files and members of archives, unpacks them, and bounds their size."""

import codecs
import itertools
import os
import zlib
from collections.abc import Iterator

from partoken.protein.sources.archive import TarMember
from partoken.protein.sources.atoms import UnusableFile
from partoken.protein.sources.binary_cif import is_binary_cif
from partoken.protein.sources.foldcomp_file import as_pdb, is_foldcomp
from partoken.system.user_files import open_regular

__all__ = ["MAX_FILE_MB", "read_content"]

MAX_FILE_MB = 512.0
"""Default of `data.max_file_mb`. The largest entries of the PDB, with 2.4 million atoms, have half of it as mmCIF.
Reading takes 4 times the size of a PDB file in memory, 7 times that of an mmCIF file or of a file of CA atoms alone."""

BLOCK = 1 << 20
"""Bytes that are read and unpacked at once."""
GZIP = b"\x1f\x8b"
OTHER_KINDS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "zstd", b"7z\xbc\xaf": "7z"}
"""Names of packed formats that are not read, by their first bytes."""
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TO_ASCII = bytes(range(128)) + b"?" * 128


def read_content(path: str | os.PathLike[str], max_file_mb: float = MAX_FILE_MB) -> bytes:
    """Returns the content of a structure file, unpacked: the ASCII text of PDB or mmCIF, or BinaryCIF.

    Arguments:
        path: a file, or a member of an archive.
        max_file_mb: largest size of the file, unpacked, in units of 2^20 bytes.

    Raises:
        UnusableFile: it cannot be opened, is too large, or is neither text nor a known binary format.
    """
    limit = int(max_file_mb * (1 << 20))
    content = _joined(_unpacked(_blocks(path, limit)), limit)
    if is_binary_cif(content):
        return content
    if is_foldcomp(content):
        content = as_pdb(content)
    if not content or content.isspace():
        raise UnusableFile("empty file")
    return _as_ascii(content)


def _blocks(path: str | os.PathLike[str], limit: int) -> Iterator[bytes]:
    """Yields the bytes of a file or of a member of an archive, piece by piece."""
    try:
        with open_regular(path.archive if isinstance(path, TarMember) else path) as file:
            left = os.fstat(file.fileno()).st_size
            if isinstance(path, TarMember):
                file.seek(path.start)
                left = path.size
            _check_size(left, limit)
            while block := file.read(min(BLOCK, left)):
                left -= len(block)
                yield block
    except OSError as error:
        raise UnusableFile(f"cannot be opened: {error.strerror or error}") from None


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the bytes of a gzip file of one or more members unpacked, and those of any other file as they are."""
    first = next(blocks, b"")
    blocks = itertools.chain([first], blocks)
    if not first.startswith(GZIP):
        yield from blocks
        return
    stream = None
    for block in blocks:
        while block:
            stream = stream or zlib.decompressobj(wbits=31)
            try:
                yield stream.decompress(block, BLOCK)
            except zlib.error as error:
                raise UnusableFile(f"damaged gzip file: {error}") from None
            block = stream.unconsumed_tail
            if stream.eof:
                block, stream = stream.unused_data.lstrip(b"\0"), None
    if stream is not None:
        raise UnusableFile("truncated gzip file")


def _joined(blocks: Iterator[bytes], limit: int) -> bytes:
    """Joins the blocks of a file, and refuses it as soon as it is too large or cannot be a structure."""
    parts, size = [], 0
    for block in blocks:
        if size == 0:
            _check_kind(block)
        size += len(block)
        _check_size(size, limit)
        parts.append(block)
    return b"".join(parts)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        shown = f"{limit / (1 << 20):.3f}".rstrip("0").rstrip(".")
        raise UnusableFile(f"larger than data.max_file_mb={shown} (--max-file-mb of partoken predict)")


def _check_kind(start: bytes) -> None:
    """Refuses what is neither text nor a binary format that is read, by the first bytes of an unpacked file."""
    for magic, kind in OTHER_KINDS.items():
        if start.startswith(magic):
            raise UnusableFile(f"a {kind} file: unpack it, or pack it with gzip")
    if start[257:262] == b"ustar":
        raise UnusableFile("a tar archive: its name must end in .tar, and it must not be packed")
    is_known = is_binary_cif(start) or is_foldcomp(start) or start.startswith(UTF16)
    if not is_known and b"\0" in start[:65536]:
        raise UnusableFile("binary content, neither PDB nor mmCIF text")


def _as_ascii(content: bytes) -> bytes:
    """Removes a byte order mark and writes other characters as ?: names of chains and atoms are ASCII."""
    if content.startswith(UTF16):
        content = content.decode("utf-16", "replace").encode("ascii", "replace")
    content = content.removeprefix(codecs.BOM_UTF8)
    return content if content.isascii() else content.translate(TO_ASCII)
