"""What the page of a chain shows: its structure, its residues, its substructures, and answers without each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gemmi
import numpy as np

from partoken.protein.chains.backbone import Backbone, ResidueNames
from partoken.protein.explanation.file_atoms import FileAtoms
from partoken.protein.explanation.file_names import FileNames
from partoken.protein.explanation.structures import chain_with_values, structure_text
from partoken.protein.explanation_checks.deletion import answers_without
from partoken.protein.facts.seen import SeenChain, Substructure
from partoken.protein.predict import Predictor

__all__ = ["author_numbers", "describe_chain", "with_names"]


def describe_chain(
    predictor: Predictor, one: SeenChain, chain: Backbone, atoms: FileAtoms | None, sites: Sequence[int] | None
) -> dict[str, Any]:
    """Returns plain values of a chain, see the manual's page on reports.

    Arguments:
        predictor: The network, which answers once more without each substructure.
        one: The chain with its answers.
        chain: The same chain, with the names of its residues.
        atoms: All atoms of its file; None: there is no file, and the structure has the backbone alone.
        sites: Positions of known sites, counted from 0; None: they are not known.
    """
    assert chain.names is not None, "see `with_names`"
    structure, extension = _structure(chain, one.importance, atoms)
    numbers = author_numbers(chain.names)
    without = answers_without(predictor, chain, [part.residues for part in one.substructures])
    return {
        "chain": one.backbone.fields.get("chain", ""),
        "sequence": chain.letters,
        "numbers": numbers,
        "names": list(chain.names.names),
        "structure": structure,
        "format": extension.removeprefix("."),
        "importance": [float(f"{value:.4g}") for value in one.importance],
        "substructure": _memberships(one),
        "probabilities": {label: _rounded(answer.probabilities) for label, answer in one.prediction.answers.items()},
        "substructures": [
            _row(part, numbers, {label: _rounded(values) for label, values in answers.items()}, sites)
            for part, answers in zip(one.substructures, without, strict=True)
        ],
        "sites": None if sites is None else list(sites),
    }


def author_numbers(names: ResidueNames) -> list[str]:
    """Returns the number of each residue with its insertion code, such as `102A`."""
    return [number + code for number, code in zip(names.numbers, names.insertion_codes, strict=True)]


def with_names(chain: Backbone) -> Backbone:
    """Returns a chain with names of its residues; without a structure file they are numbered from 1."""
    if chain.names is not None:
        return chain
    letters = chain.letters
    names = ResidueNames(
        file="",
        numbers=[str(position + 1) for position in range(len(chain))],
        insertion_codes=[""] * len(chain),
        names=[gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA) or "UNK" for letter in letters],
        points=chain.coords.astype(float),
    )
    return replace(chain, names=names)


def _structure(chain: Backbone, importance: np.ndarray, atoms: FileAtoms | None) -> tuple[str, str]:
    """Returns the text of a structure file with importance in percent of the largest as B factors, and its ending."""
    percent = 100 * importance / (importance.max() or 1.0)
    structure = chain_with_values(chain, percent.tolist(), atoms)
    structure.remove_waters()
    return structure_text(structure, FileNames().name(chain.id))


def _memberships(one: SeenChain) -> list[int]:
    """Returns the number of each residue's substructure, counted from 1; 0 for none."""
    numbers = [0] * len(one.backbone)
    for part in one.substructures:
        for residue in part.residues:
            numbers[residue] = part.number
    return numbers


def _row(
    part: Substructure, numbers: Sequence[str], without: Mapping[str, Any], sites: Sequence[int] | None
) -> dict[str, Any]:
    return {
        "number": part.number,
        "token": part.token,
        "size": len(part.residues),
        "importance": round(part.importance, 4),
        "closeness": None if part.closeness is None else round(part.closeness, 4),
        "residues": part.residues,
        "first": numbers[part.residues[0]],
        "last": numbers[part.residues[-1]],
        **{name: round(value, 4) for name, value in part.states.items()},
        "without": dict(without),
        "num_sites": None if sites is None else len(set(sites) & set(part.residues)),
    }


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in probabilities.items()}
