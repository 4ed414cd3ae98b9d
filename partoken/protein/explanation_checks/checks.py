"""Carries out the checks of one run, one after another."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from partoken.errors import UserError
from partoken.protein.explanation_checks.agreement import compare_explanations
from partoken.protein.explanation_checks.codes import score_codes
from partoken.protein.explanation_checks.deletion_scores import score_deletion
from partoken.protein.explanation_checks.explained import ExplainedChain, explain_chains
from partoken.protein.explanation_checks.measurements import Measurements
from partoken.protein.explanation_checks.motif import score_motif
from partoken.protein.explanation_checks.site_chains import SiteChains, find_sites, origins, site_chains
from partoken.protein.explanation_checks.site_scores import geometric_lines, score_residues, score_substructures
from partoken.protein.explanation_checks.sites import KnownSites
from partoken.protein.explanation_checks.stability import score_stability
from partoken.protein.model.importance import METHODS, check_method, default_method
from partoken.protein.run_chains import GIVEN, RunChains

__all__ = ["MOST", "MOST_CHANGED", "RunChecks", "check_run", "compare_runs"]

Item = TypeVar("Item")

MOST, MOST_CHANGED = 2000, 200
"""Largest number of chains that are explained, and that are explained again after a change."""
_SEED = 0
"""Seed of all that is drawn."""
_SHORT = {
    "most important substructure": "substructure",
    "tenth of the residues that ranks highest": "top tenth",
}
"""What is deleted, in the columns of `explain.csv`."""


@dataclass
class RunChecks:
    """The results of the checks of one run."""

    run: RunChains
    measured: Measurements = field(default_factory=Measurements)
    chains: Sequence[ExplainedChain] = ()
    """The chains of all checks but that of known sites: of the test, or those that the user gave."""
    sites: SiteChains | None = None
    """Chains with known sites; None: nobody asked."""
    codes: Mapping[str, float] | None = None
    """Use of the codebook on `held_out`; None: there is no codebook, or it is bypassed."""

    @property
    def held_out(self) -> list[ExplainedChain]:
        """Those of `chains` that were not in training."""
        return [chain for chain in self.chains if chain.split != "train"]


def check_run(
    run: RunChains, known: Mapping[str, KnownSites] | None = None, table: str | os.PathLike[str] = ""
) -> RunChecks:
    """Carries out all checks of a run.

    Arguments:
        run: The run.
        known: Known sites by id of the chain; None: they are not scored.
        table: The file that they come from, for messages.

    Raises:
        UserError: sites are not in their chain, or the network needs residue features that are missing.
    """
    found = RunChecks(run)
    if known is not None:
        _check_sites(found, known, table)
    split = GIVEN if run.given else "test"
    names = _spaced(run.ids(split), MOST)
    origin, truth = origins(run), run.truth(split)
    chains = run.read(split, set(names))
    splits = [origin.get(chain.id, split) for chain in chains]
    found.chains = explain_chains(run.predictor, chains, splits)
    for chain in found.chains:
        _describe(found.measured, chain, truth[chain.backbone.id])
    codebook = run.predictor.network.codebook
    if codebook is not None:
        found.codes = score_codes(found.held_out, codebook.get_buffer("codes"))
    _check_motifs(found)
    _check_changes(found)
    return found


def compare_runs(first: RunChecks, others: Sequence[RunChecks]) -> None:
    """Compares the explanations of the first run with those that other runs give for the same chains."""
    chains = _spaced(first.chains, MOST_CHANGED)
    for other in others:
        again = explain_chains(
            other.run.predictor, [chain.backbone for chain in chains], [chain.split for chain in chains]
        )
        for one, two in zip(chains, again, strict=True):
            values = compare_explanations(one.prediction, two.prediction, same_codes=False)
            first.measured.add("stability", "another run", values)


def _check_sites(found: RunChecks, known: Mapping[str, KnownSites], table: str | os.PathLike[str]) -> None:
    """Scores the ranking of the known sites, with every method of importance that the network supports."""
    run, measured, random = found.run, found.measured, np.random.default_rng(_SEED)
    found.sites = sites = site_chains(run, known)
    explained = explain_chains(run.predictor, sites.chains, sites.splits)
    by_method = {
        f"importance by {method}": explain_chains(run.predictor, sites.chains, sites.splits, method, f"by {method}")
        for method in _other_methods(run)
        if sites.chains
    }
    for number, chain in enumerate(explained):
        at = find_sites(chain, known[chain.backbone.id], table)
        geometry = geometric_lines(chain)
        methods = {name: np.array(chains[number].prediction.residue_importance) for name, chains in by_method.items()}
        residues = score_residues(chain, at, {**methods, **geometry})
        parts = score_substructures(chain, at, geometry, random)
        groups = ["all chains"] if chain.split == "train" else ["all chains", "not in training"]
        for group in groups:
            for line, values in residues.items():
                measured.add(f"residues, {group}", line, values)
            for line, values in parts.items():
                measured.add(f"substructures, {group}", line, values)
        _describe(measured, chain, {})
        measured.note(chain.backbone.id, {"sites": len(at)})
        measured.note(chain.backbone.id, next(iter(residues.values())), "sites")
        measured.note(chain.backbone.id, next(iter(parts.values()), {}), "sites")


def _other_methods(run: RunChains) -> list[str]:
    """Returns the methods of importance that the network supports, without its default and without the prior."""
    network, supported = run.predictor.network, []
    for method in METHODS:
        try:
            check_method(method, network)
        except UserError:
            continue
        supported.append(method)
    return [method for method in supported if method not in ("prior", default_method(network))]


def _check_motifs(found: RunChecks) -> None:
    random = np.random.default_rng(_SEED)
    for chain in found.chains:
        for line, values in score_motif(chain, random).items():
            found.measured.add("motif", line, values)
            found.measured.note(chain.backbone.id, values, f"motif {line.split()[0]}")


def _check_changes(found: RunChecks) -> None:
    """Deletes residues, and moves atoms."""
    chains, measured = _spaced(found.chains, MOST_CHANGED), found.measured
    random = np.random.default_rng(_SEED)
    for chain in tqdm(chains, unit=" chains", desc="deleting residues"):
        for part, labels in score_deletion(found.run.predictor, chain, random).items():
            for label, values in labels.items():
                measured.add("deletion", f"{label}: {part}" if label else part, values)
                measured.note(chain.backbone.id, values, f"{_SHORT[part]} {label}".strip())
    for change, compared in score_stability(found.run.predictor, chains, random).items():
        for chain, values in zip(chains, compared, strict=True):
            measured.add("stability", change, values)
            measured.note(chain.backbone.id, values, change.removesuffix(" angstrom"))


def _describe(measured: Measurements, chain: ExplainedChain, truth: Mapping[str, str]) -> None:
    """Begins the row of a chain with its answers."""
    found = chain.prediction
    cells = {"split": chain.split, "length": len(chain.backbone), "substructures": len(found.residues)}
    measured.note(chain.backbone.id, cells)
    for label, answer in found.answers.items():
        own = {"class": answer.label, "confidence": answer.confidence}
        true = {"truth": truth[label], "right": int(truth[label] == answer.label)} if label in truth else {}
        measured.note(chain.backbone.id, {f"{name} {label}".strip(): value for name, value in {**own, **true}.items()})


def _spaced(items: Sequence[Item], most: int) -> list[Item]:
    """Returns at most `most` items, spread evenly.

    >>> _spaced("abcdef", 3)
    ['a', 'c', 'e']
    """
    count = len(items)
    return [items[i * count // most] for i in range(most)] if count > most else list(items)
