"""Facts about the data that a person should know before believing a result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from partoken.protein.chains.collection import SPLITS, Collection
from partoken.protein.chains.label_spec import by_name
from partoken.protein.chains.one_type import describe_one_type, one_type
from partoken.protein.chains.store import NOT_READ
from partoken.protein.dataset.assembly import ChainDataset, Selection
from partoken.protein.dataset.families import count_families, describe_families
from partoken.protein.dataset.similarity import nearest

__all__ = ["data_report", "describe_report", "measure_leakage"]

LEVELS = (0.3, 0.5, 0.9)
"""Sequence identities at which similar chains are counted."""
MAX_COMPARED = 2000
"""Chains of a split that are compared with the training chains."""
SHOWN_PAIRS = 5
SHOWN_CLASSES = 12
SHOWN_REASONS = 4


def data_report(collection: Collection, selection: Selection, datasets: Mapping[str, ChainDataset]) -> dict[str, Any]:
    """Returns the numbers of chains read, used and left out, and how similar the splits are, as plain values.

    If a run learns several labels, what concerns a single one is given for each, by its name.

    Arguments:
        collection: the chains of the source.
        selection: the chains in use.
        datasets: the chains in use, by split.
    """
    lengths = np.concatenate([data.lengths for data in datasets.values()])
    skipped = [*collection.skipped, *selection.skipped]
    reasons = Counter(_kind(s.reason) for s in skipped)
    families = collection.families
    notes = collection.store.notes
    not_read = {kind.removeprefix(NOT_READ): count for kind, count in notes.items() if kind.startswith(NOT_READ)}
    return {
        **collection.counts,
        "chains_read": len(collection.store),
        "residues_read": int(collection.store.lengths.sum()),
        "chains_used": len(lengths),
        "residues_used": int(lengths.sum()),
        "length": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "max": int(lengths.max()),
        },
        "cleaned": {kind: count for kind, count in notes.items() if not kind.startswith(NOT_READ)},
        **({"not_read": not_read} if not_read else {}),
        "left_out": {
            "without_label": collection.labelled.count(False) if selection.labels else 0,
            "without_split": sum(not split for split in collection.splits or []),
            "other_classes": by_name({name: label.dropped for name, label in selection.labels.items()}),
            "skipped": dict(reasons.most_common()),
        },
        "classes": by_name({name: label.class_names for name, label in selection.labels.items()}),
        "chains": {split: len(data) for split, data in datasets.items()},
        "one_residue_type": find_one_type(datasets),
        "leakage": measure_leakage(datasets),
        **({} if families is None else {"families": count_families(families, datasets)}),
    }


def measure_leakage(datasets: Mapping[str, ChainDataset]) -> dict[str, Any]:
    """Compares validation and test chains with the training chain that is most similar in sequence.

    Returns:
        For val and for test: the number of chains compared (at most `MAX_COMPARED`, evenly spaced), the largest
        sequence identity, the number of chains at or above each of `LEVELS`, and the most similar pairs.
    """
    train = datasets["train"]
    references = train.store.sequences(train.rows)
    leakage = {}
    for split in SPLITS[1:]:
        data = datasets[split]
        count = min(len(data), MAX_COMPARED)
        compared = np.unique(np.linspace(0, len(data) - 1, count).astype(int))
        queries = data.store.sequences(data.rows[compared])
        reference, identity = nearest(queries, references)
        ranked = np.argsort(-identity, kind="stable")[:SHOWN_PAIRS]
        leakage[split] = {
            "compared": len(compared),
            "largest_identity": round(float(identity.max()), 3),
            **{f"at_least_{level:g}": int((identity >= level).sum()) for level in LEVELS},
            "nearest": [
                [data.ids[compared[i]], train.ids[reference[i]], round(float(identity[i]), 3)]
                for i in ranked
                if identity[i] >= LEVELS[0]
            ],
        }
    return leakage


def find_one_type(datasets: Mapping[str, ChainDataset]) -> list[str]:
    """Returns the ids of the chains whose residues are nearly all of one type: their sequence carries nothing."""
    return [
        data.ids[i]
        for data in datasets.values()
        for i, sequence in enumerate(data.store.sequences(data.rows))
        if one_type(sequence)
    ]


def describe_report(report: Mapping[str, Any]) -> list[str]:
    """Returns a report as a few lines for the log.

    Arguments:
        report: the result of `data_report`, with the `class_counts` of the splits.
    """
    left_out = report["left_out"]
    lines = [_describe_size(report), *_describe_labels(report)]
    reasons = {
        "without a label": left_out["without_label"],
        "without a split": left_out["without_split"],
        "of classes not learned": sum(n for n in left_out["other_classes"].values() if isinstance(n, int)),
        "of files labelled by another chain": report.get("chains_not_chosen", 0),
    }
    if any(reasons.values()):
        parts = [f"{reason} {count}" for reason, count in reasons.items() if count]
        lines.append(f"left out: chains {', '.join(parts)}")
    if report["cleaned"]:
        parts = [f"{kind} {count}" for kind, count in report["cleaned"].items()]
        lines.append(f"cleaned: {', '.join(parts)}")
    if report.get("not_read"):
        parts = [f"{suffix} {count:,}" for suffix, count in report["not_read"].items()]
        lines.append(f"files that are not read: {', '.join(parts)}")
    if ids := report.get("one_residue_type"):
        lines.append(describe_one_type(ids))
    if left_out["skipped"]:
        lines.append(f"skipped, see skipped.csv: {_describe_skipped(left_out['skipped'])}")
    lines.append(_describe_leakage(report["leakage"]))
    if "families" in report:
        lines.append(describe_families(report["families"]))
    return lines


def _describe_size(report: Mapping[str, Any]) -> str:
    files = f"{report['files']:,} files, " if "files" in report else ""
    used = f"{report['chains_used']:,} of {report['chains_read']:,} chains"
    splits = ", ".join(f"{split} {report['chains'][split]}" for split in SPLITS)
    return f"data: {files}{used}, {report['residues_used']:,} residues ({splits})"


def _describe_labels(report: Mapping[str, Any]) -> list[str]:
    """Returns a line about the classes of each label; nothing if labels do not matter."""
    names, counts = report["classes"], report.get("class_counts", {})
    if not isinstance(names, Mapping):
        return [_describe_classes(names, counts)]
    lines = []
    for label, of_label in names.items():
        others = sum(report["left_out"]["other_classes"][label].values())
        more = f"; chains of classes not learned {others:,}" if others else ""
        lines.append(f"{label}, {_describe_classes(of_label, counts[label])}{more}")
    return lines


def _describe_classes(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> str:
    parts = []
    for i, name in enumerate(names[:SHOWN_CLASSES]):
        parts.append(f"{name} ({' / '.join(str(counts[split][i]) for split in SPLITS)})")
    if len(names) > SHOWN_CLASSES:
        parts.append(f"and {len(names) - SHOWN_CLASSES} more")
    return f"classes (train / val / test): {', '.join(parts)}"


def _describe_skipped(skipped: Mapping[str, int]) -> str:
    reasons = list(skipped.items())
    parts = [f"{reason} ({count})" for reason, count in reasons[:SHOWN_REASONS]]
    others = sum(count for _, count in reasons[SHOWN_REASONS:])
    return ", ".join([*parts, f"others ({others})"] if others else parts)


def _describe_leakage(leakage: Mapping[str, Any]) -> str:
    level = LEVELS[1]
    parts = []
    for split, values in leakage.items():
        count, compared = values[f"at_least_{level:g}"], values["compared"]
        parts.append(f"{split} {count} of {compared} (largest {values['largest_identity']:.2f})")
    return f"chains at {level:.0%} sequence identity or more to a training chain: {', '.join(parts)}"


def _kind(reason: str) -> str:
    """Returns a reason without the details of the single case."""
    return reason.split(":")[0].split(" (")[0]
