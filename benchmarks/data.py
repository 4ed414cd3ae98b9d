"""Measures the reading of chains: speed of each format, uncached and cached, and memory at 1,000 and 20,000 chains.

    python benchmarks/data.py [--chains 1000] [--many 20000] [--skip-memory]

The structure files hold the chains that ship with the package. "cold" reads and cleans them into an empty cache, with
all cores. "cached" opens the cache. "batches" reads every chain from the cache once, in batches of 32, in one process.

Memory is measured in a separate process: the largest resident set, and its private part. The rest is mapped from files,
and the system frees it when another process needs memory.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from partoken.protein.catalog import embedded
from partoken.protein.chains.backbone import ATOMS, Backbone
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import MIN_LENGTH
from partoken.protein.dataset.assembly import ChainDataset
from partoken.protein.dataset.batching import BatchSampler
from partoken.protein.sources.arrays import open_arrays
from partoken.protein.sources.folder import read_folder
from partoken.protein.sources.synthetic import Recipe, open_synthetic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chains", type=int, default=1000, help="chains of each format")
    parser.add_argument("--many", type=int, default=20_000, help="chains of the larger memory measurement")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--measure-memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        print(json.dumps(memory(options.measure_memory, Path(options.folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        speed(options.chains, Path(folder))
        if not options.skip_memory:
            print(f"\n{'synthetic chains':>18}{'cache':>10}{'':>8}{'resident':>10}{'private':>10}")
            for number in (1000, options.many):
                command = [sys.executable, __file__, "--measure-memory", str(number), "--folder", folder]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                print_memory(number, json.loads(output))


def print_memory(number: int, measured: dict[str, Any]) -> None:
    """Prints the memory in each phase; `measured` is the result of `memory`."""
    size = f"{measured['bytes'] / 2**20:.0f} MB"
    for phase in ("start", "make", "read"):
        resident, private = measured[phase]
        print(f"{number:>18,}{size:>10}{phase:>8}{resident:>7.0f} MB{private:>7.0f} MB", flush=True)


def speed(number: int, folder: Path) -> None:
    """Prints the chains per second of each format."""
    store = embedded().collection.store
    chains = store.read(np.arange(number) % len(store))
    residues = sum(map(len, chains))
    print(f"{number} chains, {residues:,} residues\n{'format':>18}{'cold':>12}{'cached':>12}{'batches':>12}   chains/s")
    for name, source in sources(chains, folder).items():
        source(folder / "warm" / name)  # loads modules and fills the file cache, as before any second run
        start = time.perf_counter()
        source(folder / "cold" / name)
        cold = time.perf_counter()
        opened = source(folder / "cold" / name)
        cached = time.perf_counter()
        read_all(opened)
        done = time.perf_counter()
        durations = (cold - start, cached - cold, done - cached)
        rates = "".join(f"{len(opened) / seconds:>12,.0f}" for seconds in durations)
        print(f"{name:>18}{rates}", flush=True)


def sources(chains: list[Backbone], folder: Path) -> dict[str, Callable[[Path], ChainStore]]:
    """Writes the chains in each format; returns a function for each that opens them with a cache folder."""
    readers: dict[str, Callable[[Path], ChainStore]] = {}
    for name in ("pdb", "cif", "pdb.gz", "cif.gz"):
        root = folder / name
        root.mkdir()
        for number, chain in enumerate(chains):
            structure = as_structure(chain)
            text = structure.make_pdb_string() if "pdb" in name else structure.make_mmcif_document().as_string()
            raw = gzip.compress(text.encode(), 1) if name.endswith("gz") else text.encode()
            (root / f"c{number}.{name}").write_bytes(raw)
        readers[name] = lambda cache, root=root: read_folder(root, min_length=MIN_LENGTH, cache_dir=cache)
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in chains])])
    letters = np.frombuffer("".join(c.letters for c in chains).encode(), "S1")
    ids = np.array([f"c{n}" for n in range(len(chains))])
    np.savez(
        folder / "chains.npz", coords=np.concatenate([c.coords for c in chains]), offsets=offsets, seq=letters, id=ids
    )
    (folder / "chains.csv").write_text("id,label\n" + "".join(f"{i},x\n" for i in ids))
    readers["npz"] = lambda cache: open_arrays(folder / "chains.npz", cache_dir=cache)
    readers["synthetic"] = lambda cache: open_synthetic(Recipe(num_chains=min(len(chains), 500)), cache)
    return readers


def as_structure(chain: Backbone) -> gemmi.Structure:
    """Returns a structure of one model with one chain."""
    structure, model, part = gemmi.Structure(), gemmi.Model("1"), gemmi.Chain("A")
    names = gemmi.expand_one_letter_sequence(chain.letters, gemmi.ResidueKind.AA)
    for number, (points, name) in enumerate(zip(chain.coords.astype(float), names, strict=True), 1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = name, gemmi.SeqId(number, " ")
        for kind, point in zip(ATOMS, points, strict=True):
            if np.isfinite(point).all():
                atom = gemmi.Atom()
                atom.name, atom.element, atom.pos = kind, gemmi.Element(kind[0]), gemmi.Position(*point)
                residue.add_atom(atom)
        part.add_residue(residue)
    model.add_chain(part)
    structure.add_model(model)
    structure.setup_entities()
    return structure


def read_all(store: ChainStore) -> None:
    """Reads every chain once, in batches of 32."""
    dataset = ChainDataset(store, np.arange(len(store)), np.zeros(len(store), np.int64))
    for batch in BatchSampler(dataset.lengths, batch_size=32):
        dataset[batch]


def memory(number: int, folder: Path) -> dict[str, object]:
    """Makes and reads synthetic chains; returns resident and private megabytes in each phase, and the cache's bytes."""
    measured: dict[str, object] = {}
    recipe, cache = Recipe(num_chains=number, shortest=40, longest=80), folder / f"memory{number}"
    store: ChainStore | None = None

    def make() -> None:
        nonlocal store
        store = open_synthetic(recipe, cache)

    phases = {"start": lambda: None, "make": make, "read": lambda: read_all(store)}
    for phase, action in phases.items():
        measured[phase] = largest_memory(action)
    measured["bytes"] = sum(file.stat().st_size for file in cache.glob("*.chains"))
    return measured


def largest_memory(action: Callable[[], None]) -> tuple[float, float]:
    """Runs an action; returns the largest resident and private megabytes of this process, sampled every 20 ms."""
    done = threading.Event()
    peak = [0.0, 0.0]

    def watch() -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            for i, key in enumerate(("VmRSS", "RssAnon")):
                peak[i] = max(peak[i], int(status[key].split()[0]) / 1024)
            if done.wait(0.02):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        action()
    finally:
        done.set()
        thread.join()
    return peak[0], peak[1]


if __name__ == "__main__":
    main()
