"""From the class names of chains to class numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from partoken.errors import UserError

__all__ = ["choose_classes", "encode_labels"]


def choose_classes(
    labels: Sequence[tuple[str, ...]], classes: Sequence[str] | None = None, min_class_size: int = 1
) -> tuple[list[str], Counter[str]]:
    """Returns the classes to learn, sorted by name, and how many chains of each other class are left out.

    Arguments:
        labels: class names of each chain.
        classes: learn these only; None learns all.
        min_class_size: leave out classes with fewer chains.

    Raises:
        UserError: a class of `classes` that no chain has, or fewer than two classes.
    """
    counts = Counter(name for names in labels for name in names)
    wanted = sorted(counts) if classes is None else [str(c) for c in classes]
    if unknown := [c for c in wanted if c not in counts]:
        raise UserError(f"data.classes: no chain is labelled {', '.join(unknown)}; found {', '.join(sorted(counts))}")
    kept = sorted(c for c in set(wanted) if counts[c] >= min_class_size)
    if len(kept) < 2:
        found = ", ".join(f"{name} ({count})" for name, count in counts.most_common(10)) or "no label at all"
        raise UserError(
            f"at least two classes of data.min_class_size={min_class_size} chains are needed; found {found}"
        )
    return kept, Counter({c: n for c, n in counts.items() if c not in kept})


def encode_labels(labels: Sequence[tuple[str, ...]], classes: Sequence[str], multi_label: bool) -> np.ndarray:
    """Returns labels as the loss takes them: int64 [n], or float32 [n, C] zeros and ones if `multi_label`.

    >>> encode_labels([("b",), ("a",)], ["a", "b"], multi_label=False).tolist()
    [1, 0]
    """
    number = {name: i for i, name in enumerate(classes)}
    if not multi_label:
        return np.array([number[name] for (name,) in labels], dtype=np.int64)
    encoded = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row, names in enumerate(labels):
        encoded[row, [number[name] for name in names]] = 1.0
    return encoded
