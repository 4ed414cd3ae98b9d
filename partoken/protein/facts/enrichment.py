"""Which classes go with which tokens: enrichment, tested and corrected for the number of tests."""

from collections.abc import Sequence, Set
from typing import NamedTuple, TypeVar

from scipy.stats import false_discovery_control, hypergeom

__all__ = ["Enrichment", "enrichments"]

Element = TypeVar("Element", int, str)


class Enrichment(NamedTuple):
    """How a token goes with a class, over N chains that may have either."""

    token: int
    group: str
    """The class."""
    together: int
    """Chains with both."""
    expected: float
    """Chains with both if neither knew of the other: chains with the token x chains of the class / N."""
    enrichment: float
    """`together` / `expected`."""
    p: float
    """Probability of at least `together` chains with both by chance: the upper tail of the hypergeometric distribution,
    which is the one-sided exact test of Fisher."""
    q: float
    """`p`, corrected for all tests of the list: the expected fraction of chance finds among pairs with this `q` or a
    smaller one."""


def enrichments(tokens: Sequence[Set[int]], groups: Sequence[Set[str]]) -> list[Enrichment]:
    """Compares how often tokens and classes occur in the same chains.

    A chain counts once, however often it has the token. Pairs that never occur together are tested too, so that the
    correction counts them, and are left out of the result.

    References:
        Controlling the false discovery rate (Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289, 1995).

    Arguments:
        tokens: `[N]`: tokens of each chain.
        groups: `[N]`: classes of each chain.

    Returns:
        The pairs, the smallest `p` of each token first.

    Example:
        >>> found = enrichments([{7}, {7}, {8}, {8}], [{"a"}, {"a"}, {"b"}, {"b"}])
        >>> found[0].enrichment, round(found[0].p, 4), round(found[0].q, 4)
        (2.0, 0.1667, 0.3333)
    """
    with_token, in_group = _members(tokens), _members(groups)
    pairs = [(token, group) for token in sorted(with_token) for group in in_group]
    if not pairs:
        return []
    counts = [len(with_token[token] & in_group[group]) for token, group in pairs]
    sizes = [(len(in_group[group]), len(with_token[token])) for token, group in pairs]
    # The tail excludes its argument.
    ps = [
        float(hypergeom.sf(count - 1, len(tokens), *size)) if count else 1.0
        for count, size in zip(counts, sizes, strict=True)
    ]
    found = []
    for (token, group), count, (of_group, of_token), p, q in zip(
        pairs, counts, sizes, ps, false_discovery_control(ps).tolist(), strict=True
    ):
        if count:
            expected = of_group * of_token / len(tokens)
            found.append(Enrichment(token, group, count, expected, count / expected, p, q))
    return sorted(found, key=lambda pair: (pair.token, pair.p))


def _members(sets: Sequence[Set[Element]]) -> dict[Element, set[int]]:
    """Returns the places where each element occurs."""
    members: dict[Element, set[int]] = {}
    for place, elements in enumerate(sets):
        for element in elements:
            members.setdefault(element, set()).add(place)
    return members
