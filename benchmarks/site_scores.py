"""Scores of one chain whose sites are known: rankings of its residues, and substructures that hold its sites."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch

from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.batch import collate
from partoken.protein.explanation_checks.patches import random_patches
from partoken.protein.explanation_checks.ranking import score_ranking, share_inside
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.regions import find_regions
from partoken.protein.geometry.surroundings import SURROUNDINGS, surroundings
from partoken.protein.model.importance import check_method, explain
from partoken.protein.model.saved import SavedNetwork
from partoken.protein.model.self_supervised import SelfSupervised

INSIDE = "inside "
"""Begins the names of lines about substructures."""
REGIONS = (12, 20)
"""Residues of a region."""
METHODS = (
    "substitution",
    "reading",
    "attention",
    "reading_and_prior",
    "self_supervised",
    "reading_and_self_supervised",
)
"""Methods of importance that are compared."""
TOP = (1, 3, 5)
"""Numbers of substructures to look into."""
DRAWS = 20
"""Random sets of substructures of a chain."""

Lines = dict[str, dict[str, float]]
"""Scores by line and by name of the score."""


def score_network(
    saved: SavedNetwork, chain: Backbone, sites: Sequence[int], self_supervised: SelfSupervised | None = None
) -> Lines:
    """Scores the methods of importance that a network supports, and substructures by each."""
    inputs = collate([chain]).inputs()
    lines: Lines = {}
    own: list[list[int]] = []
    for method in METHODS:
        try:
            check_method(method, saved.network)
        except UserError:
            continue
        output, importance = explain(saved.network, saved.labels, inputs, method, self_supervised)
        own = members(output.assignment.numpy())
        lines |= _score(method, chain, importance.numpy(), sites)
        if own:
            lines[f"{INSIDE}those of the network by {method}"] = inside(own, importance.numpy(), sites)
    if own:
        lines[f"{INSIDE}random, of the sizes of those of the network"] = by_chance(own, chain, sites)
    return lines


def score_geometry(chain: Backbone, sites: Sequence[int]) -> Lines:
    """Scores lines that need no network."""
    numbers = surroundings(torch.from_numpy(chain.coords), torch.tensor([0, len(chain)])).numpy()
    closeness, pocket, contacts = (numbers[:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket", "contacts"))
    rankings = {"random": np.zeros(len(chain)), "contacts": contacts, "closeness": closeness, "pocket": pocket}
    lines: Lines = {}
    for name, ranking in (rankings | {"closeness x pocket": closeness * pocket}).items():
        lines |= _score(name, chain, ranking, sites)
    for size in REGIONS:
        lines[f"{INSIDE}random regions of {size}"] = by_chance([list(range(size))] * max(TOP), chain, sites)
    return lines


def regions_of(chain: Backbone, scores: np.ndarray, size: int) -> list[list[int]]:
    """Returns the first regions of up to `size` residues of a chain, that with the largest sum of scores first."""
    batch = collate([chain])
    graph = featurize(batch.coords, batch.ptr, 3 * size, features=False)
    return members(find_regions(graph, torch.from_numpy(scores), size, max(TOP)).assignment.numpy())


def members(assignment: np.ndarray) -> list[list[int]]:
    """Returns the residues of each substructure."""
    return [np.flatnonzero(assignment == number).tolist() for number in range(assignment.max() + 1)]


def inside(substructures: Sequence[Sequence[int]], importance: np.ndarray, sites: Sequence[int]) -> dict[str, float]:
    """Returns the fraction of the sites in the first substructures by the mean importance of their residues."""
    means = [float(importance[own].mean()) for own in substructures]
    return {f"first {count}": share for count, share in share_inside(substructures, means, sites, TOP).items()}


def by_chance(like: Sequence[Sequence[int]], chain: Backbone, sites: Sequence[int]) -> dict[str, float]:
    """Returns the fraction of the sites in compact random substructures of given sizes, in random order."""
    random = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        sizes = [len(like[number]) for number in random.permutation(len(like))[: max(TOP)]]
        patches = random_patches(chain, sizes, random)
        draws.append(share_inside(patches, [0.0] * len(patches), sites, TOP))
    return {f"first {count}": fmean(draw[count] for draw in draws) for count in TOP}


def _score(name: str, chain: Backbone, importance: np.ndarray, sites: Sequence[int]) -> Lines:
    found = score_ranking(importance, sites)
    inside_regions = {}
    for size in REGIONS:
        regions = regions_of(chain, importance, size)
        shares = share_inside(regions, [-number for number in range(len(regions))], sites, TOP)
        inside_regions[f"{INSIDE}regions of {size} by {name}"] = {
            f"first {count}": share for count, share in shares.items()
        }
    return {
        name: {
            "in the top tenth": found.in_top_tenth,
            "all in the top 20": found.all_in_top_20,
            "median rank": found.median_rank,
        },
        **inside_regions,
    }
