"""How far two explanations of one chain agree."""

import numpy as np

from partoken.protein.answers import Prediction

__all__ = ["compare_explanations", "membership", "rand_index", "rank_correlation"]


def compare_explanations(one: Prediction, two: Prediction, *, same_codes: bool) -> dict[str, float]:
    """Compares two explanations of the same chain, as numbers of which 1 is full agreement.

    Arguments:
        one: The first.
        two: The second.
        same_codes: True if both use the same codebook, so that equal tokens mean the same.

    Returns:
        `same class`, over the labels; `importance`, see `rank_correlation`; if there are substructures, `partition`,
        see `rand_index`; and if there are codes, `tokens`: the fraction of residues with the same token, or the Rand
        index of the residues' tokens if the codebooks differ.
    """
    same = [one.answers[label].label == two.answers[label].label for label in one.answers if label in two.answers]
    found = {"same class": float(np.mean(same))} if same else {}
    found["importance"] = rank_correlation(np.array(one.residue_importance), np.array(two.residue_importance))
    if not one.residues or not two.residues:
        return found
    parts = [membership(prediction) for prediction in (one, two)]
    found["partition"] = rand_index(*parts)
    if min(*one.tokens, *two.tokens) >= 0:
        own, other = (_tokens(prediction, part) for prediction, part in zip((one, two), parts, strict=True))
        found["tokens"] = float((own == other).mean()) if same_codes else rand_index(own, other)
    return found


def membership(prediction: Prediction) -> np.ndarray:
    """Returns the substructure of each residue of an explained chain, int64 `[L]`, -1 for none."""
    numbers = np.full(len(prediction.residue_importance), -1)
    for number, residues in enumerate(prediction.residues):
        numbers[residues] = number
    return numbers


def _tokens(prediction: Prediction, parts: np.ndarray) -> np.ndarray:
    return np.where(parts >= 0, np.array(prediction.tokens)[parts], -1)


def rank_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Computes Spearman's rank correlation of two rankings `[L]`; 0 if one of them knows no order.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0, 3.0]), np.array([0.1, 0.2, 0.7, 0.7]))
    1.0
    """
    first, second = _mean_ranks(one), _mean_ranks(two)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return round(float(np.corrcoef(first, second)[0, 1]), 12)


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (count.cumsum() - count / 2)[place]
    return ranks


def rand_index(one: np.ndarray, two: np.ndarray) -> float:
    """Computes the adjusted Rand index of two partitions of L residues, `[L]` numbers of parts: by chance it is 0.

    References:
        Comparing partitions (Hubert and Arabie, Journal of Classification 2, 193, 1985), equation 5.

    >>> rand_index(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3])), rand_index(np.array([0, 0, 1, 1]), np.zeros(4))
    (1.0, 0.0)
    """
    _, one = np.unique(one, return_inverse=True)
    _, two = np.unique(two, return_inverse=True)
    table = np.zeros((one.max() + 1, two.max() + 1))
    np.add.at(table, (one, two), 1)
    together, in_one, in_two = (_pairs(counts) for counts in (table, table.sum(1), table.sum(0)))
    expected = in_one * in_two / max(1.0, _pairs(np.array([len(one)])))
    largest = (in_one + in_two) / 2
    return 1.0 if largest == expected else float((together - expected) / (largest - expected))


def _pairs(counts: np.ndarray) -> float:
    """Counts the pairs inside groups."""
    return float((counts * (counts - 1) / 2).sum())
