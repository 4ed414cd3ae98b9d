"""Asks out of fold whether the residues that explain an enzyme's class are its catalytic ones.

    python benchmarks/sites.py --path chains.npz --sites catalytic_sites.csv                   every variant, seed 0
    python benchmarks/sites.py --path chains.npz --sites catalytic_sites.csv --variants recipe --seeds 0 1 2
    python benchmarks/sites.py --path chains.npz --sites catalytic_sites.csv -- train.epochs=8

The clusters of the table are divided into two folds. Each enzyme of SITES is explained by a network that saw no chain
of its cluster in training, and no site at all. The self-supervised score, too, is learned from the other fold. Only the
encoder that ships, which learned from structures without labels, may know the chain. The columns `enzyme`, `ec_top`,
`ec` and `cluster` of the table are used. The variants:

    recipe              experiment=active_sites: enzyme or not, and the four levels of the EC number
    labels shuffled     the same with the labels of other chains
    no pretraining      the encoder starts with new weights, and is trained
    no prior            attention starts with equal weights
    no substructures    residues alone are read, one by one and as a mean, which takes half of the time
    heads untrained     that network with the attention and the classes it had before the first step
    attention regions   the network's substructures are regions around residues of large attention

Each fold and seed of a variant is a run in a process of its own, with one thread. A run that has its summary is not
repeated; an explanation that has its scores is not either. The tables are written to --out.
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import read_chains
from runs import place, run_once, spread
from self_supervised import read_store
from self_supervised import train as train_self_supervised
from site_scores import INSIDE, score_geometry, score_network
from tqdm import tqdm

from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation_checks.sites import read_sites
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.saved import SavedNetwork, load_network
from partoken.protein.model.self_supervised import SelfSupervised
from partoken.protein.model.shipped import load_shipped_encoder
from partoken.protein.sources.arrays import table_path
from partoken.protein.sources.label_table import read_label_table

COLUMNS = ("enzyme", "ec_top", "ec")
VARIANTS: dict[str, list[str]] = {
    "recipe": [],
    "labels shuffled": [],
    "heads untrained": [],
    "no pretraining": ["model.init=random", "model.frozen_encoder=false"],
    "no prior": ["model.attention_prior=false"],
    "no substructures": ["model.partition=none"],
    "attention regions": ["model.partition=attention"],
}
UNTRAINED, SHUFFLED = "heads untrained", "labels shuffled"
FOLDS = (0, 1)

Scores = dict[str, dict[str, dict[str, float]]]
"""Scores by chain, line and name of the score."""


def fold_of(cluster: str) -> int:
    """Returns the fold whose network never sees a cluster."""
    return int(2 * place(cluster))


def write_fold(rows: Sequence[Mapping[str, str]], fold: int, out: Path, *, shuffled: bool) -> Path:
    """Writes a table whose test chains are one half of the clusters; 6 % of the others are for validation."""
    written = [dict(row) for row in rows]
    if shuffled:
        known = [number for number, row in enumerate(rows) if row["enzyme"]]
        order = np.random.default_rng(0).permutation(known)
        for number, other in zip(known, order, strict=True):
            written[number].update({name: rows[other][name] for name in COLUMNS})
    for row in written:
        is_validation = 2 * place(row["cluster"]) % 1 < 0.06
        row["split"] = "test" if fold_of(row["cluster"]) == fold else "val" if is_validation else "train"
    with open(out, "w", newline="") as file:
        writer = csv.DictWriter(file, written[0])
        writer.writeheader()
        writer.writerows(written)
    return out


def without_training(saved: SavedNetwork, seed: int) -> SavedNetwork:
    """Returns the network of a run with the encoder that ships and heads that no step has trained."""
    torch.manual_seed(seed)
    network = ParToken([len(label.class_names) for label in saved.labels], saved.network.settings)
    load_shipped_encoder(network)
    return SavedNetwork(network.eval(), saved.labels, saved.reading)


def summarise(scores: Sequence[Scores]) -> str:
    """Returns tables in Markdown: mean over the chains, and mean and standard deviation over the seeds."""
    of_chain = next(iter(scores[0].values()))
    tables = []
    for is_inside in (False, True):
        lines = [line for line in of_chain if line.startswith(INSIDE) == is_inside]
        columns = list(of_chain[lines[0]])
        table = [
            f"| {'sites' if is_inside else 'residues'} | {' | '.join(columns)} |",
            "|---" * (1 + len(columns)) + "|",
        ]
        for line in lines:
            means = [[np.mean([chain[line][name] for chain in one.values()]) for one in scores] for name in columns]
            table.append(f"| {line} | {' | '.join(spread([float(mean) for mean in of_seeds]) for of_seeds in means)} |")
        tables.append("\n".join(table) + "\n")
    return "\n".join(tables)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="the NPZ file, with its table beside it")
    parser.add_argument("--sites", required=True, type=Path, help="CSV file with the columns id and positions")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/sites"))
    parser.add_argument("overrides", nargs="*", help="after --: overrides of run_partoken.py")
    settings = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path, out = settings.path.resolve(), settings.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows = list(read_label_table(table_path(path)))
    folds = {row["id"]: fold_of(row["cluster"]) for row in rows}
    known = read_sites(settings.sites)
    chains = read_chains(path, list(known))
    sites = {chain.id: known[chain.id].find(chain.letters) for chain in chains}

    def train(variant: str, fold: int, seed: int) -> Path:
        kind = "shuffled" if variant == SHUFFLED else "fold"
        table = write_fold(rows, fold, out / f"{kind}{fold}.csv", shuffled=variant == SHUFFLED)
        common = ["experiment=active_sites", "data=arrays", f"data.path={path}", f"data.table={table}"]
        quiet = ["data.baselines=false", "test=false", "trainer.enable_progress_bar=false", f"train.seed={seed}"]
        folder = out / variant.replace(" ", "_") / f"{fold}-{seed}"
        run_once([*common, *quiet, *VARIANTS[variant], *settings.overrides], folder)
        return folder

    @cache
    def self_supervised(fold: int) -> SelfSupervised:
        clusters = {row["id"]: row["cluster"] for row in rows if folds[row["id"]] != fold}
        return train_self_supervised(read_store(path), clusters)

    def explain_fold(variant: str, fold: int, seed: int) -> Scores:
        """Returns the scores of the chains of a fold, and keeps them in a file."""
        folder = train("no substructures" if variant == UNTRAINED else variant, fold, seed)
        file = folder / ("untrained.json" if variant == UNTRAINED else "scores.json")
        if not file.exists():
            saved = load_network(folder / "checkpoints" / "last.ckpt")
            saved = without_training(saved, seed) if variant == UNTRAINED else saved
            own = [chain for chain in chains if folds[chain.id] == fold]
            score = self_supervised(fold)
            scores = {chain.id: score_network(saved, chain, sites[chain.id], score) for chain in own}
            file.write_text(json.dumps(scores))
        found: Scores = json.loads(file.read_text())
        return found

    parts = [f"## Without a network\n\n{summarise([geometry(chains, sites)])}"]
    jobs = tqdm([(variant, seed) for variant in settings.variants for seed in settings.seeds], "variants")
    results: dict[str, list[Scores]] = {}
    for variant, seed in jobs:
        merged: dict[str, Any] = {}
        for fold in FOLDS:
            merged |= explain_fold(variant, fold, seed)
        results.setdefault(variant, []).append(merged)
    parts += [f"## {variant}, {len(scores)} seeds\n\n{summarise(scores)}" for variant, scores in results.items()]
    text = "\n".join(parts)
    (out / "table.md").write_text(text)
    print(f"{len(chains)} chains\n\n{text}\nwrote {out / 'table.md'}")


def geometry(chains: Sequence[Backbone], sites: Mapping[str, Sequence[int]]) -> Scores:
    return {chain.id: score_geometry(chain, sites[chain.id]) for chain in chains}


if __name__ == "__main__":
    main()
