"""What a person should know of the data before believing a result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from partoken.protein.chains.collection import SPLITS, Collection
from partoken.protein.dataset.assembly import ChainDataset
from partoken.protein.dataset.similarity import nearest

__all__ = ["count_classes", "data_report", "describe_report"]

LEVELS = (0.3, 0.5, 0.9)
MOST_COMPARED = 2000
SHOWN_CLASSES = 12


def data_report(
    found: Collection, datasets: Mapping[str, ChainDataset], class_names: Sequence[str], dropped: Mapping[str, int]
) -> dict[str, Any]:
    """Returns what was read, what was left out and why, what each split holds and leaks: plain values.

    Arguments:
        found: what the source gave.
        datasets: the chains of each split.
        class_names: the classes learned.
        dropped: chains of each class that is not learned.
    """
    lengths = np.concatenate([data.lengths for data in datasets.values()])
    splits = found.splits or []
    return {
        **found.facts,
        "chains_read": len(found.store),
        "residues_read": int(found.store.lengths.sum()),
        "chains_used": len(lengths),
        "residues_used": int(lengths.sum()),
        "length": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
        "cleaned": dict(found.store.notes),
        "left_out": {
            "without_label": sum(not names for names in found.labels),
            "without_split": sum(not split for split in splits),
            "other_classes": dict(dropped),
            "skipped": dict(Counter(_kind(s.reason) for s in found.skipped).most_common()),
        },
        "classes": list(class_names),
        "chains": {split: len(data) for split, data in datasets.items()},
        "leakage": leakage(datasets),
    }


def leakage(datasets: Mapping[str, ChainDataset]) -> dict[str, Any]:
    """Compares each validation and test chain with the training chain that is most similar in sequence.

    Returns:
        For both splits the number compared (at most `MOST_COMPARED`, evenly taken), the largest identity, how many are
        at least as similar as each of `LEVELS`, and the nearest pairs.
    """
    train = datasets["train"]
    references = train.store.sequences(train.rows)
    found = {}
    for split in SPLITS[1:]:
        data = datasets[split]
        taken = np.unique(np.linspace(0, len(data) - 1, min(len(data), MOST_COMPARED)).astype(int))
        which, identity = nearest(data.store.sequences(data.rows[taken]), references)
        closest = [i for i in np.argsort(-identity, kind="stable")[:5] if identity[i] >= LEVELS[0]]
        found[split] = {
            "compared": len(taken),
            "largest_identity": round(float(identity.max()), 3),
            **{f"at_least_{level:g}": int((identity >= level).sum()) for level in LEVELS},
            "nearest": [[data.ids[taken[i]], train.ids[which[i]], round(float(identity[i]), 3)] for i in closest],
        }
    return found


def describe_report(report: Mapping[str, Any]) -> list[str]:
    """Returns the report in a few lines."""
    chains, counts, left = report["chains"], report["class_counts"], report["left_out"]
    files = f"{report['files']:,} files, " if "files" in report else ""
    total = f"{report['chains_used']:,} of {report['chains_read']:,} chains, {report['residues_used']:,} residues"
    shown = [
        f"{name} ({' / '.join(str(counts[split][i]) for split in SPLITS)})"
        for i, name in enumerate(report["classes"][:SHOWN_CLASSES])
    ]
    more = len(report["classes"]) - len(shown)
    lines = [
        f"data: {files}{total} ({', '.join(f'{split} {chains[split]}' for split in SPLITS)})",
        f"classes (train / val / test): {', '.join(shown)}{f', and {more} more' if more else ''}",
    ]
    reasons = {
        "without a label": left["without_label"],
        "without a split": left["without_split"],
        "of classes not learned": sum(left["other_classes"].values()),
        "of files labelled by another chain": report.get("chains_not_chosen", 0),
    }
    if any(reasons.values()):
        lines.append("left out: chains " + ", ".join(f"{reason} {n}" for reason, n in reasons.items() if n))
    if report["cleaned"]:
        lines.append("cleaned: " + ", ".join(f"{kind} {n}" for kind, n in report["cleaned"].items()))
    if left["skipped"]:
        kinds = list(left["skipped"].items())
        rest = sum(n for _, n in kinds[4:])
        parts = [f"{kind} ({n})" for kind, n in kinds[:4]] + ([f"others ({rest})"] if rest else [])
        lines.append(f"skipped, see skipped.csv: {', '.join(parts)}")
    near = [
        f"{split} {found[f'at_least_{LEVELS[1]:g}']} of {found['compared']} (largest {found['largest_identity']:.2f})"
        for split, found in report["leakage"].items()
    ]
    lines.append(f"chains with a training chain of {LEVELS[1]:.0%} the same sequence: {', '.join(near)}")
    return lines


def count_classes(labels: torch.Tensor, num_classes: int) -> list[int]:
    """Returns the chains of each class; labels are int64 [n], or float32 [n, C] zeros and ones.

    >>> count_classes(torch.tensor([0, 2, 2]), 3)
    [1, 0, 2]
    """
    if labels.ndim == 2:
        return labels.sum(0).long().tolist()
    return torch.bincount(labels, minlength=num_classes).tolist()


def _kind(reason: str) -> str:
    """Returns a reason without what belongs to the one case."""
    return reason.split(":")[0].split(" (")[0]
