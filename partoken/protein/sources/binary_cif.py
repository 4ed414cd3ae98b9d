"""Reads the backbone atoms of a BinaryCIF file, the archive's binary form of mmCIF.

References:
    Sehnal et al. 2020, "BinaryCIF and CIFTools: lightweight, efficient and extensible macromolecular data management",
    https://doi.org/10.1371/journal.pcbi.1008247, and the specification https://github.com/molstar/BinaryCIF
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from partoken.protein.sources.atoms import Atoms, UnusableFile
from partoken.protein.sources.binary_table import BinaryTable
from partoken.protein.sources.mmcif import COLUMNS, atoms_of_table
from partoken.system.user_files import printable

__all__ = ["experiment_text", "is_binary_cif", "read_binary_cif"]

ATOMS = "_atom_site"
EXPERIMENT = {"_exptl": ["method"], "_refine": ["ls_d_res_high"], "_em_3d_reconstruction": ["resolution"]}
"""Columns that name an experiment, by table."""
MAX_ITEMS = 1 << 16
"""Largest number of items of a list or mapping in the file; the values of a column are bytes and count as one."""
MAX_ROWS = 1 << 24
"""Largest number of atoms, seven times that of the largest entry of the PDB. A few bytes can claim any number."""


def is_binary_cif(content: bytes) -> bool:
    """Checks that the content of a file, or its start, looks like BinaryCIF: a small mapping with its data blocks."""
    return 0x80 < (content[:1] or b"\0")[0] <= 0x8F and b"dataBlocks" in content[:1000]


def read_binary_cif(content: bytes, *, b_factors: bool = True) -> Atoms:
    """Reads the backbone atoms of the first model of a BinaryCIF file.

    Arguments:
        content: the file, unpacked.
        b_factors: see `read_mmcif`.

    Raises:
        UnusableFile: the file is damaged, lacks a column that is needed, or the package msgpack is missing.
    """
    with _damage_named():
        tables = [table for _, table in _tables(content, {ATOMS: COLUMNS})]
        if not tables:
            raise UnusableFile("no atom records in the BinaryCIF file")
        return atoms_of_table(tables[0], len(tables) - 1, b_factors=b_factors)


def experiment_text(content: bytes) -> bytes:
    """Returns what a BinaryCIF file says of an experiment, as mmCIF text.

    Raises:
        UnusableFile: as for `read_binary_cif`.
    """
    lines = [b""]
    with _damage_named():
        for name, table in _tables(content, EXPERIMENT):
            for column in EXPERIMENT[name]:
                values = " ".join(table.names(column)[1]) if column in table else ""
                lines += [f"{name}.{column} {printable(values)}".encode("ascii", "replace"), b"#"]
    return b"\n".join(lines)


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns every error into the reason why a file is unusable: a damaged file may have any structure."""
    try:
        yield
    except UnusableFile:
        raise
    except ImportError:
        raise UnusableFile("a BinaryCIF file, which needs the package msgpack: pip install msgpack") from None
    except Exception as error:  # NumPy and msgpack raise errors of their own
        reason = printable(str(error))[:200]
        raise UnusableFile(f"damaged BinaryCIF file: {type(error).__name__}: {reason}") from None


def _tables(content: bytes, wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, BinaryTable]]:
    """Yields some tables of each data block, with their names.

    A file of the archive has 70 tables. To step over the others is 20 times as fast as to decode them.

    Arguments:
        content: the file, unpacked.
        wanted: names of the tables, with their columns.
    """
    import msgpack

    reader = msgpack.Unpacker(max_buffer_size=len(content), max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS)
    reader.feed(content)
    for key in _keys(reader):
        if key != "dataBlocks":
            reader.skip()
            continue
        for _ in range(reader.read_array_header()):
            for part in _keys(reader):
                if part == "categories":
                    for _ in range(reader.read_array_header()):
                        yield from _table(reader, wanted)
                else:
                    reader.skip()


def _table(reader: Any, wanted: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, BinaryTable]]:
    """Yields the next table and its name if it is wanted."""
    name, columns, rows = "", [], 0
    for key in _keys(reader):
        if key == "name":
            name = reader.unpack()
        elif key == "rowCount":
            rows = int(reader.unpack())
        elif key == "columns" and name in ("", *wanted):
            columns = reader.unpack()
        else:
            reader.skip()
    if name not in wanted or not columns:
        return
    if not 0 <= rows <= MAX_ROWS:
        raise UnusableFile(f"{rows} rows in a table of the BinaryCIF file, at most {MAX_ROWS} are read")
    yield name, BinaryTable({column["name"]: column for column in columns if column["name"] in wanted[name]}, rows)


def _keys(reader: Any) -> Iterator[str]:
    """Yields the keys of the next mapping; the caller reads or skips each value."""
    for _ in range(reader.read_map_header()):
        yield reader.unpack()
