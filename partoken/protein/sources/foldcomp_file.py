"""Turns Foldcomp files, compressed predicted structures, into PDB text with the package `foldcomp`, which is optional.

The package ends the whole process at a damaged file, so it works in a process of its own.

References:
    Kim, Mirdita, Steinegger 2023, "Foldcomp: a library and format for compressing and indexing large protein structure
    sets", https://doi.org/10.1093/bioinformatics/btad153
"""

import importlib.util
import signal
from concurrent.futures.process import BrokenProcessPool

from partoken.protein.sources.atoms import UnusableFile
from partoken.system.parallel import run_apart

__all__ = ["as_pdb", "is_foldcomp"]

MAGIC = b"FCMP"
MAX_SECONDS = 60
"""Seconds after which the process is stopped; a chain of 300 residues takes 3 ms."""


def is_foldcomp(content: bytes) -> bool:
    """Checks that the content of a file, or its start, is that of a Foldcomp file."""
    return content.startswith(MAGIC)


def as_pdb(content: bytes) -> bytes:
    """Returns the PDB text of a Foldcomp file.

    Raises:
        UnusableFile: the package `foldcomp` is missing, or the file is damaged.
    """
    if importlib.util.find_spec("foldcomp") is None:
        raise UnusableFile('a Foldcomp file, which needs the extra foldcomp: pip install "partoken[foldcomp]"')
    try:
        return run_apart(_decompress, content)
    except BrokenProcessPool:
        raise UnusableFile("damaged Foldcomp file") from None


def _decompress(content: bytes) -> bytes:
    import foldcomp

    signal.alarm(MAX_SECONDS)
    try:
        _, text = foldcomp.decompress(content)
    except Exception as error:  # the package has one type for all errors
        raise UnusableFile(f"damaged Foldcomp file: {error}") from None
    finally:
        signal.alarm(0)
    return str(text).encode("ascii", "replace")
