"""Reads the files that Weights & Biases writes offline."""

import json
import struct

BLOCK = 32768
HEADER = 7
"""Bytes before the first record, and before each piece of a record: checksum, length, kind."""
LAST = (1, 4)
"""Kinds of a piece that ends a record: a whole record, and its last piece."""


def read_run(folder):
    """Returns what an offline run recorded: name, tags, config, summary, history and exit code."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path] = folder.glob("run-*.wandb")
    run = {"config": {}, "summary": {}, "history": [], "exit_code": None}
    for content in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run |= {"name": record.run.display_name, "tags": list(record.run.tags), "project": record.run.project}
            _update(run["config"], record.run.config.update)
        elif kind == "config":
            _update(run["config"], record.config.update)
        elif kind == "summary":
            _update(run["summary"], record.summary.update)
        elif kind == "history":
            row = {}
            _update(row, record.history.item)
            run["history"].append(row)
        elif kind == "exit":
            run["exit_code"] = record.exit.exit_code
    return run


def _records(data):
    position, pieces = HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += HEADER
        pieces += data[position : position + length]
        position += length
        if kind in LAST:
            yield pieces
            pieces = b""


def _update(target, items):
    for item in items:
        keys = [item.key] if item.key else list(item.nested_key)
        place = target
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = json.loads(item.value_json)
