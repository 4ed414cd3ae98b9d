"""The tables of the checks, with a sentence on what was measured on which chains."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from partoken.protein.explanation_checks.checks import MOST_CHANGED, RunChecks
from partoken.protein.explanation_checks.codes import SAME
from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.explanation_checks.site_scores import IMPORTANCE
from partoken.protein.explanation_checks.tables import CheckTable, Row, spread, tabulate

__all__ = ["describe_sites", "make_tables"]

_NAMES = {
    "train": "in training",
    "val": "validation",
    "test": "test",
    "given": "given",
    "unused": "not used by the run",
}
"""Origins of chains, for a person."""

_TEXTS = {
    "residues": (
        "How high the sites rank among the residues of their chain. Median rank: 0 is first, 1 last. "
        "random: what chance gives; closeness, pocket and prior need no network."
    ),
    "substructures": (
        "Fraction of the sites inside the first substructures. The same substructures in another order, and "
        "substructures of the same sizes around random residues, stand beside them."
    ),
    "motif": "The most important substructure and the residues that rank highest, compared with the planted motif.",
    "deletion": (
        "Probability of the predicted class: how far it falls without these residues, how often further than without "
        "as many at a random place, and what remains for these residues alone. Deletion shifts any input away "
        "from the chains that were learned, so compare with random."
    ),
    "stability": (
        "Agreement with the explanation of the same chain after a change: 1 is the same. importance: rank correlation; "
        "partition: adjusted Rand index, 0 by chance; tokens: residues with the same token, or the adjusted Rand index "
        "between runs."
    ),
}
_TITLES = {"motif": "Planted motif", "deletion": "Deletion and sufficiency", "stability": "Stability"}


def make_tables(runs: Sequence[RunChecks]) -> list[CheckTable]:
    """Makes the tables of all checks that were possible; several runs are averaged.

    Arguments:
        runs: Of one run or of several.
    """
    tables = []
    measured = [run.measured.checks for run in runs]
    for check in measured[0]:
        kind, _, group = check.partition(", ")
        values = [own.get(check, {}) for own in measured]
        if group == "not in training" and _size(values[0]) == _size(measured[0][f"{kind}, all chains"]):
            continue  # no chain was in training
        title = f"Known sites: {kind}, {group}" if group else _TITLES[kind]
        text = _TEXTS[kind]
        if not group:
            text += f" {_of_chains(runs[0].chains, None if kind == 'motif' else MOST_CHANGED)}."
        tables.append(tabulate(title, f"{text} {_deviation(len(runs))}", "line" if group else kind, values))
    if any(run.codes for run in runs):
        tables.append(_codebook(runs))
    return tables


def describe_sites(runs: Sequence[RunChecks], table: object) -> list[str]:
    """Returns lines on the known sites: on which chains they were scored, and the main figure."""
    sites = runs[0].sites
    if sites is None:
        return []
    total = len(sites.chains) + len(sites.missing)
    lines = []
    if sites.chains:
        checks = [run.measured.checks["residues, all chains"] for run in runs]
        top, by_chance, prior = (
            spread([own[line]["in the top tenth"] for own in checks]) for line in (IMPORTANCE, "random", "prior")
        )
        lines.append(
            f"known sites: {top} of them in the tenth of the residues that ranks highest; by chance {by_chance}, by "
            f"closeness x pocket {prior}"
        )
        lines.append(f"scored on {_counted(sites.splits)} of the {total} chains of {table}")
    if sites.missing:
        shown = ", ".join(sites.missing[:3]) + (", ..." if len(sites.missing) > 3 else "")
        count = len(sites.missing)
        lines.append(f"not scored: the known sites of {count} of the {total} chains of {table}, not found: {shown}")
    return lines


def _codebook(runs: Sequence[RunChecks]) -> CheckTable:
    rows: list[Row] = []
    for run in runs:
        if found := run.codes:
            used, size = int(found["used"]), int(found["codes"])
            share, perplexity = f"{used / size:.3f}", f"{found['perplexity']:.1f}"
            of_run = str(run.run.checkpoint)
            rows.append([of_run, size, used, share, perplexity, int(found["redundant"]), int(found["substructures"])])
    text = (
        f"Codes that occur. Redundant: used codes that have another one at a cosine above {SAME}. "
        f"{_of_chains(runs[0].held_out)}."
    )
    columns = ["checkpoint", "codes", "used", "share used", "perplexity", "redundant", "substructures"]
    return CheckTable("Codebook", text, columns, rows)


def _of_chains(chains: Sequence[ExplainedChain], most: int | None = None) -> str:
    """Says on which chains something was measured."""
    text = f"Measured on {_counted([chain.split for chain in chains])}"
    return f"{text}, on {most} of them spread evenly" if most is not None and len(chains) > most else text


def _counted(splits: Sequence[str]) -> str:
    """Counts chains by their origin.

    >>> _counted(["train", "test", "test"])
    '3 chains (1 in training, 2 test)'
    """
    counts = Counter(splits)
    parts = ", ".join(f"{counts[split]} {name}" for split, name in _NAMES.items() if counts[split])
    return f"{len(splits)} chains ({parts})"


def _deviation(num_runs: int) -> str:
    if num_runs > 1:
        return f"Mean of {num_runs} runs +- standard deviation over the runs."
    return "Mean +- standard error over chains."


def _size(rows: dict[str, dict[str, list[float]]]) -> float:
    """Returns the mean number of chains of the rows of a check."""
    return fmean([len(values) for columns in rows.values() for values in columns.values()] or [0])
