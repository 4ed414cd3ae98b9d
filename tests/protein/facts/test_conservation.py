"""Residue types that stand at the same place in the substructures of a token."""

import numpy as np

from partoken.protein.chains.backbone import encode
from partoken.protein.facts.conservation import Place, conserved_residues

RNG = np.random.default_rng(0)
EVEN = np.ones(21, int) * 100


def places(num, planted=()):
    found = []
    for _ in range(num):
        sequence = RNG.integers(0, 20, 30).astype(np.uint8)
        position = int(RNG.integers(10, 20))
        for offset, letter in planted:
            sequence[position + offset] = encode(letter)[0]
        found.append(Place(sequence, position))
    return found


def test_planted_residues_are_found_with_their_places():
    found = conserved_residues({4: places(40, [(0, "H"), (2, "D")]), 9: places(40)}, EVEN)
    assert sorted((one.offset, one.residue, one.share) for one in found[4]) == [(0, "H", 1.0), (2, "D", 1.0)]
    assert found[9] == []


def test_a_type_that_is_frequent_everywhere_is_not_conserved():
    background = EVEN.copy()
    background[encode("H")[0]] = 1_000_000
    assert conserved_residues({4: places(40, [(0, "H")])}, background)[4] == []


def test_two_substructures_conserve_nothing_for_certain():
    assert conserved_residues({4: places(2, [(0, "H")])}, EVEN)[4] == []


def test_places_beyond_the_ends_and_unknown_residues_do_not_count():
    short = [Place(encode("H"), 0) for _ in range(10)] + [Place(encode("X"), 0) for _ in range(30)]
    [one] = conserved_residues({4: short}, EVEN)[4]
    assert (one.offset, one.residue, one.share) == (0, "H", 1.0)


def test_without_tokens_there_is_nothing():
    assert conserved_residues({}, EVEN) == {}
