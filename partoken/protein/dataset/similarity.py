"""Finds chains with similar sequences, to keep near-copies in one split and to report those in different splits.

Candidate pairs share words of four residues. Their similarity is the sequence identity in the global alignment
(Needleman and Wunsch 1970, J. Mol. Biol. 48, 443, with BLOSUM62), as a fraction of the shorter chain.
"""

from collections.abc import Iterator, Sequence

import gemmi
import numpy as np
from scipy.sparse import csr_array

from partoken.protein.chains.backbone import UNKNOWN, decode

__all__ = ["CLUSTER_VERSION", "cluster_sequences", "nearest", "sequence_identity", "similar_pairs"]

CLUSTER_VERSION = 1
"""Raise it when similarity is computed differently: cached clusters of another version are then computed again."""

WORD_LENGTH = 4
SURE_FRACTION = 0.3
"""Two chains that share this fraction of the shorter chain's words are similar without an alignment. Independent
mutations that leave 0.3 of the words leave 0.74 of the residues."""
MIN_SCORE = 60
"""Chains with a lower alignment score, after adding a fifth per residue, count as unrelated. Among 4,000 enzymes with
known families, pairs that share words by chance have a median score of 60, pairs of one family at 30 % identity 285."""
MAX_ALIGNED = 3
"""References that are aligned with a query: those that share the most words with it."""
BLOCK = 512


def cluster_sequences(sequences: Sequence[np.ndarray], min_identity: float = 0.3) -> np.ndarray:
    """Groups sequences by single linkage: two similar sequences are always in one group.

    Arguments:
        sequences: amino acid codes, n arrays uint8 [L].
        min_identity: sequence identity of similar sequences, 0 to 1.

    Returns:
        int64 [n]: group of each sequence, numbered in the order of their first members.

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

    unsure = []
    for first, second, fraction in _candidates(unique):
        is_sure = fraction >= SURE_FRACTION
        for i, j in zip(first[is_sure].tolist(), second[is_sure].tolist(), strict=True):
            parent[root(i)] = root(j)
        unsure.append(np.stack([fraction[~is_sure], first[~is_sure], second[~is_sure]], 1))
    pairs = np.concatenate(unsure) if unsure else np.empty((0, 3))
    residues = [_residues(s) for s in unique]
    for _, first, second in pairs[np.argsort(-pairs[:, 0], kind="stable")]:
        i, j = int(first), int(second)
        # Most pairs of a family are in one group by now and need no alignment.
        if root(i) != root(j) and _aligned_identity(residues[i], residues[j]) >= min_identity:
            parent[root(i)] = root(j)
    group = np.array([root(i) for i in range(len(unique))])[representative]
    first_member, inverse = np.unique(group, return_index=True, return_inverse=True)[1:]
    return np.argsort(np.argsort(first_member))[inverse]


def similar_pairs(sequences: Sequence[np.ndarray], min_identity: float = 0.3) -> list[tuple[int, int]]:
    """Returns all pairs i < j of similar sequences; every candidate pair is aligned.

    Arguments:
        sequences: amino acid codes, n arrays uint8 [L].
        min_identity: sequence identity of similar sequences, 0 to 1.
    """
    pairs = []
    for first, second, _ in _candidates(sequences):
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            if sequence_identity(sequences[i], sequences[j]) >= min_identity:
                pairs.append((i, j))
    return pairs


def nearest(queries: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Finds the most similar reference of each query.

    Arguments:
        queries: amino acid codes, n arrays uint8 [L].
        references: amino acid codes, arrays uint8 [L].

    Returns:
        int64 [n]: the reference, or -1 if no reference shares more words than expected by chance; and float64 [n]: the
        sequence identity, 0 without a reference.
    """
    reference = np.full(len(queries), -1)
    identity = np.zeros(len(queries))
    for query, candidate, fraction in _candidates(queries, references):
        order = np.lexsort((-fraction, query))
        query, candidate = query[order], candidate[order]
        rows, starts = np.unique(query, return_index=True)
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            best = slice(start, start + MAX_ALIGNED)
            for other in candidate[best][query[best] == row].tolist():
                value = sequence_identity(queries[row], references[other])
                if value > identity[row]:
                    reference[row], identity[row] = other, value
    return reference, identity


def sequence_identity(one: np.ndarray, two: np.ndarray) -> float:
    """Returns the sequence identity of two chains: equal residues in the alignment per residue of the shorter chain.

    Arguments:
        one: amino acid codes, uint8 [L].
        two: amino acid codes, uint8 [M].

    Returns:
        0 to 1; 0 for chains whose alignment is no better than that of unrelated chains.

    >>> from partoken.protein.chains.backbone import encode
    >>> sequence_identity(encode("ACDEFGHIKL"), encode("ACDEFWHIKLMM"))
    0.9
    """
    if np.array_equal(one, two):
        return 1.0
    return _aligned_identity(_residues(one), _residues(two))


def _residues(codes: np.ndarray) -> list[str]:
    """Returns three-letter residue names, as gemmi's aligner takes them."""
    return gemmi.expand_one_letter_sequence(decode(codes), gemmi.ResidueKind.AA)


_BLOSUM62 = gemmi.AlignmentScoring("b")


def _aligned_identity(one: list[str], two: list[str]) -> float:
    """Returns the sequence identity, or 0 if unrelated chains reach the alignment score too."""
    alignment = gemmi.align_string_sequences(one, two, [], _BLOSUM62)
    shorter, longer = sorted((len(one), len(two)))
    score = alignment.score + (longer - shorter)  # without the penalty for overhanging ends
    if score < min(MIN_SCORE + shorter / 5, 2 * shorter):
        return 0.0
    return alignment.match_count / max(shorter, 1)


def _distinct(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the index of each sequence among the distinct ones, int64 [n], and the distinct sequences."""
    index: dict[bytes, int] = {}
    representative = [index.setdefault(s.tobytes(), len(index)) for s in sequences]
    distinct = [np.frombuffer(raw, dtype=np.uint8) for raw in index]
    return np.array(representative, dtype=np.int64), distinct


def _words(sequences: Sequence[np.ndarray]) -> csr_array:
    """Returns the words of each sequence as a sparse matrix of zeros and ones, float32 [n, 20^4]."""
    columns = []
    for codes in sequences:
        windows = codes[:0, None]
        if len(codes) >= WORD_LENGTH:
            windows = np.lib.stride_tricks.sliding_window_view(codes, WORD_LENGTH)
        known = windows[(windows < UNKNOWN).all(1)].astype(np.int64)
        columns.append(np.unique(known @ UNKNOWN ** np.arange(known.shape[1])))
    pointers = np.concatenate([[0], np.cumsum([len(c) for c in columns])])
    indices = np.concatenate([*columns, np.empty(0, np.int64)])
    ones = np.ones(len(indices), np.float32)
    return csr_array((ones, indices, pointers), shape=(len(sequences), UNKNOWN**WORD_LENGTH))


def _candidates(
    queries: Sequence[np.ndarray], references: Sequence[np.ndarray] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields pairs of sequences that share more words than expected by chance, in blocks.

    Arguments:
        queries: amino acid codes, arrays uint8 [L].
        references: the same; None pairs the queries with each other, i < j.

    Yields:
        int [P] queries, int [P] references, and float [P]: shared words as a fraction of the words of the shorter.
    """
    query_words = _words(queries)
    reference_words = query_words if references is None else _words(references)
    query_size, reference_size = np.diff(query_words.indptr), np.diff(reference_words.indptr)
    query_chance = _chance_matches(query_words, queries)
    reference_chance = _chance_matches(reference_words, queries if references is None else references)
    transposed = reference_words.T.tocsr()
    for start in range(0, query_words.shape[0], BLOCK):
        shared = (query_words[start : start + BLOCK] @ transposed).tocoo()
        rows, columns = shared.row + start, shared.col
        one_way = query_chance[rows] * reference_size[columns]
        expected = np.sqrt(one_way * reference_chance[columns] * query_size[rows])
        shorter = np.minimum(query_size[rows], reference_size[columns])
        # More than four standard deviations of a Poisson distribution above the expected number.
        enough = shared.data >= np.minimum(expected + 4 * np.sqrt(expected) + 2, shorter)
        if references is None:
            enough &= rows < columns
        yield rows[enough], columns[enough], shared.data[enough] / shorter[enough]


def _chance_matches(words: csr_array, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Returns how many words of each sequence a random word equals on average, float64 [n].

    The residues of the random word have the frequencies of the sequences.
    """
    counts = np.bincount(np.concatenate([*sequences, np.empty(0, np.uint8)]), minlength=UNKNOWN)[:UNKNOWN]
    frequency = counts / max(counts.sum(), 1)
    probability, word = np.ones(UNKNOWN**WORD_LENGTH), np.arange(UNKNOWN**WORD_LENGTH)
    for _ in range(WORD_LENGTH):
        probability *= frequency[word % UNKNOWN]
        word //= UNKNOWN
    return words @ probability
