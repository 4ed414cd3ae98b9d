"""What a report says of itself: the model, what was learned from what, and how the chains were chosen."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.protein.explanation.introduction import introduce_importance
from partoken.protein.explanation_checks.ranking import score_ranking
from partoken.protein.explanation_checks.tables import spread
from partoken.protein.facts.gathering import MOST, Gathered
from partoken.protein.facts.seen import SeenChain
from partoken.protein.model.importance import METHODS
from partoken.protein.model.labels import LearnedLabel
from partoken.version import __version__

__all__ = ["describe_found", "describe_report", "shipped_scores"]


def describe_report(
    name: str,
    labels: Sequence[LearnedLabel],
    shipped: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    method: str,
    gathered: Gathered,
    found: str | None,
) -> dict[str, Any]:
    """Returns plain texts.

    Arguments:
        name: Run folder or checkpoint, as the user gave it.
        labels: The labels of the network.
        shipped: What is known of weights that ship, else empty.
        scores: Scores of the labels, see `recorded_scores`.
        method: Method of the importance of residues.
        gathered: The chains of the report.
        found: How often the importance finds known sites, see `describe_found`; None: there are none.
    """
    unseen = sum(one.split != "train" for one in gathered.chains)
    return {
        "title": shipped.get("title") or "/".join(Path(name).parts[-2:]) or "report",
        "checkpoint": name,
        "learned": _learned(labels, shipped, scores),
        "written": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "method": method,
        "method_text": METHODS[method],
        "importance": introduce_importance(shipped, labels, method, found),
        "unseen_chains": unseen,
        "left_out": _left_out(gathered),
        "chosen": None,
    }


def describe_found(chains: Sequence[SeenChain], sites: Mapping[str, Sequence[int]]) -> str | None:
    """Says how often the residues of high importance are known sites; None: no chain has known sites.

    Arguments:
        chains: The chains of the report.
        sites: Positions of known sites, counted from 0, by id of the chain.
    """
    shares = [
        score_ranking(one.importance, sites[one.backbone.id]).in_top_tenth for one in chains if one.backbone.id in sites
    ]
    if not shares:
        return None
    of_chains = "a chain" if len(shares) == 1 else f"{len(shares):,} chains"
    return f"the tenth ranked highest has {spread([shares])} of the known sites of {of_chains} (by chance 0.10)"


def shipped_scores(shipped: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the scores of weights that ship beside those of the most frequent class; []: they are of a run."""
    return [
        {
            "label": label,
            "num_chains": own["chains"],
            "accuracy": own["accuracy"],
            "macro_f1": own.get("macro_f1"),
            "baselines": {"most frequent": {"accuracy": own["most_frequent"], "macro_f1": None}},
        }
        for label, own in shipped.get("test", {}).items()
    ]


def _learned(labels: Sequence[LearnedLabel], shipped: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> str:
    """Says in one line what was learned from what, and how often it is right.

    >>> label = LearnedLabel("", ("a", "b"), False, train_chains=1200)
    >>> scores = [{"label": "", "accuracy": 0.8, "num_chains": 90, "baselines": {"always 'a'": {"accuracy": 0.5}}}]
    >>> _learned([label], {}, scores)
    "learned the classes of 1,200 chains; right for 0.80 of 90 test chains (always 'a' 0.50)"
    """
    chains = shipped.get("chains") or max((label.train_chains for label in labels), default=0)
    texts = [f"learned the classes of {chains:,} chains"]
    for row in scores:
        if row["accuracy"] is None:
            continue
        simple = ", ".join(
            f"{name} {own['accuracy']:.2f}" for name, own in row["baselines"].items() if own["accuracy"] is not None
        )
        of_label = f"{row['label']}: " if row["label"] else ""
        tested = "the test chains" if row["num_chains"] is None else f"{row['num_chains']:,} test chains"
        texts.append(f"{of_label}right for {row['accuracy']:.2f} of {tested} ({simple})")
    if not scores:
        texts.append("its scores on test chains are not known")
    return "; ".join(texts)


def _left_out(gathered: Gathered) -> str | None:
    if not gathered.left_out:
        return None
    return (
        f"{gathered.left_out:,} chains of the run are left out, because a report has at most {MOST:,}: those of the "
        "test come first, then validation, then training"
    )
