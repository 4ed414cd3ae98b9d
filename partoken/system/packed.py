"""Limits what a packed file may become in memory."""

import zipfile

__all__ = ["check_unpacked_size"]

LARGE = 256 << 20
"""Bytes below which any member of an archive is unpacked."""
RATIO = 50
"""Largest ratio of unpacked to packed bytes above `LARGE`. Coordinates and images reach 2 to 5, texts 10."""


def check_unpacked_size(archive: zipfile.ZipFile) -> None:
    """Rejects an archive with a member that is small on disk and would fill the memory, such as a gigabyte of zeros.

    Arguments:
        archive: opened; an NPZ file is one, and `numpy.load` has it as `zip`.

    Raises:
        ValueError: naming the member and its sizes.
    """
    for member in archive.infolist():
        if member.file_size > max(LARGE, RATIO * member.compress_size):
            size, packed = member.file_size >> 20, max(1, member.compress_size >> 20)
            raise ValueError(
                f"{member.filename} has {packed:,} MB and would unpack to {size:,} MB; save it uncompressed"
            )
