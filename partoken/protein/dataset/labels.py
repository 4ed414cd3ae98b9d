"""From the labels of chains to named and numbered classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from partoken.errors import UserError, did_you_mean
from partoken.protein.chains.batch import is_labelled

__all__ = ["choose_classes", "count_classes", "encode_labels", "keep_classes", "name_classes"]

SHOWN_CLASSES = 10
"""Classes that an error message lists."""


def name_classes(
    labels: Sequence[tuple[str, ...]],
    known_names: Mapping[str, str],
    class_names: Mapping[Any, str] | None = None,
    path: str = "data",
) -> dict[str, str]:
    """Names every class that occurs in the data.

    Arguments:
        labels: labels of each chain.
        known_names: names that the source knows, by label; they may include labels that do not occur.
        class_names: the user's names by label, `data.class_names`, which override the known names.
        path: place of the label in the configuration, for messages.

    Returns:
        Name by label, for all labels that occur, in the order of the labels.

    Raises:
        UserError: the user names a label that neither occurs nor is known to the source; two labels have one name; or a
            name is the label of another class.

    >>> name_classes([("1",), ("2",)], {"1": "mainly alpha"}, {2: "beta"})
    {'1': 'mainly alpha', '2': 'beta'}
    """
    present = sorted({label for labels_of_chain in labels for label in labels_of_chain})
    chosen = {str(label): name.strip() for label, name in (class_names or {}).items()}
    for label in chosen:
        if label not in present and label not in known_names:
            raise UserError(
                f"{path}.class_names.{label}: no chain has the label {label}; "
                f"the labels are {_listed(present)}.{did_you_mean(label, present)}"
            )
    names = {label: chosen.get(label, known_names.get(label, label)) for label in present}
    label_of_name: dict[str, str] = {}
    for label, name in names.items():
        other = label_of_name.setdefault(name, label)
        if other != label:
            raise UserError(
                f"{path}.class_names: the labels {other} and {label} have the same name {name!r}; rename one"
            )
        if name != label and name in names:
            raise UserError(
                f"{path}.class_names.{label}={name}: {name} is the label of another class; choose another name"
            )
    return names


def choose_classes(
    labels: Sequence[tuple[str, ...]],
    names: Mapping[str, str],
    classes: Sequence[str | int] | None = None,
    min_class_size: int = 1,
    path: str = "data",
) -> tuple[list[str], Counter[str]]:
    """Chooses the classes to learn.

    Arguments:
        labels: labels of each chain.
        names: name by label, see `name_classes`.
        classes: labels or names of the classes to learn; None: all.
        min_class_size: classes with fewer chains are left out.
        path: place of the label in the configuration, for messages.

    Returns:
        The labels of the chosen classes, sorted; and the number of chains of each other label.

    Raises:
        UserError: no chain has a class of `classes`, or fewer than two classes are left.
    """
    counts = Counter(label for labels_of_chain in labels for label in labels_of_chain)
    wanted = sorted(counts) if classes is None else [_find_label(c, names, path) for c in classes]
    kept = sorted(label for label in set(wanted) if counts[label] >= min_class_size)
    if len(kept) < 2:
        common = [f"{names[label]} ({count})" for label, count in counts.most_common(SHOWN_CLASSES)]
        raise UserError(
            f"at least two classes of {path}.min_class_size={min_class_size} or more chains are needed, but there are "
            f"{len(kept)}; the data have {', '.join(common) or 'no label at all'}"
        )
    dropped = Counter({label: n for label, n in counts.items() if label not in kept})
    return kept, dropped


def keep_classes(labels: Sequence[tuple[str, ...]], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Removes the labels of other classes from each chain.

    >>> keep_classes([("a", "b"), ("b",)], ["a"])
    [('a',), ()]
    """
    kept = set(classes)
    return [tuple(label for label in labels_of_chain if label in kept) for labels_of_chain in labels]


def encode_labels(labels: Sequence[tuple[str, ...]], classes: Sequence[str], multi_label: bool) -> np.ndarray:
    """Returns labels as the loss takes them.

    Arguments:
        labels: labels of each of n chains, () for an unlabelled one; at most one label if not `multi_label`.
        classes: the C labels that are learned; a class number is the place of a label here.
        multi_label: a chain may have several labels.

    Returns:
        int64 [n] class numbers, -1 for an unlabelled chain; or if `multi_label`, float32 [n, C] zeros and ones, and NaN
        in the row of an unlabelled chain.

    >>> encode_labels([("b",), ("a",), ()], ["a", "b"], multi_label=False).tolist()
    [1, 0, -1]
    """
    number = {label: i for i, label in enumerate(classes)}
    if not multi_label:
        return np.array([number[of_chain[0]] if of_chain else -1 for of_chain in labels], dtype=np.int64)
    encoded = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row, labels_of_chain in enumerate(labels):
        encoded[row, [number[label] for label in labels_of_chain]] = 1.0
        if not labels_of_chain:
            encoded[row] = np.nan
    return encoded


def count_classes(encoded: torch.Tensor, num_classes: int) -> list[int]:
    """Returns the number of chains of each class; `encoded` is the result of `encode_labels`, as a tensor.

    >>> count_classes(torch.tensor([0, 2, -1, 2]), 3)
    [1, 0, 2]
    """
    known = encoded[is_labelled(encoded)]
    if known.ndim == 2:
        return known.sum(0).long().tolist()
    return torch.bincount(known, minlength=num_classes).tolist()


def _find_label(wanted: str | int, names: Mapping[str, str], path: str) -> str:
    """Returns the label of a class that is given by its label or its name."""
    text = str(wanted)
    if text in names:
        return text
    label_of_name = {name: label for label, name in names.items()}
    if text in label_of_name:
        return label_of_name[text]
    known = [label if label == name else f"{label} ({name})" for label, name in names.items()]
    hint = did_you_mean(text, [*names, *label_of_name])
    raise UserError(f"{path}.classes: no chain has the class {text}; the classes are {_listed(known)}.{hint}")


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - SHOWN_CLASSES
    return ", ".join(texts[:SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")
