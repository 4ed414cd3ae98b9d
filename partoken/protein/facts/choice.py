"""Which chains get a page of their own, if a file has no room for all."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest

from partoken.protein.facts.seen import SeenChain

__all__ = ["describe_choice", "order_chains"]

_SPLITS = ("test", "validation", "train")


def order_chains(chains: Sequence[SeenChain], label: str, with_sites: Collection[str]) -> list[SeenChain]:
    """Puts the chains into the order in which they get pages.

    First come named chains with known sites. Other named chains and other chains with known sites follow in turn, so
    that many of one kind leave room for the other. The rest comes last. Among the chains that nobody named, those of
    the test come before those of the validation and of the training; in each of these groups, every true class has
    right and wrong answers, and these kinds take turns, the most confident answer of each first.

    Arguments:
        chains: All chains.
        label: The label whose answers count.
        with_sites: Names of the chains with known sites.
    """
    kinds: dict[tuple[bool, bool], list[SeenChain]] = {}
    for one in chains:
        kinds.setdefault((one.given.named, one.backbone.id in with_sites), []).append(one)
    named, sites = kinds.get((True, False), []), _by_split(kinds.get((False, True), []), label)
    in_turn = [one for pair in zip_longest(named, sites) for one in pair if one is not None]
    return [*kinds.get((True, True), []), *in_turn, *_by_split(kinds.get((False, False), []), label)]


def describe_choice(pages: int, chains: Sequence[SeenChain], limit: str) -> str | None:
    """Says how the chains with a page were chosen; None: all have one.

    Arguments:
        pages: Number of chains with a page.
        chains: All chains.
        limit: What had no room for more.
    """
    if pages == len(chains):
        return None
    return (
        f"{pages:,} of {len(chains):,} chains have a page, because {limit}. First came named chains with known "
        "sites, then other named chains and other chains with known sites in turn, then the rest, test before "
        "validation before training, where the most confident right and wrong answers of every class took turns."
    )


def _by_split(chains: Sequence[SeenChain], label: str) -> list[SeenChain]:
    return [one for split in _SPLITS for one in _take_turns((one for one in chains if one.given.split == split), label)]


def _take_turns(chains: Iterable[SeenChain], label: str) -> Iterator[SeenChain]:
    """Yields one chain of each kind in turn; a kind is a true class, or a predicted one, and whether it was right."""
    kinds: dict[tuple[str, bool | None], deque[SeenChain]] = {}
    for one in sorted(chains, key=lambda one: -one.prediction.answers[label].confidence):
        is_right = one.is_right(label)
        true = one.given.truth.get(label) or one.prediction.answers[label].label
        kinds.setdefault((true, is_right), deque()).append(one)
    waiting = [kinds[kind] for kind in sorted(kinds, key=str)]
    while waiting:
        for kind in waiting:
            yield kind.popleft()
        waiting = [kind for kind in waiting if kind]
