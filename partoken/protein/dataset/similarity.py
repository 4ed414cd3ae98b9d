"""Which chains have similar sequences: for splits that near-copies do not cross, and to report those that do.

Pairs are found by the words of four residues that they share and judged by the identity of their global alignment
(Needleman and Wunsch 1970, with BLOSUM62), counted over the shorter chain.
"""

from collections.abc import Iterator, Sequence

import gemmi
import numpy as np
from scipy.sparse import csr_array

from partoken.protein.chains.backbone import UNKNOWN, decode

__all__ = ["CLUSTER_VERSION", "cluster_sequences", "identity", "nearest", "similar_pairs"]

CLUSTER_VERSION = 1
"""Raised with every change of what is similar; caches of another version are not used."""

WORD = 4
SURE = 0.3
"""Two chains that share this part of the shorter one's words are similar at any threshold; no alignment is needed.
Independent mutations leave 0.74 of the residues where they leave 0.3 of the words."""
LEAST_SCORE = 60
"""An alignment's score, with a fifth more a residue, under which chains count as unrelated. Among 4,000 enzymes with
known families, pairs that share words by chance score 60 in the median, those of one family at 30 % identity 285."""
BLOCK = 512


def cluster_sequences(sequences: Sequence[np.ndarray], min_identity: float = 0.3) -> np.ndarray:
    """Groups sequences so that two similar ones are always in one group (single linkage).

    Arguments:
        sequences: amino acid codes, uint8 [L] each, n of them.
        min_identity: part of the shorter chain that is the same residue in the alignment.

    Returns:
        int64 [n]: the group of each, numbered in the order of their first members.

    >>> from partoken.protein.chains.backbone import encode
    >>> chain = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    >>> cluster_sequences([encode(chain), encode("GSHWNDPCTREYLAWKGHHVNDIPE"), encode(chain[2:] + "GS")]).tolist()
    [0, 1, 0]
    """
    representative, unique = _distinct(sequences)
    parent = np.arange(len(unique))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    doubtful = []
    for one, two, share in _candidates(unique):
        sure = share >= SURE
        for i, j in zip(one[sure].tolist(), two[sure].tolist(), strict=True):
            parent[root(i)] = root(j)
        doubtful.append(np.stack([share[~sure], one[~sure], two[~sure]], 1))
    pairs = np.concatenate(doubtful) if doubtful else np.empty((0, 3))
    residues = [_residues(s) for s in unique]
    for _, i, j in pairs[np.argsort(-pairs[:, 0], kind="stable")]:
        i, j = int(i), int(j)
        # Most pairs of a family are joined by then and need no alignment.
        if root(i) != root(j) and _aligned(residues[i], residues[j]) >= min_identity:
            parent[root(i)] = root(j)
    group = np.array([root(i) for i in range(len(unique))])[representative]
    first, inverse = np.unique(group, return_index=True, return_inverse=True)[1:]
    return np.argsort(np.argsort(first))[inverse]


def similar_pairs(sequences: Sequence[np.ndarray], min_identity: float = 0.3) -> list[tuple[int, int]]:
    """Returns all pairs i < j that are at least so similar; all are aligned."""
    found = []
    for one, two, _ in _candidates(sequences):
        for i, j in zip(one.tolist(), two.tolist(), strict=True):
            if identity(sequences[i], sequences[j]) >= min_identity:
                found.append((i, j))
    return found


def nearest(queries: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each query the most similar reference.

    Returns:
        int64 [queries]: the reference, -1 where none shares more words than chance; float64 [queries]: the identity,
        0 there.
    """
    which, best = np.full(len(queries), -1), np.zeros(len(queries))
    for one, two, share in _candidates(queries, references):
        order = np.lexsort((-share, one))
        rows, start = np.unique(one[order], return_index=True)
        for row, first in zip(rows.tolist(), start.tolist(), strict=True):
            for other in two[order][first : first + 3][one[order][first : first + 3] == row].tolist():
                value = identity(queries[row], references[other])
                if value > best[row]:
                    which[row], best[row] = other, value
    return which, best


def identity(one: np.ndarray, two: np.ndarray) -> float:
    """Returns the part of the shorter sequence that is the same residue in the alignment.

    >>> from partoken.protein.chains.backbone import encode
    >>> identity(encode("ACDEFGHIKL"), encode("ACDEFWHIKLMM"))
    0.9
    """
    if np.array_equal(one, two):
        return 1.0
    return _aligned(_residues(one), _residues(two))


def _residues(codes: np.ndarray) -> list[str]:
    return gemmi.expand_one_letter_sequence(decode(codes), gemmi.ResidueKind.AA)


_BLOSUM62 = gemmi.AlignmentScoring("b")


def _aligned(one: list[str], two: list[str]) -> float:
    """Returns the identity, or 0 where the score is one that unrelated chains reach too."""
    found = gemmi.align_string_sequences(one, two, [], _BLOSUM62)
    shorter, longer = sorted((len(one), len(two)))
    score = found.score + (longer - shorter)  # what stands over at the ends says nothing
    return found.match_count / max(shorter, 1) if score >= min(LEAST_SCORE + shorter / 5, 2 * shorter) else 0.0


def _distinct(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns for each sequence its place among the distinct ones, and these."""
    places: dict[bytes, int] = {}
    representative = np.array([places.setdefault(s.tobytes(), len(places)) for s in sequences], dtype=np.int64)
    return representative, [np.frombuffer(raw, dtype=np.uint8) for raw in places]


def _words(sequences: Sequence[np.ndarray]) -> csr_array:
    """Returns which words each sequence holds, float32 [n, 20^4] of zeros and ones."""
    columns = []
    for codes in sequences:
        windows = np.lib.stride_tricks.sliding_window_view(codes, WORD) if len(codes) >= WORD else codes[:0, None]
        known = windows[(windows < UNKNOWN).all(1)].astype(np.int64)
        columns.append(np.unique(known @ UNKNOWN ** np.arange(known.shape[1])))
    pointers = np.concatenate([[0], np.cumsum([len(c) for c in columns])])
    indices = np.concatenate([*columns, np.empty(0, np.int64)])
    return csr_array((np.ones(len(indices), np.float32), indices, pointers), shape=(len(sequences), UNKNOWN**WORD))


def _candidates(
    ones: Sequence[np.ndarray], twos: Sequence[np.ndarray] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields pairs that share more words than chance, and which part of the shorter one's words that is.

    Without `twos`, pairs i < j of `ones`.
    """
    one = _words(ones)
    two = one if twos is None else _words(twos)
    number_one, number_two = np.diff(one.indptr), np.diff(two.indptr)
    random_one, random_two = _random_words(one, ones), _random_words(two, ones if twos is None else twos)
    other = two.T.tocsr()
    for start in range(0, one.shape[0], BLOCK):
        shared = (one[start : start + BLOCK] @ other).tocoo()
        rows, columns = shared.row + start, shared.col
        chance = np.sqrt(random_one[rows] * number_two[columns] * random_two[columns] * number_one[rows])
        shorter = np.minimum(number_one[rows], number_two[columns])
        enough = shared.data >= np.minimum(chance + 4 * np.sqrt(chance) + 2, shorter)  # Poisson, four deviations
        if twos is None:
            enough &= rows < columns
        yield rows[enough], columns[enough], shared.data[enough] / shorter[enough]


def _random_words(words: csr_array, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Returns how many of each sequence's words one random word of the data's composition agrees with."""
    counts = np.bincount(np.concatenate([*sequences, np.empty(0, np.uint8)]), minlength=UNKNOWN)[:UNKNOWN]
    frequency = counts / max(counts.sum(), 1)
    chance, word = np.ones(UNKNOWN**WORD), np.arange(UNKNOWN**WORD)
    for _ in range(WORD):
        chance *= frequency[word % UNKNOWN]
        word //= UNKNOWN
    return words @ chance
