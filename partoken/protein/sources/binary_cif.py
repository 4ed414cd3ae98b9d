"""Turns BinaryCIF, the archive's binary form of mmCIF, into the mmCIF text of the same coordinates.

Only the categories that describe chains are written. Every number has the digits of the file, so the chains are those
of the text form.

References:
    Sehnal et al. 2020, "BinaryCIF and CIFTools: lightweight, efficient and extensible macromolecular data management",
    https://doi.org/10.1371/journal.pcbi.1008247, and the specification https://github.com/molstar/BinaryCIF
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from partoken.protein.sources.binary_columns import column_text
from partoken.system.user_files import printable

__all__ = ["TooLarge", "as_mmcif", "is_binary_cif"]

ATOMS = "_atom_site"
COLUMNS = {
    ATOMS: (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
        "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id "
        "auth_atom_id pdbx_PDB_model_num"
    ).split(),
    "_entity": ["id", "type"],
    "_entity_poly": ["entity_id", "type"],
    "_exptl": ["entry_id", "method"],
    "_ma_qa_metric": ["id", "mode", "name", "type"],
    "_struct_asym": ["id", "entity_id"],
}
"""Columns that are written, by category: the atoms, the kinds of molecules, the experiment or the confidence."""
MAX_ITEMS = 65_536
"""Largest number of items of a list or mapping in the file; columns are binary values and count as one."""


def is_binary_cif(content: bytes) -> bool:
    """Checks that the content of a file, or its start, looks like BinaryCIF: a small mapping with its data blocks."""
    return 0x80 < (content[:1] or b"\0")[0] <= 0x8F and b"dataBlocks" in content[:1000]


def as_mmcif(content: bytes, max_bytes: int) -> bytes:
    """Returns the first data block with atoms as mmCIF text.

    Arguments:
        content: a BinaryCIF file, unpacked.
        max_bytes: largest size of the text.

    Raises:
        TooLarge: the text would be larger.
        ValueError: the file is damaged or has no atoms.
    """
    try:
        import msgpack
    except ImportError:
        raise ValueError("a BinaryCIF file, which needs the package msgpack: pip install msgpack") from None
    try:
        for categories in _blocks(msgpack, content):
            if ATOMS in categories:
                loops = (_loop(name, *categories[name], max_bytes) for name in COLUMNS if name in categories)
                return b"data_binary\n" + b"".join(loops)
    except TooLarge:
        raise
    except Exception as error:  # a damaged file may have any structure, and each package raises errors of its own
        reason = printable(str(error))[:200]
        raise ValueError(f"damaged BinaryCIF file: {type(error).__name__}: {reason}") from None
    raise ValueError("no atom records in the BinaryCIF file")


def _blocks(msgpack: Any, content: bytes) -> Iterator[dict[str, tuple[list[Any], int]]]:
    """Yields for each data block the columns and the number of rows of each category in `COLUMNS`.

    An archive file has 70 categories. To step over the others is 20 times as fast as to decode them.
    """
    reader = msgpack.Unpacker(max_buffer_size=len(content), max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS)
    reader.feed(content)
    for key in _keys(reader):
        if key != "dataBlocks":
            reader.skip()
            continue
        for _ in range(reader.read_array_header()):
            categories = {}
            for part in _keys(reader):
                if part == "categories":
                    found = [_category(reader) for _ in range(reader.read_array_header())]
                    categories = {name: (columns, rows) for name, columns, rows in found if columns}
                else:
                    reader.skip()
            yield categories


def _category(reader: Any) -> tuple[str, list[Any], int]:
    """Returns name, columns and number of rows of the next category; without columns if it is not needed."""
    name, columns, rows = "", [], 0
    for key in _keys(reader):
        if key == "name":
            name = reader.unpack()
        elif key == "rowCount":
            rows = int(reader.unpack())
        elif key == "columns" and name in ("", *COLUMNS):
            columns = reader.unpack()
        else:
            reader.skip()
    wanted = COLUMNS.get(name, ())
    return name, [column for column in columns if column["name"] in wanted], rows


def _keys(reader: Any) -> Iterator[str]:
    """Yields the keys of the next mapping; the caller reads or skips each value."""
    for _ in range(reader.read_map_header()):
        yield reader.unpack()


def _loop(name: str, columns: list[Any], rows: int, max_bytes: int) -> bytes:
    """Returns a category as the text of a loop, each value on a line of its own."""
    if rows < 1:
        return b""
    _check_size(2 * rows * len(columns), max_bytes)
    line_end = np.full((rows, 1), ord("\n"), dtype=np.uint8)
    parts, width = [], 0
    for column in columns:
        parts += [column_text(column, rows, max_bytes // rows), line_end]
        width += parts[-2].shape[1] + 1
        _check_size(rows * width, max_bytes)
    head = "".join(f"{name}.{column['name']}\n" for column in columns)
    return b"loop_\n" + head.encode("ascii") + np.concatenate(parts, axis=1).tobytes()


class TooLarge(ValueError):
    """The text is larger than is allowed; `size` is a part of its bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a text of {size} bytes or more")
        self.size = size


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooLarge(size)
