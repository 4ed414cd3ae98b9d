"""Synthetic chains whose class depends on one motif in space, with the residues of the motif known.

Bond lengths and angles are ideal (Engh and Huber 1991, Acta Cryst. A47, 392). The dihedrals form helices, strands and
loops. Atoms of residues three or more apart are at least `MIN_DISTANCE` from each other. The motif of a class is a
sequence of backbone dihedrals. All motifs contain the same dihedrals in different orders: neither the composition nor a
Ramachandran histogram separates the classes, only the shape does.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

from partoken.errors import UserError
from partoken.protein.chains.backbone import UNKNOWN, Backbone
from partoken.protein.chains.cache import cached
from partoken.protein.chains.store import ChainStore
from partoken.protein.chains.validation import READER_VERSION
from partoken.protein.geometry.superposition import rmsd
from partoken.system.parallel import map_parallel

__all__ = ["MIN_DISTANCE", "MOTIF_LENGTH", "NO_MOTIF", "Recipe", "make_chains", "motif_dihedrals", "open_synthetic"]

MIN_DISTANCE = 2.4
"""Angstrom between atoms of residues three or more apart."""

BONDS = {"N-CA": 1.458, "CA-C": 1.525, "C-N": 1.329, "C-O": 1.231}
"""Bond lengths in angstrom."""
ANGLES = {"N-CA-C": 111.0, "CA-C-N": 117.2, "C-N-CA": 121.7, "CA-C-O": 120.1}
"""Bond angles in degrees."""

HELIX = (-63.0, -42.0)
STRAND = (-120.0, 130.0)
POLYPROLINE = (-70.0, 150.0)
LEFT_HANDED = (57.0, 40.0)
"""phi and psi in degrees."""
LOOP_SPREAD = 15.0
LOOPS = np.array([(*angles, LOOP_SPREAD) for angles in (HELIX, STRAND, POLYPROLINE, LEFT_HANDED)])
"""Dihedrals of loop residues: phi, psi and their standard deviation, in degrees."""
LOOP_PROBABILITIES = (0.35, 0.3, 0.25, 0.1)

MOTIF = [HELIX] * 5 + [STRAND] * 4 + [POLYPROLINE] * 2 + [LEFT_HANDED]
"""The dihedrals of every motif; each class has them in another order."""
MOTIF_LENGTH = len(MOTIF)
MOTIF_SPREAD = 3.0
"""Standard deviation of a motif's dihedrals between chains, in degrees."""
MIN_MOTIF_RMSD = 2.5
"""Smallest root mean square deviation between the CA atoms of two motifs, in angstrom."""

NO_MOTIF = "none"
"""Class of the chains without a motif."""

BLOCK = 64
"""Chains made together from one seed, so that the number of processes does not change the chains."""
TRIES = 8
"""Sets of dihedrals tried for a residue before the chain steps back."""
PATIENCE = 8
"""Failures of a chain before a part of its plan becomes a loop."""
COMPACTNESS = 0.6
"""Weight of the distance to the centre of the chain, per angstrom, against the random term of the choice."""


@dataclass(frozen=True)
class Recipe:
    """The synthetic chains to make.

    Raises:
        UserError: the chains would be too few, too short, or in too few or too many classes.
    """

    num_chains: int = 1000
    """Number of chains in all splits together, at least three per class."""
    num_classes: int = 4
    """Number of classes, 2 to 50; each has its own motif."""
    shortest: int = 60
    """Residues of the shortest chain."""
    longest: int = 200
    """Residues of the longest chain."""
    seed: int = 0
    """Seed of the chains."""
    without_motif: bool = False
    """Adds a class `none` of chains without a motif, as large as the others. Otherwise a network can know one of the
    classes by the absence of the other motifs, and never look at the motif of that class."""

    @property
    def all_classes(self) -> int:
        """Number of classes, with `none` if there is one."""
        return self.num_classes + self.without_motif

    def __post_init__(self) -> None:
        if self.num_classes < 2 or self.num_classes > 50:
            raise UserError(f"data.num_classes={self.num_classes}: choose 2 to 50")
        if self.num_chains < 3 * self.all_classes:
            none = " and of the class without a motif" if self.without_motif else ""
            raise UserError(
                f"data.num_chains={self.num_chains}: must be at least {3 * self.all_classes}, "
                f"three for each of data.num_classes={self.num_classes}{none}"
            )
        if not 2 * MOTIF_LENGTH <= self.shortest <= self.longest:
            raise UserError(
                f"data.shortest={self.shortest} data.longest={self.longest}: the shortest must be at least "
                f"{2 * MOTIF_LENGTH} residues, twice a motif, and not above the longest"
            )


def open_synthetic(recipe: Recipe, cache_dir: str | os.PathLike[str] | None = None) -> ChainStore:
    """Makes the chains of a recipe, or opens the cache of chains made earlier.

    Arguments:
        recipe: the chains to make.
        cache_dir: cache folder; None takes the user's cache folder.

    Raises:
        UserError: the cache cannot be written.
    """
    cache_key = {"source": "synthetic", "reader": READER_VERSION, **asdict(recipe)}
    return cached("synthetic", cache_key, None, lambda: make_chains(recipe), cache_dir)


def make_chains(recipe: Recipe, workers: int | None = None) -> Iterator[Backbone]:
    """Makes chains with the fields `label` and `motif`, the first and last residue of the motif: `start-stop`, from 0.

    A chain of the class `none` has no field `motif`.

    Arguments:
        recipe: the chains to make. The same recipe gives the same chains, in any number of processes.
        workers: number of processes; None takes all cores.
    """
    blocks = range(-(-recipe.num_chains // BLOCK))
    chains_of_blocks = map_parallel(
        partial(_make_block, recipe=recipe),
        blocks,
        description="making chains",
        workers=workers,
        few=8,
    )
    for chains in chains_of_blocks:
        yield from chains


def motif_dihedrals(recipe: Recipe) -> np.ndarray:
    """Returns the dihedrals of each class's motif: phi and psi in degrees, float64 [num_classes, MOTIF_LENGTH, 2]."""
    random = np.random.default_rng((recipe.seed, 1))
    motifs: list[np.ndarray] = []
    shapes: list[np.ndarray] = []
    while len(motifs) < recipe.num_classes:
        motif = random.permutation(np.array(MOTIF))
        shape = _shape(motif, 0.0, random)
        # If a motif almost clashes with itself, most of its variations do clash.
        variations = [_shape(motif, MOTIF_SPREAD, random) for _ in range(4)]
        if shape is None or any(variation is None for variation in variations):
            continue
        if all(rmsd(shape, other) > MIN_MOTIF_RMSD for other in shapes):
            motifs.append(motif)
            shapes.append(shape)
    return np.stack(motifs)


def _make_block(block: int, recipe: Recipe) -> list[Backbone]:
    """Makes the chains of one block."""
    motifs = motif_dihedrals(recipe)
    numbers = np.arange(block * BLOCK, min((block + 1) * BLOCK, recipe.num_chains))
    random = np.random.default_rng((recipe.seed, 2, block))
    classes = numbers % recipe.all_classes
    lengths = random.integers(recipe.shortest, recipe.longest + 1, len(numbers))
    starts = random.integers(0, lengths - MOTIF_LENGTH + 1)
    plans = [
        _plan(lengths.max(), start, motifs[kind] if kind < len(motifs) else None, random)
        for start, kind in zip(starts, classes, strict=True)
    ]
    coords_of_chains = _grow(np.stack(plans), lengths, random)
    width = len(str(recipe.num_chains - 1))
    return [
        Backbone(
            f"s{number:0{width}d}",
            coords[:length].astype(np.float32),
            random.integers(0, UNKNOWN, length).astype(np.uint8),
            {"label": f"motif{kind}", "motif": f"{start}-{start + MOTIF_LENGTH - 1}"}
            if kind < len(motifs)
            else {"label": NO_MOTIF},
        )
        for number, kind, start, length, coords in zip(numbers, classes, starts, lengths, coords_of_chains, strict=True)
    ]


def _plan(length: int, start: int, motif: np.ndarray | None, random: np.random.Generator) -> np.ndarray:
    """Plans helices, strands and loops around a motif.

    Arguments:
        length: number of residues.
        start: first residue of the motif.
        motif: its dihedrals, degrees [MOTIF_LENGTH, 2]; None: a loop is in its place.
        random: source of random numbers.

    Returns:
        float64 [length, 3]: phi, psi and their standard deviation, in degrees. All three are NaN for a loop residue,
        whose dihedrals are drawn from `LOOPS`.
    """
    plan = np.full((length, 3), np.nan)
    end = 0
    while end < length:
        is_helix = random.random() < 0.5
        part = slice(end, end + int(random.integers(*((6, 17) if is_helix else (4, 9)))))
        plan[part] = (*HELIX, 5.0) if is_helix else (*STRAND, 10.0)
        end = part.stop + int(random.integers(2, 7))  # a loop, because a strand right after a helix would clash with it
    stop = start + MOTIF_LENGTH
    plan[max(start - 3, 0) : stop + 3] = np.nan  # loops at both ends, so that the chain can avoid clashes
    if motif is not None:
        plan[start:stop] = np.column_stack([motif, np.full(MOTIF_LENGTH, MOTIF_SPREAD)])
    return plan


def _grow(plans: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Builds chains residue by residue without clashes; a chain that is stuck steps back some residues.

    Among the dihedrals tried, the choice favours compact chains and has a random term. If a chain stays stuck, a helix
    or strand of its plan becomes a loop.

    Arguments:
        plans: float64 [B, L, 3], see `_plan`.
        lengths: number of residues of each chain, int64 [B].
        random: source of random numbers.

    Returns:
        Coordinates in angstrom, float64 [B, L, 4, 3]; residues beyond a chain's length are undefined.
    """
    plans = plans.copy()
    number, longest, _ = plans.shape
    coords = _initial_coords(number, longest)
    position, farthest, failures = np.zeros((3, number), dtype=np.int64)
    while len(rows := np.flatnonzero(position < lengths)):
        i = position[rows]
        placed, is_free = _tries(coords[rows], plans[rows, i], i, random)
        chosen = _choose(placed, is_free, coords[rows, 1 : i.max() + 2, 1], i, random)
        placed = placed[np.arange(len(rows)), chosen]
        coords[rows, i + 1, 2:], coords[rows, i + 2, :2] = placed[:, :2], placed[:, 2:]
        position[rows] = i + 1
        is_stuck = ~is_free.any(1)
        failures[rows[~is_stuck & (i >= farthest[rows])]] = 0
        farthest[rows] = np.maximum(farthest[rows], i)
        blocked = np.where(is_stuck, i, -1)
        for k in np.flatnonzero(position[rows] == lengths[rows]):
            clash = _first_clash(coords[rows[k], 1 : lengths[rows[k]] + 1])
            if clash is not None:
                blocked[k], farthest[rows[k]] = clash, clash
        for row, residue in zip(rows[blocked >= 0], blocked[blocked >= 0], strict=True):
            failures[row] += 1
            # The more often the chain has failed here, the farther it steps back and the more of the plan it drops.
            steps_back = random.integers(1, 6 + 4 * min(failures[row], 10))
            position[row] = max(residue - steps_back, 0)
            if failures[row] % PATIENCE == 0:
                nearby = slice(max(farthest[row] - failures[row], 0), farthest[row] + 3)
                part = plans[row, nearby]
                part[part[:, 2] != MOTIF_SPREAD] = np.nan
    return coords[:, 1:-1]


def _choose(
    placed: np.ndarray,
    is_free: np.ndarray,
    ca: np.ndarray,
    i: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """Chooses one of the tries for each chain, int64 [B], by distance to the centre and a random term.

    Arguments:
        placed: coordinates of the tries, float64 [B, TRIES, 4, 3], see `_tries`.
        is_free: whether a try has no clash, bool [B, TRIES].
        ca: CA atoms built so far, float64 [B, P, 3]; zeros for residues that are not built.
        i: index of the residue, int64 [B].
        random: source of random numbers.
    """
    centre = ca.sum(1) / np.maximum(i + 1, 1)[:, None]
    cost = COMPACTNESS * np.linalg.norm(placed[:, :, 3] - centre[:, None], axis=-1)
    cost = cost + random.gumbel(size=cost.shape)
    return np.argmin(np.where(is_free, cost, np.inf), axis=1)


def _initial_coords(number: int, longest: int) -> np.ndarray:
    """Returns space for chains, float64 [B, L + 2, 4, 3], that holds N and CA of their first residues.

    Residue i has the index i + 1. Index 0 holds only a C atom, and each step also places N and CA of the next residue.
    """
    coords = np.zeros((number, longest + 2, 4, 3))
    coords[:, 1, 1, 0] = BONDS["N-CA"]
    ca, n = coords[0, 1, 1], coords[0, 1, 0]
    coords[:, 0, 2] = _place(np.array([1.5, 5, 5]), ca, n, "C-N", "C-N-CA", np.array(60.0))
    return coords


def _shape(motif: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray | None:
    """Returns the CA atoms of a motif in angstrom, float64 [MOTIF_LENGTH, 3], or None if one of the tries clashes."""
    coords = _initial_coords(1, MOTIF_LENGTH + 1)
    # CA and O of the residue before lie in the peptide plane of the first residue, so they are part of the shape.
    for i, dihedrals in enumerate([STRAND, *motif]):
        plan = np.array([[*dihedrals, spread]])
        placed, is_free = _tries(coords, plan, np.array([i]), random)
        if not is_free.all():
            return None
        coords[0, i + 1, 2:], coords[0, i + 2, :2] = placed[0, 0, :2], placed[0, 0, 2:]
    return coords[0, 2:-1, 1] if _first_clash(coords[0, 1:-1]) is None else None


def _tries(
    coords: np.ndarray, plan: np.ndarray, i: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places C and O of residue i and N and CA of the next one, with `TRIES` sets of dihedrals.

    Arguments:
        coords: float64 [B, L + 2, 4, 3], see `_initial_coords`.
        plan: float64 [B, 3], the plan of residue i, see `_plan`.
        i: index of the residue, int64 [B].
        random: source of random numbers.

    Returns:
        Coordinates in angstrom, float64 [B, TRIES, 4, 3], in the order C, O, N, CA; and whether they have no clash,
        bool [B, TRIES].
    """
    number = len(coords)
    all_chains = np.arange(number)
    angles = np.repeat(plan[:, None], TRIES, axis=1)
    loops = LOOPS[random.choice(len(LOOPS), (number, TRIES), p=LOOP_PROBABILITIES)]
    angles = np.where(np.isnan(angles), loops, angles)
    noise = angles[..., 2:] * random.normal(size=(number, TRIES, 2))
    phi, psi = np.moveaxis(angles[..., :2] + noise, -1, 0)
    previous_c = coords[all_chains, i, 2][:, None]
    n = coords[all_chains, i + 1, 0][:, None]
    ca = coords[all_chains, i + 1, 1][:, None]
    c = _place(previous_c, n, ca, "CA-C", "N-CA-C", phi)
    o = _place(n, ca, c, "C-O", "CA-C-O", psi + 180)
    next_n = _place(n, ca, c, "C-N", "CA-C-N", psi)
    next_ca = _place(ca, c, next_n, "N-CA", "C-N-CA", np.full_like(psi, 180.0))
    # Residues at least three apart are compared: up to i - 2 with the next CA, which belongs to i + 1; up to i - 3
    # with this O.
    old = coords[:, 1 : max(i.max(), 1)]
    old_ca, old_o = old[:, :, 1], old[:, :, 3]
    left_out = np.arange(old.shape[1]) >= i[:, None] - 1
    is_free = _nearest_distance(next_ca, old_ca, left_out) > 4.0
    is_free &= _nearest_distance(next_ca, old_o, left_out) > 2.9
    left_out = np.arange(old.shape[1]) >= i[:, None] - 2
    is_free &= _nearest_distance(o, old_ca, left_out) > 2.9
    is_free &= _nearest_distance(o, old_o, left_out) > 2.9
    return np.stack([c, o, next_n, next_ca], axis=2), is_free


def _place(
    first: np.ndarray,
    second: np.ndarray,
    third: np.ndarray,
    bond: str,
    angle: str,
    dihedral: np.ndarray,
) -> np.ndarray:
    """Places an atom after three others.

    Arguments:
        first: position in angstrom, [..., 3].
        second: position in angstrom, [..., 3].
        third: position in angstrom, [..., 3]; the new atom is bound to it.
        bond: key of `BONDS`.
        angle: key of `ANGLES`, at the third atom.
        dihedral: degrees, [...].

    Returns:
        Position in angstrom, [..., 3].
    """
    along = third - second
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    normal = np.cross(second - first, along)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    across = np.cross(normal, along)
    theta, turn = np.radians(ANGLES[angle]), np.radians(dihedral)[..., None]
    side = np.sin(theta) * (np.cos(turn) * across + np.sin(turn) * normal)
    return third + BONDS[bond] * (side - np.cos(theta) * along)


def _nearest_distance(points: np.ndarray, others: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Returns the distance of each point to the nearest other point.

    Arguments:
        points: [B, T, 3] in angstrom.
        others: [B, P, 3] in angstrom.
        left_out: other points that do not count, bool [B, P].

    Returns:
        Distances in angstrom, [B, T]; infinity without any other point.
    """
    if not others.shape[1]:
        return np.full(points.shape[:2], np.inf)
    products = 2 * points @ others.transpose(0, 2, 1)
    squares = (points**2).sum(-1)[..., None] + (others**2).sum(-1)[:, None] - products
    nearest = np.where(left_out[:, None], np.inf, squares).min(-1)
    return np.sqrt(np.maximum(nearest, 0))


def _first_clash(coords: np.ndarray) -> int | None:
    """Returns the first residue of [L, 4, 3] that clashes with one at least three before it, or None."""
    atoms = cKDTree(coords.reshape(-1, 3))
    residues = atoms.query_pairs(MIN_DISTANCE, output_type="ndarray") // 4
    first, second = np.sort(residues, axis=1).T
    clashing = second[second - first >= 3]
    return int(clashing.min()) if len(clashing) else None
