"""Writes BinaryCIF files as the archive does, from the text of mmCIF files."""

import gemmi
import numpy as np

STRINGS = ("group_PDB", "atom_id", "comp_id", "alt_id", "asym_id", "entity_id", "ins_code", "symbol")
COORDINATES = ("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv")


def byte_array(values, kind):
    types = {"i1": 1, "i2": 2, "i4": 3, "u1": 4, "u2": 5, "u4": 6, "f4": 32, "f8": 33}
    return np.asarray(values).astype(f"<{kind}").tobytes(), [{"kind": "ByteArray", "type": types[kind]}]


def packed_integers(values):
    """Packs integers into signed bytes: an integer beyond their range takes several."""
    small = []
    for value in map(int, values):
        while value >= 127:
            small.append(127)
            value -= 127
        while value <= -128:
            small.append(-128)
            value += 128
        small.append(value)
    data, encoding = byte_array(small, "i1")
    packing = {"kind": "IntegerPacking", "byteCount": 1, "isUnsigned": False, "srcSize": len(values)}
    return data, [packing, *encoding]


def delta(values):
    values = np.asarray(values, dtype=np.int64)
    origin = int(values[0])
    data, encoding = packed_integers(np.diff(values, prepend=origin))
    return data, [{"kind": "Delta", "origin": origin, "srcType": 3}, *encoding]


def run_length(values):
    values = np.asarray(values, dtype=np.int64)
    starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
    pairs = np.stack([values[starts], np.diff([*starts, len(values)])], 1).ravel()
    data, encoding = byte_array(pairs, "i4")
    return data, [{"kind": "RunLength", "srcType": 3, "srcSize": len(values)}, *encoding]


def string_array(values):
    different = list(dict.fromkeys(values))
    data, indices = run_length([different.index(value) for value in values])
    offsets, of_offsets = delta(np.cumsum([0, *map(len, different)]))
    kind = {"kind": "StringArray", "dataEncoding": indices, "stringData": "".join(different)}
    return data, [{**kind, "offsetEncoding": of_offsets, "offsets": offsets}]


def float_array(values, numbers):
    """`numbers` is the form of the numbers: f4, f8, or fixed for fixed-point numbers with three decimal places."""
    if numbers != "fixed":
        return byte_array(values, numbers)
    data, encoding = delta(np.rint(np.asarray(values) * 1000))
    return data, [{"kind": "FixedPoint", "factor": 1000, "srcType": 33}, *encoding]


def column(name, cells, numbers):
    mask = None
    missing = [".?".find(cell) + 1 if cell else 0 for cell in cells]
    if any(missing):
        data, encoding = run_length(missing)
        mask = {"data": data, "encoding": encoding}
    present = [
        None if is_missing else gemmi.cif.as_string(cell) for cell, is_missing in zip(cells, missing, strict=True)
    ]
    if name in COORDINATES:
        data, encoding = float_array([float(cell or 0) for cell in present], numbers)
    elif name.endswith(STRINGS):
        data, encoding = string_array([cell or "" for cell in present])
    else:
        data, encoding = delta([int(cell or 0) for cell in present])
    return {"name": name, "data": {"data": data, "encoding": encoding}, "mask": mask}


def binary_document(text, numbers="f8"):
    """Returns the content of a BinaryCIF file, before it is packed, with the atoms of an mmCIF file."""
    block = gemmi.cif.read_string(text).sole_block()
    table = block.find_mmcif_category("_atom_site.")
    names = [tag.removeprefix("_atom_site.") for tag in table.tags]
    cells = zip(*[list(row) for row in table], strict=True)
    columns = [column(name, values, numbers) for name, values in zip(names, cells, strict=True)]
    other = {"name": "_audit", "rowCount": 1, "columns": []}
    atoms = {"name": "_atom_site", "columns": columns, "rowCount": len(table)}
    return {"version": "0.3.0", "encoder": "test", "dataBlocks": [{"header": "TEST", "categories": [other, atoms]}]}


def binary_cif(text, numbers="f8"):
    """Returns a BinaryCIF file with the atoms of an mmCIF file."""
    import msgpack

    return msgpack.packb(binary_document(text, numbers))
