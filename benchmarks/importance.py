"""Compares methods of residue importance: how many known catalytic residues are among those that rank highest?

    python benchmarks/importance.py enzymes --sites catalytic_sites.csv
    python benchmarks/importance.py best.ckpt --path chains.npz --sites catalytic_sites.csv

The default are the chains of the package. SITES has the columns id and positions, counted from 0 along the chain and
separated by spaces; the network never sees it. The fraction is the mean over chains, with a standard error.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from partoken.errors import UserError
from partoken.protein.catalog import embedded
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate
from partoken.protein.chains.store import ChainStore
from partoken.protein.explanation_checks.ranking import score_ranking
from partoken.protein.explanation_checks.sites import KnownSites, read_sites
from partoken.protein.model.importance import METHODS, check_method, default_method, explain
from partoken.protein.model.saved import SavedNetwork, load_network
from partoken.protein.sources.arrays import read_arrays


def read_chains(path: Path | None, names: Sequence[str]) -> list[Backbone]:
    """Returns the chains of some names from an NPZ file with its table, or from the package."""
    store = embedded().collection.store if path is None else ChainStore.of(read_arrays(path, min_length=1))
    return store.read(row for row, name in enumerate(store.ids) if name in set(names))


def compare(
    saved: SavedNetwork, chains: Sequence[Backbone], sites: Mapping[str, KnownSites]
) -> dict[str, dict[str, float]]:
    """Returns the mean scores of every method that the network supports, by name."""
    inputs = [collate([chain]).inputs() for chain in chains]
    known = [sites[chain.id].find(chain.letters) for chain in chains]
    table = {}
    for method in METHODS:
        try:
            check_method(method, saved.network)
        except UserError:
            continue
        start = time.process_time()
        found = [explain(saved.network, saved.labels, batch, method).importance.numpy() for batch in inputs]
        seconds = time.process_time() - start
        scores = np.array([astuple(score_ranking(*pair)) for pair in zip(found, known, strict=True)])
        recall, all_sites, rank = scores.mean(0)
        error = scores[:, 0].std(ddof=1) / math.sqrt(len(chains))
        table[method] = {"recall": recall, "error": error, "all_in_20": all_sites, "rank": rank, "seconds": seconds}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--path", type=Path, help="NPZ file; default: the chains of the package")
    parser.add_argument("--sites", type=Path, required=True, help="CSV file")
    parser.add_argument("--out", type=Path, help="JSON file for the scores")
    settings = parser.parse_args()
    saved, sites = load_network(settings.checkpoint), read_sites(settings.sites)
    torch.set_num_threads(1)
    chains = read_chains(settings.path, list(sites))
    table = compare(saved, chains, sites)
    print(f"{len(chains)} chains; default: {default_method(saved.network)}\n")
    print("method                  in top tenth   all in top 20   median rank   seconds")
    for method, own in table.items():
        print(
            f"{method:<22}  {own['recall']:.3f} +- {own['error']:.3f}  {own['all_in_20']:13.2f}  {own['rank']:12.3f}"
            f"  {own['seconds']:8.1f}"
        )
    if settings.out:
        settings.out.write_text(json.dumps({"chains": len(chains), "methods": table}, indent=2))


if __name__ == "__main__":
    main()
