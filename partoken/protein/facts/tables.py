"""The facts of a report as CSV files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from partoken.protein.facts.seen import SeenChain
from partoken.system.tables import write_table

__all__ = ["TABLES", "write_tables"]

TABLES = ("chains.csv", "substructures.csv", "dictionary.csv")
"""Names of the files, which `write_tables` writes."""


def write_tables(folder: Path, facts: Mapping[str, Any], chains: Sequence[SeenChain]) -> list[Path]:
    """Writes `chains.csv`, `substructures.csv` and `dictionary.csv`, and returns their paths.

    Arguments:
        folder: The folder, which exists.
        facts: The facts of the report.
        chains: Its chains.

    Raises:
        OSError: a file cannot be written.
    """
    tables = {
        "chains.csv": [_chain_row(one) for one in facts["chains"]],
        "substructures.csv": [row for one in chains for row in _substructure_rows(one, facts["details"])],
        "dictionary.csv": [_token_row(one) for one in facts["dictionary"]],
    }
    for name, rows in tables.items():
        write_table(folder / name, list(dict.fromkeys(key for row in rows for key in row)), rows)
    return [folder / name for name in tables]


def _chain_row(one: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: one[name] for name in ("id", "file", "split", "length")}
    for label, answer in one["answers"].items():
        ending = f"_{label}" if label else ""
        row[f"class{ending}"] = answer["label"]
        row[f"confidence{ending}"] = answer["confidence"]
        row[f"truth{ending}"] = answer["truth"]
        row[f"right{ending}"] = _word(answer["right"])
    return {**row, "tokens": " ".join(map(str, one["tokens"])), "page": _word(one["has_page"])}


def _substructure_rows(one: SeenChain, details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of a chain; `fall` is how far the probability of the predicted class falls without it."""
    of_page = details.get(one.backbone.id)
    rows = []
    for part in one.substructures:
        row: dict[str, Any] = {
            "id": one.backbone.id,
            "substructure": part.number,
            "token": part.token,
            "size": len(part.residues),
            "importance": round(part.importance, 4),
            "closeness": "" if part.closeness is None else round(part.closeness, 4),
            "positions": " ".join(map(str, part.residues)),
            **{name: round(value, 4) for name, value in part.states.items()},
        }
        for label, answer in one.prediction.answers.items():
            without = of_page["substructures"][part.number - 1]["without"].get(label) if of_page else None
            fall = answer.confidence - without[_likeliest(answer.probabilities)] if without else None
            row[f"fall_{label}" if label else "fall"] = "" if fall is None else round(fall, 4)
        rows.append(row)
    return rows


def _token_row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a token: the class that goes with it best, of all that it goes with."""
    row: dict[str, Any] = {name: one[name] for name in ("token", "count", "chains", "share")}
    row["share"] = round(row["share"], 6)
    row["dead"] = _word(one["dead"])
    if one["dead"]:
        return row
    best: Mapping[str, Any] = min(one["classes"], key=lambda pair: (pair["q"], pair["p"]), default={})
    row |= {name: best.get(name) for name in ("label", "class", "enrichment", "p", "q")}
    row |= {name: one[name] for name in ("helix", "strand", "coil", "size_mean")}
    row["conserved"] = " ".join(f"{found['residue']}{found['offset']:+d}" for found in one["conserved"])
    return row | one["recurrence"]


def _likeliest(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=probabilities.__getitem__)


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
