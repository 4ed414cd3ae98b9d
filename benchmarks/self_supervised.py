"""Makes the weights of the self-supervised score: it learns which residues matter from chains alone, without a label.

    python benchmarks/self_supervised.py --path chains.npz          into the package

The table beside the NPZ file has the columns id and cluster. Each chain is aligned with up to five chains of its
cluster. A residue is conserved as far as these have the same type there; pairs of less similar chains count more, and
all chains of a cluster together as the square root of their number. The score is explained in
`partoken/protein/model/self_supervised.py`. Only chains from which the encoder that ships has learned are used, so none
of a cluster with an embedded validation or test chain. `benchmarks/sites.py` trains on parts of the clusters.
"""

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from partoken.protein.chains.backbone import UNKNOWN, decode
from partoken.protein.chains.batch import ChainBatch
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.embeddings import open_embeddings
from partoken.protein.dataset.surroundings import open_surroundings
from partoken.protein.geometry.surroundings import SURROUNDINGS
from partoken.protein.model.self_supervised import WEIGHTS, SelfSupervised
from partoken.protein.model.shipped import shipped_encoder
from partoken.protein.sources.arrays import read_arrays, table_path
from partoken.protein.sources.label_table import read_label_table

PARTNERS = 5
"""Chains of its cluster that a chain is aligned with, at most."""
IDENTITY = (0.15, 0.95)
"""Nearly equal chains say nothing about what is conserved, and less similar ones may be aligned wrongly."""
EPOCHS, BATCH, RATE = 6, 2048, 2e-3
FEW, MANY = 0.4, 0.6
"""Parts of the residues, by their contacts, between which the types are compared."""


class Conserved(NamedTuple):
    """How far the L residues of a chain are conserved."""

    share: np.ndarray
    """Weighted fraction of the aligned homologues that have the same type, float32 `[L]`."""
    weight: np.ndarray
    """Sum of the weights of the homologues that were aligned there, float32 `[L]`; 0: nothing is known."""


def align(clusters: Mapping[str, str], sequences: Mapping[str, np.ndarray]) -> dict[str, Conserved]:
    """Aligns the chains of each cluster with each other; returns those that have a homologue of fitting identity.

    Arguments:
        clusters: Cluster of each chain to use, by id.
        sequences: Amino acid codes of the chains.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for name, cluster in clusters.items():
        members[cluster].append(name)
    letters = {name: decode(sequences[name]) for name in clusters}
    scoring, chance = gemmi.AlignmentScoring("b"), random.Random(0)
    found = {}
    for own in tqdm(members.values(), "alignments", leave=False):
        for name in own:
            others = [other for other in own if other != name]
            pairs = [
                _compare(letters[name], letters[other], scoring)
                for other in chance.sample(others, min(PARTNERS, len(others)))
            ]
            pairs = [pair for pair in pairs if pair[1].any()]
            if pairs:
                same, weight = np.sum(pairs, axis=0)
                found[name] = Conserved((same / np.maximum(weight, 1e-6)).astype(np.float32), weight)
    return found


def _compare(first: str, second: str, scoring: gemmi.AlignmentScoring) -> np.ndarray:
    """Aligns two chains; returns where the first has the type of the second and where it has a partner, `[2, L]`.

    Both are multiplied by one minus the identity; they are 0 if the identity does not fit.
    """
    names = [gemmi.expand_one_letter_sequence(text, gemmi.ResidueKind.AA) for text in (first, second)]
    result = gemmi.align_string_sequences(*names, [], scoring)
    rows = [np.frombuffer(result.add_gaps(text, row).encode(), "S1") for row, text in enumerate((first, second), 1)]
    in_first = rows[0] != b"-"
    partner, same = rows[1][in_first] != b"-", (rows[0] == rows[1])[in_first]
    identity = same.sum() / max(1, partner.sum())
    weight = 1 - identity if IDENTITY[0] < identity < IDENTITY[1] else 0.0
    return weight * np.stack([same, partner]).astype(np.float32)


def train(store: ChainStore, clusters: Mapping[str, str]) -> SelfSupervised:
    """Trains the score on chains.

    Arguments:
        store: Chains of any source.
        clusters: Cluster of each chain to learn from, by id.
    """
    torch.manual_seed(0)
    network = SelfSupervised(shipped_encoder())
    rows = np.arange(len(store))
    around = open_surroundings(store, rows, None)
    encoder = network.encoder

    @torch.no_grad()
    def encode(batch: ChainBatch) -> Tensor:
        return encoder.embed(**batch.inputs())[0]

    features = open_embeddings(store, rows, encoder.fingerprint(), encode, encoder.residue_channels, None)
    sequences = {chain.id: chain.sequence for chain in store.read(rows) if chain.id in clusters}
    known = align(clusters, sequences)
    sizes = Counter(clusters[name] for name in known)
    inside = {name: one.weight > 0 for name, one in known.items()}

    def join(parts: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts))

    h = join([features.read(name)[at].astype(np.float16) for name, at in inside.items()])
    surroundings = join([around.read(name)[at] for name, at in inside.items()])
    types = join([sequences[name][at].astype(np.int64) for name, at in inside.items()])
    share = join([known[name].share[at] for name, at in inside.items()])
    weight = join([known[name].weight[at] * sizes[clusters[name]] ** -0.5 for name, at in inside.items()])
    print(f"{len(known)} chains with homologues, {len(h):,} residues")
    _measure(network, h, surroundings, types)
    _fit(network, h, surroundings, types, share, weight / weight.mean())
    return network.eval()


def _measure(network: SelfSupervised, h: Tensor, surroundings: Tensor, types: Tensor) -> None:
    """Measures mean and deviation of the inputs, and how polar the types are."""
    for numbers, begin in ((h, 0), (surroundings, h.shape[1])):
        deviation, mean = torch.std_mean(numbers.double(), 0)
        network.mean[begin : begin + numbers.shape[1]] = mean
        network.scale[begin : begin + numbers.shape[1]] = 1 / (deviation + 1e-3)
    contacts = surroundings[:, SURROUNDINGS.index("contacts")].double()
    ordered = contacts.sort().values
    few, many = (ordered[int(part * len(ordered))] for part in (FEW, MANY))
    counts = [
        torch.bincount(types[chosen], minlength=UNKNOWN + 1) + 1.0 for chosen in (contacts < few, contacts > many)
    ]
    outside, within = (count / count.sum() for count in counts)
    network.polarity.copy_((outside / within).log())
    network.polarity[UNKNOWN] = 0


def _fit(
    network: SelfSupervised, h: Tensor, surroundings: Tensor, types: Tensor, share: Tensor, weight: Tensor
) -> None:
    """Trains both small networks, on all residues in each epoch."""
    small = [*network.conserved.parameters(), *network.types.parameters()]
    optimizer = torch.optim.AdamW(small, RATE, weight_decay=0.01)
    steps = EPOCHS * -(-len(h) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    network.train()
    with tqdm(total=steps, desc="steps", leave=False) as progress:
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(h)).split(BATCH):
                signals = network.signals(h[rows].float(), types[rows], surroundings[rows])
                guess = F.binary_cross_entropy_with_logits(signals.conserved, share[rows], reduction="none")
                loss = (guess * weight[rows]).mean() + signals.surprising[types[rows] != UNKNOWN].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()


def clusters_of(path: Path) -> dict[str, str]:
    """Returns the cluster of each chain of an NPZ file, by id."""
    return {row["id"]: row["cluster"] for row in read_label_table(table_path(path))}


def read_store(path: Path) -> ChainStore:
    return ChainStore.of(read_arrays(path, with_table=False, min_length=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="the NPZ file, with its table beside it")
    parser.add_argument("--to", type=Path, default=WEIGHTS, help="file of the weights; default: in the package")
    settings = parser.parse_args()
    learned = {row["id"] for row in read_label_table(WEIGHTS.with_name("chains.csv")) if row["role"] == "trained"}
    clusters = {name: cluster for name, cluster in clusters_of(settings.path).items() if name in learned}
    network = train(read_store(settings.path), clusters)
    content = {
        "state_dict": network.trained_state(),
        "encoder": network.encoder.fingerprint(),
        "about": {"chains": "those of chains.csv that trained the weights enzymes.ckpt", "licence": "MIT"},
    }
    torch.save(content, settings.to)
    print(f"wrote {settings.to}, {settings.to.stat().st_size / 1000:.0f} kB, learned from {len(clusters)} chains")


if __name__ == "__main__":
    main()
