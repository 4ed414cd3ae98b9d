"""The chains whose known sites are scored, and where they come from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.explanation_checks.sites import KnownSites
from partoken.protein.run_chains import GIVEN, RunChains
from partoken.system.tables import read_table

__all__ = ["UNUSED", "SiteChains", "find_sites", "origins", "site_chains"]

UNUSED = "unused"
"""Origin of a chain of the source that the run did not use, for example because of `data.limit`."""
_ROLES = {"trained": "train", "validation": "val", "held out": "test"}
"""Origins of the chains in the list of weights that ship."""


@dataclass(frozen=True)
class SiteChains:
    """Chains with known sites."""

    chains: Sequence[Backbone]
    splits: Sequence[str]
    """Origin of each chain: a split of the run, `given`, or `UNUSED`."""
    missing: Sequence[str]
    """Ids of the table that no chain has."""


def origins(run: RunChains) -> dict[str, str]:
    """Returns the origin of each chain that the network knows, by id: `train`, `val` or `test`."""
    if run.data is not None:
        return {name: split for split in run.splits if split != GIVEN for name in run.ids(split)}
    listed = run.predictor.about.get("list")
    if not listed:
        return {}
    table = Path(str(resources.files("partoken"))).parent / listed
    return {row["id"]: _ROLES[row["role"]] for row in read_table(table)}


def site_chains(run: RunChains, known: Mapping[str, KnownSites]) -> SiteChains:
    """Finds the chains with known sites: among the given ones if there are any, else in the source of the run."""
    found: dict[str, Backbone] = {}
    if run.given:
        found = {chain.id: chain for chain in run.read(GIVEN, known.keys())}
    else:
        for split in run.splits:
            found |= {chain.id: chain for chain in run.read(split, known.keys())}
        found |= {chain.id: chain for chain in run.read_unused(known.keys() - found.keys())}
    chains = list(found.values())
    if any(not known[chain.id].by_position for chain in chains):
        chains = run.name_residues(chains)
    origin = origins(run)
    otherwise = GIVEN if run.given else UNUSED
    splits = [origin.get(chain.id, otherwise) for chain in chains]
    return SiteChains(chains, splits, sorted(known.keys() - found.keys()))


def find_sites(chain: ExplainedChain, known: KnownSites, table: str | os.PathLike[str]) -> Sequence[int]:
    """Returns the positions of the known sites of a chain, counted from 0.

    Raises:
        UserError: a residue is not in the chain, or the chain has no author numbers and the table has nothing else.
    """
    numbers = chain.prediction.numbers
    if not known.by_position and not known.letters and not numbers:
        raise UserError(
            f"{table}: has author numbers, but the chain {known.id} was not read from a structure file and has none; "
            "give positions that count from 0, or the files with --structures"
        )
    return known.find(chain.backbone.letters, numbers or None)
