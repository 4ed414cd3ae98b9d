"""Measures the reading of structure files: files per second on all cores, per second of CPU time, and peak memory.

    python benchmarks/reading.py [--files 2000] [--formats pdb cif pdb.gz cif.gz bcif bcif.gz tar] [--workers N]
                                 [--before FOLDER]

The files are made from the chains that ship with the package, with four atoms of a side chain for each residue, and
gemmi writes them. A tar archive holds files cif.gz, as those of AlphaFold DB do. The cache is empty.

Each measurement is a process of its own. CPU time is that of all its processes, which other programs on the machine
change less than the time on the clock. Peak memory is that of the main process and that of its largest worker.
`--before` names a checkout of another commit, such as one of `git worktree add`, and measures it beside this one.

"read" and "gemmi" compare the reader with the parser gemmi, both in one process and without the cache: files per
second, from the shortest time of several rounds for each group of files. gemmi does nothing with what it has parsed.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.sources.folder import read_folder

FORMATS = ("pdb", "cif", "pdb.gz", "cif.gz", "bcif", "bcif.gz", "tar")
PARSED = ("pdb", "cif", "pdb.gz", "cif.gz")
"""Formats that gemmi reads too."""
SOME, GROUP, ROUNDS = 200, 8, 8
"""Files that are compared with gemmi, as many at a time as a process gets, and how often each is read."""
SIDE_CHAIN = {"CB": (0.5, 1.2, 0.8), "CG": (0.6, 2.6, 1.3), "CD": (1.9, 3.2, 1.8), "CE": (2.0, 4.7, 2.3)}
"""Made atoms in angstrom from CA."""
STRINGS = ("group_PDB", "type_symbol", "atom_id", "alt_id", "comp_id", "asym_id", "entity_id", "ins_code")
NUMBERS = ("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=2000, help="files of each format")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--workers", type=int, help="processes; default: one for each core")
    parser.add_argument("--before", type=Path, help="checkout of a commit to compare with")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    workers = options.workers or len(os.sched_getaffinity(0))
    if options.measure:
        print(json.dumps(measure(Path(options.measure), workers)))
        return
    trees = [tree for tree in (options.before, Path(__file__).parents[1]) if tree]
    print(f"{options.files} files of each format: files/s of {workers} processes; files per second of their CPU time,")
    print("of that of one process alone; peak memory in MB; files per second of the reader and of gemmi")
    print(f"{'format':>8}{'MB':>6}", end="")
    print(f"{'':>8}{f'{workers} processes':>12}{'CPU':>8}{'CPU, 1':>8}{'main':>8}{'worker':>8}{'read':>8}{'gemmi':>8}")
    for kind in options.formats:
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), kind, options.files)
            size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
            for tree in trees:
                is_now = tree != options.before
                parallel, single = (run(folder, number, tree) for number in (workers, 1))
                print(
                    f"{kind:>8}{size:>6.0f}{'now' if is_now else 'before':>8}"
                    f"{parallel['speed']:>12,.0f}{parallel['speed_of_cpu']:>8,.0f}"
                    f"{single['speed_of_cpu']:>8,.0f}"
                    f"{parallel['main']:>8.0f}{parallel['worker']:>8.0f}"
                    + (beside_gemmi(Path(folder)) if is_now and kind in PARSED else ""),
                    flush=True,
                )


def run(folder: str, workers: int, tree: Path) -> dict[str, float]:
    """Measures the package in a checkout in a process of its own; returns files per second and megabytes."""
    command = [sys.executable, __file__, "--measure", folder, "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=tree).stdout)


def measure(folder: Path, workers: int) -> dict[str, float]:
    """Reads a folder into an empty cache."""
    peaks: dict[str, float] = {}
    done = threading.Event()
    thread = threading.Thread(target=watch, args=(peaks, done))
    thread.start()
    with tempfile.TemporaryDirectory() as cache:
        start, cpu = time.perf_counter(), sum(os.times()[:4])
        store = read_folder(folder, min_length=MIN_LENGTH, cache_dir=cache, workers=workers)
        seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu
    assert len(store) and not store.skipped, "a file was not read"
    done.set()
    thread.join()
    speeds = {"speed": len(store) / seconds, "speed_of_cpu": len(store) / cpu}
    return {**speeds, "main": peak_memory("self"), "worker": max(peaks.values(), default=0.0)}


def watch(peaks: dict[str, float], done: threading.Event) -> None:
    """Notes the peak memory of each process that this one has started, in megabytes."""
    while not done.wait(0.05):
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            peaks[pid] = max(peaks.get(pid, 0.0), peak_memory(pid))


def peak_memory(pid: str) -> float:
    """Returns the largest resident memory of a process so far in megabytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def beside_gemmi(folder: Path) -> str:
    """Reads some files with the reader and with gemmi in turn; returns the speeds and their ratio."""
    files = sorted(folder.iterdir())[:SOME]
    groups = [files[start : start + GROUP] for start in range(0, len(files), GROUP)]
    shortest: dict[tuple[str, int], float] = {}
    for _ in range(ROUNDS):
        for name, parse in (("read", read_group), ("gemmi", parse_group)):
            for number, group in enumerate(groups):
                start = time.perf_counter()
                parse(group)
                seconds = time.perf_counter() - start
                shortest[name, number] = min(shortest.get((name, number), seconds), seconds)
    own, other = (len(files) / sum(v for (name, _), v in shortest.items() if name == one) for one in ("read", "gemmi"))
    return f"{own:>8,.0f}{other:>8,.0f}{own / other:>6.2f}"


def read_group(files: list[Path]) -> None:
    from partoken.protein.sources.reading import read_files  # an earlier commit has another function

    assert all(content.chains for content in read_files((file, None) for file in files)), "a file was not read"


def parse_group(files: list[Path]) -> None:
    for file in files:
        gemmi.read_structure(str(file))


def write_files(folder: Path, kind: str, number: int) -> None:
    """Writes files of a format into a folder, or into one archive in it."""
    from data import as_structure  # these import torch, which reading does not need

    from partoken.protein.catalog import embedded

    store = embedded().collection.store
    contents: dict[int, bytes] = {}
    archive = tarfile.open(folder / "all.tar", "w") if kind == "tar" else None
    for i in range(number):
        row = i % len(store)
        if row not in contents:
            contents[row] = content_of(with_side_chains(as_structure(store.read([row])[0])), kind)
        path = folder / f"c{i}.{'cif.gz' if kind == 'tar' else kind}"
        path.write_bytes(contents[row])
        if archive is not None:
            archive.add(path, f"proteome/{path.name}")
            path.unlink()
    if archive is not None:
        archive.close()


def with_side_chains(structure: gemmi.Structure) -> gemmi.Structure:
    """Adds the atoms of `SIDE_CHAIN` to each residue."""
    for residue in structure[0][0]:
        center = next((atom.pos for atom in residue if atom.name == "CA"), None)
        for name, place in SIDE_CHAIN.items() if center is not None else ():
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = name, gemmi.Element("C"), center + gemmi.Position(*place)
            residue.add_atom(atom)
    return structure


def content_of(structure: gemmi.Structure, kind: str) -> bytes:
    """Returns the content of a file."""
    if kind.startswith("pdb"):
        content = structure.make_pdb_string().encode()
    else:
        content = structure.make_mmcif_document().as_string().encode()
        if kind.startswith("bcif"):
            content = as_binary(content)
    return gzip.compress(content, 6) if kind.endswith(("gz", "tar")) else content


def as_binary(text: bytes) -> bytes:
    """Returns the atoms of an mmCIF file as BinaryCIF."""
    import msgpack

    block = gemmi.cif.read_string(text).sole_block()
    names = [tag.removeprefix("_atom_site.") for tag in block.find_mmcif_category("_atom_site.").tags]
    columns = [binary_column(name, list(block.find_values(f"_atom_site.{name}"))) for name in names]
    atoms = {"name": "_atom_site", "columns": columns, "rowCount": len(block.find_values("_atom_site.id"))}
    return msgpack.packb({"version": "0.3.0", "dataBlocks": [{"header": "X", "categories": [atoms]}]})


def binary_column(name: str, cells: list[str]) -> dict[str, Any]:
    """Encodes a column with the simplest encodings."""
    encoding: dict[str, Any]
    if name in NUMBERS:
        data, encoding = np.array(cells, "<f8").tobytes(), {"kind": "ByteArray", "type": 33}
    elif name.endswith(STRINGS):
        distinct = list(dict.fromkeys(cells))
        integers = {"kind": "ByteArray", "type": 3}
        encoding = {"kind": "StringArray", "dataEncoding": [integers], "offsetEncoding": [integers]}
        encoding |= {"stringData": "".join(distinct), "offsets": packed(np.cumsum([0, *map(len, distinct)]))}
        data = packed([distinct.index(cell) for cell in cells])
    else:
        data, encoding = (
            packed([int(cell) if cell not in ".?" else 0 for cell in cells]),
            {"kind": "ByteArray", "type": 3},
        )
    mask = np.array([".?".find(cell) + 1 for cell in cells], dtype=np.uint8)
    given = {"data": mask.tobytes(), "encoding": [{"kind": "ByteArray", "type": 4}]} if mask.any() else None
    return {"name": name, "data": {"data": data, "encoding": [encoding]}, "mask": given}


def packed(values: Any) -> bytes:
    return np.asarray(values, dtype="<i4").tobytes()


if __name__ == "__main__":
    main()
