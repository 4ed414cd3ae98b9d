"""Which chains get a page of their own, if a file has no room for all."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

from partoken.protein.facts.seen import SeenChain

__all__ = ["describe_choice", "order_chains"]

_SPLITS = ("test", "validation", "train")


def order_chains(chains: Sequence[SeenChain], label: str, with_sites: Collection[str]) -> list[SeenChain]:
    """Puts the chains into the order in which they get pages.

    First come the chains of files that a user named, then chains with known sites, then the others. Among the last two,
    chains of the test come before those of the validation and of the training. In each of these groups, every true
    class has right and wrong answers, and these kinds take turns, the most confident answer of each first.

    Arguments:
        chains: All chains.
        label: The label whose answers count.
        with_sites: Names of the chains with known sites.
    """
    order = [one for one in chains if one.given.named]
    for is_site in (True, False):
        for split in _SPLITS:
            own = [one for one in chains if one.given.split == split and not one.given.named]
            order += _take_turns((one for one in own if (one.backbone.id in with_sites) is is_site), label)
    return order


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
        f"{pages:,} of {len(chains):,} chains have a page, because {limit}. First came chains of files that were "
        "named, then those with known sites, then the others, test before validation before training. In each group "
        "the most confident right and wrong answers of every class took turns."
    )


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
