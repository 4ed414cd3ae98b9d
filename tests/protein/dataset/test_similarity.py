"""Clusters of similar sequences and the nearest sequence."""

import numpy as np
import pytest

from partoken.protein.chains.backbone import encode
from partoken.protein.dataset.similarity import cluster_sequences, nearest, sequence_identity, similar_pairs


def mutated(sequence: np.ndarray, keep: float, random: np.random.Generator) -> np.ndarray:
    """Replaces residues, cuts two at the start, and inserts a loop of four."""
    copy = sequence.copy()
    change = random.random(len(copy)) > keep
    copy[change] = (copy[change] + random.integers(1, 20, change.sum())) % 20
    middle = len(copy) // 2
    return np.concatenate([copy[2:middle], random.integers(0, 20, 4).astype(np.uint8), copy[middle:]])


def families(chains, keep: float, seed: int = 0):
    random = np.random.default_rng(seed)
    ancestors = [c.sequence for c in chains[:40]]
    return [s for a in ancestors for s in (a, mutated(a, keep, random))]


@pytest.mark.parametrize("keep, num_joined", [(0.95, 40), (0.8, 40), (0.7, 38)])
def test_related_sequences_are_in_one_cluster(chains, keep, num_joined):
    groups = cluster_sequences(families(chains, keep))
    assert (groups[::2] == groups[1::2]).sum() >= num_joined


def test_unrelated_sequences_are_in_different_clusters(chains):
    random = np.random.default_rng(1)
    shuffled = [random.permutation(c.sequence) for c in chains]
    assert cluster_sequences(shuffled).max() == len(chains) - 1


def test_no_similar_pair_is_in_two_clusters(chains):
    sequences = families(chains, 0.6)
    groups = cluster_sequences(sequences, 0.4)
    pairs = similar_pairs(sequences, 0.4)
    assert len(pairs) >= 30 and all(groups[i] == groups[j] for i, j in pairs)


def test_a_cluster_follows_a_series_of_related_sequences(chains):
    random = np.random.default_rng(0)
    line = [chains[-1].sequence]
    for _ in range(6):
        line.append(mutated(line[-1], 0.8, random))
    assert sequence_identity(line[0], line[-1]) < 0.4
    assert set(cluster_sequences(line, 0.6)) == {0}


def test_identical_sequences_are_in_one_cluster_even_if_short_or_unknown():
    tiny, unknown = encode("AC"), encode("X" * 50)
    assert cluster_sequences([tiny, unknown, tiny, unknown, encode("")]).tolist() == [0, 1, 0, 1, 2]


def test_a_chain_and_one_that_contains_it_are_in_one_cluster(chains):
    long, other = chains[-1].sequence, chains[-2].sequence
    assert cluster_sequences([np.concatenate([long, other]), long]).tolist() == [0, 0]


def test_nearest_finds_the_near_copy_and_nothing_for_a_shuffled_sequence(chains):
    random = np.random.default_rng(0)
    sequences = [c.sequence for c in chains[:40]]
    queries = [mutated(sequences[7], 0.9, random), random.permutation(sequences[3])]
    reference, identity = nearest(queries, sequences)
    assert reference.tolist() == [7, -1]
    assert 0.8 < identity[0] < 0.95 and identity[1] == 0


def test_sequence_identity_ignores_insertions():
    assert sequence_identity(encode("MKTAYIAKQR"), encode("MKTAYIAKQR")) == 1.0
    assert sequence_identity(encode("MKTAYIAKQRMKTAYIAKQR"), encode("MKTAYIAKQRWMKTAYIAKQR")) == 1.0
