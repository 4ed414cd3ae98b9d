import numpy as np
import pytest

from partoken.protein.chains.backbone import encode
from partoken.protein.dataset.similarity import cluster_sequences, identity, nearest, similar_pairs


def mutated(sequence: np.ndarray, keep: float, random: np.random.Generator) -> np.ndarray:
    """Replaces residues, cuts the ends, and puts one loop in."""
    copy = sequence.copy()
    change = random.random(len(copy)) > keep
    copy[change] = (copy[change] + random.integers(1, 20, change.sum())) % 20
    middle = len(copy) // 2
    return np.concatenate([copy[2:middle], random.integers(0, 20, 4).astype(np.uint8), copy[middle:]])


def families(chains, keep: float, seed: int = 0):
    random = np.random.default_rng(seed)
    ancestors = [c.sequence for c in chains[:40]]
    return [s for a in ancestors for s in (a, mutated(a, keep, random))]


@pytest.mark.parametrize("keep, found", [(0.95, 40), (0.8, 40), (0.7, 38)])
def test_relatives_are_found(chains, keep, found):
    groups = cluster_sequences(families(chains, keep))
    assert (groups[::2] == groups[1::2]).sum() >= found


def test_strangers_stay_apart(chains):
    random = np.random.default_rng(1)
    shuffled = [random.permutation(c.sequence) for c in chains]
    assert cluster_sequences(shuffled).max() == len(chains) - 1


def test_no_similar_pair_is_in_two_groups(chains):
    sequences = families(chains, 0.6)
    groups = cluster_sequences(sequences, 0.4)
    pairs = similar_pairs(sequences, 0.4)
    assert len(pairs) >= 30 and all(groups[i] == groups[j] for i, j in pairs)


def test_groups_follow_a_chain_of_relatives(chains):
    random = np.random.default_rng(0)
    line = [chains[-1].sequence]
    for _ in range(6):
        line.append(mutated(line[-1], 0.8, random))
    assert identity(line[0], line[-1]) < 0.4
    assert set(cluster_sequences(line, 0.6)) == {0}


def test_identical_short_and_unknown_sequences():
    tiny, unknown = encode("AC"), encode("X" * 50)
    assert cluster_sequences([tiny, unknown, tiny, unknown, encode("")]).tolist() == [0, 1, 0, 1, 2]


def test_a_domain_of_a_longer_chain_is_a_relative(chains):
    long, other = chains[-1].sequence, chains[-2].sequence
    assert cluster_sequences([np.concatenate([long, other]), long]).tolist() == [0, 0]


def test_nearest_names_the_copy(chains):
    random = np.random.default_rng(0)
    sequences = [c.sequence for c in chains[:40]]
    queries = [mutated(sequences[7], 0.9, random), random.permutation(sequences[3])]
    which, value = nearest(queries, sequences)
    assert which.tolist() == [7, -1] and 0.8 < value[0] < 0.95 and value[1] == 0


def test_identity_is_that_of_the_alignment():
    assert identity(encode("MKTAYIAKQR"), encode("MKTAYIAKQR")) == 1.0
    assert identity(encode("MKTAYIAKQRMKTAYIAKQR"), encode("MKTAYIAKQRWMKTAYIAKQR")) == 1.0
