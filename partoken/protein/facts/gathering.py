"""The chains of a report: those of the run with their true classes, and those of files that the user names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from partoken.protein.catalog import EMBEDDED_NAMES
from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation.file_atoms import FileAtoms, read_atoms
from partoken.protein.explanation_checks.site_chains import origins
from partoken.protein.explanation_checks.sites import KnownSites
from partoken.protein.facts.details import author_numbers, with_names
from partoken.protein.facts.seen import GivenChain
from partoken.protein.model.labels import LearnedLabel
from partoken.protein.run_chains import GIVEN, RunChains

__all__ = ["MOST", "Gathered", "gather", "place_sites", "read_residues"]

MOST = 2000
"""Largest number of chains of a run in a report."""
_SPLITS = {"test": "test", "val": "validation", "train": "train"}
"""Names of the splits, in the order of the report."""


@dataclass(frozen=True)
class Gathered:
    """The chains of a report, and how many others the run has."""

    chains: Sequence[GivenChain]
    left_out: int
    """Chains of the run that are not in the report, because there are more than `MOST`."""


def gather(run: RunChains) -> Gathered:
    """Returns the named chains, then up to `MOST` of test, validation and training.

    A named chain with id and sequence of a chain of the run takes its place, with its split and true class: its file
    has the names of the residues. One with the same id and another sequence hides that of the run. Other named chains
    have the true classes of their table, in columns with the names of the labels.
    """
    given = {chain.id: chain for chain in run.given}
    of_run: list[GivenChain] = []
    left_out = 0
    for split in (split for split in _SPLITS if split in run.splits):
        ids = run.ids(split)
        chosen = set(ids[: MOST - len(of_run)])
        left_out += len(ids) - len(chosen)
        truth = run.truth(split)
        for chain in run.read(split, chosen):
            own = given.get(chain.id, chain)
            if own.letters == chain.letters:
                of_run.append(GivenChain(own, _SPLITS[split], truth[chain.id], named=chain.id in given))
                given.pop(chain.id, None)
    origin = origins(run)
    labels = run.predictor.labels
    named = [
        GivenChain(one, _SPLITS.get(origin.get(one.id, ""), GIVEN), _truth(one, labels), named=True)
        for one in given.values()
    ]
    return Gathered([*named, *of_run], left_out)


def _truth(chain: Backbone, labels: Mapping[str, LearnedLabel]) -> dict[str, str]:
    """Returns the true classes of a chain by label, as the columns of its table have them.

    The codes of the table that ships are read as names. A cell with another class than those of the label is left out.
    """
    found = {}
    for name, label in labels.items():
        cell = chain.fields.get(name, "")
        classes = [EMBEDDED_NAMES.get(name, {}).get(one, one) for one in cell.split(";")]
        if set(classes) <= set(label.class_names):
            found[name] = ";".join(classes)
    return found


def place_sites(
    run: RunChains, chains: Sequence[GivenChain], known: Mapping[str, KnownSites]
) -> dict[str, tuple[int, ...]]:
    """Returns the positions of known residues, counted from 0, by id of the chain.

    A chain without author numbers is left out if the table has author numbers and no letters to check them with.

    Raises:
        UserError: a known residue is not in its chain.
    """
    placed = {}
    for one in chains:
        sites = known.get(one.backbone.id)
        if sites is None:
            continue
        [chain] = run.name_residues([one.backbone])
        numbers = None if chain.names is None else author_numbers(chain.names)
        if numbers or sites.by_position or sites.letters:
            placed[chain.id] = sites.find(chain.letters, numbers)
    return placed


def read_residues(run: RunChains, chain: Backbone) -> tuple[Backbone, FileAtoms | None]:
    """Returns a chain with the names of its residues, and all atoms of its file; None: there is no file that
    can be parsed."""
    if chain.names is None:
        [chain] = run.name_residues([chain])
    if chain.names is None:
        return with_names(chain), None
    return chain, read_atoms(chain.names.file)
