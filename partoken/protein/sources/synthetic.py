"""Made-up chains whose class is decided by a motif in space, known residue by residue.

Bond lengths and angles are ideal (Engh and Huber 1991, Acta Cryst. A47, 392); dihedrals wander through helices,
strands and loops; no two atoms of residues apart come nearer than `CLOSEST`. The motif of each class is a word of
backbone dihedrals. All words are orders of the same dihedrals, so that neither composition nor a Ramachandran
histogram tells the classes apart: only the shape does.
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
from partoken.system.parallel import map_parallel

__all__ = ["CLOSEST", "MOTIF_LENGTH", "Recipe", "make_chains", "motif_words", "open_synthetic"]

CLOSEST = 2.4
"""Angstrom, between atoms of residues three or more apart."""

BONDS = {"N-CA": 1.458, "CA-C": 1.525, "C-N": 1.329, "C-O": 1.231}
ANGLES = {"N-CA-C": 111.0, "CA-C-N": 117.2, "C-N-CA": 121.7, "CA-C-O": 120.1}

HELIX, STRAND, POLYPROLINE, LEFT = (-63.0, -42.0), (-120.0, 130.0), (-70.0, 150.0), (57.0, 40.0)
LOOPS = np.array([(*HELIX, 15.0), (*STRAND, 15.0), (*POLYPROLINE, 15.0), (*LEFT, 15.0)])
LOOP_SHARES = (0.35, 0.3, 0.25, 0.1)

WORD = [HELIX] * 5 + [STRAND] * 4 + [POLYPROLINE] * 2 + [LEFT]
MOTIF_LENGTH = len(WORD)
MOTIF_SPREAD = 3.0
"""Degrees by which the dihedrals of a motif vary from chain to chain."""
APART = 2.5
"""Angstrom of root mean square deviation between the CA of any two motifs, at least."""

BLOCK = 64
"""Chains made together; the unit of the seed, so that the number of processes changes nothing."""
TRIES = 8
"""Dihedrals tried for a residue before the chain goes back."""
PATIENCE = 8
"""Times that a chain may fail before its plan is changed."""
COMPACT = 0.6
"""How much being an angstrom nearer to the middle counts against luck."""


@dataclass(frozen=True)
class Recipe:
    """What to make."""

    num_chains: int = 1000
    num_classes: int = 4
    shortest: int = 60
    """Residues of the shortest chain."""
    longest: int = 200
    """Residues of the longest chain."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_classes < 2 or self.num_classes > 50:
            raise UserError(f"data.num_classes={self.num_classes}: choose 2 to 50")
        if self.num_chains < 3 * self.num_classes:
            least = 3 * self.num_classes
            raise UserError(f"data.num_chains={self.num_chains}: at least three a class, {least}, are needed")
        if not 2 * MOTIF_LENGTH <= self.shortest <= self.longest:
            raise UserError(
                f"data.shortest={self.shortest} data.longest={self.longest}: lengths from {2 * MOTIF_LENGTH}, "
                "twice a motif, and the shortest not above the longest"
            )


def open_synthetic(recipe: Recipe, cache_dir: str | os.PathLike[str] | None = None) -> ChainStore:
    """Makes chains, or opens the cache where they are already."""
    identity = {"source": "synthetic", "reader": READER_VERSION, **asdict(recipe)}
    return cached("synthetic", identity, None, lambda: make_chains(recipe), cache_dir)


def make_chains(recipe: Recipe, workers: int | None = None) -> Iterator[Backbone]:
    """Makes chains; each has the fields `label` and `motif`, its first and last residue as `start-stop`, from 0.

    Arguments:
        recipe: what to make; the same recipe gives the same chains, in any number of processes.
        workers: processes; None takes all cores.
    """
    blocks = range(-(-recipe.num_chains // BLOCK))
    made = map_parallel(
        partial(_make_block, recipe=recipe), blocks, description="making chains", workers=workers, few=8
    )
    for chains in made:
        yield from chains


def motif_words(recipe: Recipe) -> np.ndarray:
    """Returns the dihedrals of each class's motif, degrees [classes, MOTIF_LENGTH, 2]: phi, psi."""
    random = np.random.default_rng((recipe.seed, 1))
    words: list[np.ndarray] = []
    shapes: list[np.ndarray] = []
    while len(words) < recipe.num_classes:
        word = random.permutation(np.array(WORD))
        shape = _shape(word, 0.0, random)
        # Where it only just misses itself, most of its variations would not.
        varied = [_shape(word, MOTIF_SPREAD, random) is not None for _ in range(4)]
        if shape is not None and all(varied) and all(_rmsd(shape, other) > APART for other in shapes):
            words.append(word)
            shapes.append(shape)
    return np.stack(words)


def _make_block(block: int, recipe: Recipe) -> list[Backbone]:
    """Makes the chains of one block."""
    words = motif_words(recipe)
    numbers = np.arange(block * BLOCK, min((block + 1) * BLOCK, recipe.num_chains))
    random = np.random.default_rng((recipe.seed, 2, block))
    classes = numbers % recipe.num_classes
    lengths = random.integers(recipe.shortest, recipe.longest + 1, len(numbers))
    starts = random.integers(0, lengths - MOTIF_LENGTH + 1)
    plans = [_wander(lengths.max(), start, words[k], random) for start, k in zip(starts, classes, strict=True)]
    grown = _grow(np.stack(plans), lengths, random)
    width = len(str(recipe.num_chains - 1))
    return [
        Backbone(
            f"s{number:0{width}d}",
            coords[:length].astype(np.float32),
            random.integers(0, UNKNOWN, length).astype(np.uint8),
            {"label": f"motif{kind}", "motif": f"{start}-{start + MOTIF_LENGTH - 1}"},
        )
        for number, kind, start, length, coords in zip(numbers, classes, starts, lengths, grown, strict=True)
    ]


def _wander(length: int, start: int, word: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns a plan of helices, strands and loops, and the motif at its place: [length, 3], phi, psi and spread.

    A loop residue has the spread NaN: its dihedrals are drawn from all over the Ramachandran plot.
    """
    plan = np.full((length, 3), np.nan)
    end = 0
    while end < length:
        helix = random.random() < 0.5
        part = slice(end, end + random.integers(*((6, 17) if helix else (4, 9))))
        plan[part] = (*HELIX, 5.0) if helix else (*STRAND, 10.0)
        end = part.stop + random.integers(2, 7)  # a loop: a strand right after a helix runs into it
    plan[max(start - 3, 0) : start + MOTIF_LENGTH + 3] = np.nan  # room to turn away from what is in the way
    plan[start : start + MOTIF_LENGTH] = np.column_stack([word, np.full(MOTIF_LENGTH, MOTIF_SPREAD)])
    return plan


def _grow(plans: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Builds chains residue by residue, each with dihedrals that bring it near nothing; goes back where none does.

    Of the dihedrals tried, those are taken that keep the chain compact, with some luck. Where a chain is stuck for
    long, a helix or strand of its plan becomes a loop.

    Arguments:
        plans: [B, L, 3] as `_wander` gives them.
        lengths: residues of each chain, int64 [B].

    Returns:
        Coordinates, angstrom [B, L, 4, 3]; beyond a chain's length, anything.
    """
    plans = plans.copy()
    number, longest, _ = plans.shape
    coords = _begun(number, longest)
    at, farthest, failures = np.zeros((3, number), dtype=np.int64)
    while len(rows := np.flatnonzero(at < lengths)):
        i = at[rows]
        placed, free = _tries(coords[rows], plans[rows, i], i, random)
        middle = coords[rows, 1 : i.max() + 2, 1].sum(1) / np.maximum(i + 1, 1)[:, None]
        cost = COMPACT * np.linalg.norm(placed[:, :, 3] - middle[:, None], axis=-1)
        chosen = np.argmin(np.where(free, cost + random.gumbel(size=cost.shape), np.inf), axis=1)
        placed = placed[np.arange(len(rows)), chosen]
        coords[rows, i + 1, 2:], coords[rows, i + 2, :2] = placed[:, :2], placed[:, 2:]
        at[rows] = i + 1
        stuck = ~free.any(1)
        failures[rows[~stuck & (i >= farthest[rows])]] = 0
        farthest[rows] = np.maximum(farthest[rows], i)
        place = np.where(stuck, i, -1)
        for k in np.flatnonzero(at[rows] == lengths[rows]):
            clash = _first_clash(coords[rows[k], 1 : lengths[rows[k]] + 1])
            if clash is not None:
                place[k], farthest[rows[k]] = clash, clash
        for row, blocked in zip(rows[place >= 0], place[place >= 0], strict=True):
            failures[row] += 1
            # The more often a place was not got past, the farther back, and the more of the plan is given up.
            at[row] = max(blocked - random.integers(1, 6 + 4 * min(failures[row], 10)), 0)
            if failures[row] % PATIENCE == 0:
                near = plans[row, max(farthest[row] - failures[row], 0) : farthest[row] + 3]
                near[near[:, 2] != MOTIF_SPREAD] = np.nan
    return coords[:, 1:-1]


def _begun(number: int, longest: int) -> np.ndarray:
    """Returns room for chains, [B, L + 2, 4, 3], with the first N and CA.

    Residue i stands at i + 1. N and CA of the next residue are placed with each; before the first stands a C alone.
    """
    coords = np.zeros((number, longest + 2, 4, 3))
    coords[:, 1, 1, 0] = BONDS["N-CA"]
    coords[:, 0, 2] = _place(np.array([1.5, 5, 5]), coords[0, 1, 1], coords[0, 1, 0], "C-N", "C-N-CA", np.array(60.0))
    return coords


def _shape(word: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray | None:
    """Returns the CA of a motif, [MOTIF_LENGTH, 3], or None where any of the tries runs into itself."""
    coords = _begun(1, MOTIF_LENGTH + 1)
    # The CA and O of the residue before hang in the peptide plane of the first, so they belong to the shape.
    for i, dihedrals in enumerate([STRAND, *word]):
        placed, free = _tries(coords, np.array([[*dihedrals, spread]]), np.array([i]), random)
        if not free.all():
            return None
        coords[0, i + 1, 2:], coords[0, i + 2, :2] = placed[0, 0, :2], placed[0, 0, 2:]
    return coords[0, 2:-1, 1] if _first_clash(coords[0, 1:-1]) is None else None


def _tries(
    coords: np.ndarray, plan: np.ndarray, i: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places C and O of residue i, N and CA of the next, with several dihedrals.

    Returns:
        Coordinates [B, TRIES, 4, 3] in this order, and whether they come near nothing, bool [B, TRIES].
    """
    number = len(coords)
    everyone = np.arange(number)
    angles = np.repeat(plan[:, None], TRIES, axis=1)
    loops = LOOPS[random.choice(len(LOOPS), (number, TRIES), p=LOOP_SHARES)]
    angles = np.where(np.isnan(angles), loops, angles)
    phi, psi = np.moveaxis(angles[..., :2] + angles[..., 2:] * random.normal(size=(number, TRIES, 2)), -1, 0)
    before, n, ca = (coords[everyone, i + shift, atom][:, None] for shift, atom in ((0, 2), (1, 0), (1, 1)))
    c = _place(before, n, ca, "CA-C", "N-CA-C", phi)
    o = _place(n, ca, c, "C-O", "CA-C-O", psi + 180)
    next_n = _place(n, ca, c, "C-N", "CA-C-N", psi)
    next_ca = _place(ca, c, next_n, "N-CA", "C-N-CA", np.full_like(psi, 180.0))
    # The next CA belongs to i + 1, this O to i: looked at are the residues to i - 2 and to i - 3.
    old = coords[:, 1 : max(i.max(), 1)]
    later = np.arange(old.shape[1]) >= i[:, None] - 1
    free = _nearest(next_ca, old[:, :, 1], later) > 4.0
    free &= _nearest(next_ca, old[:, :, 3], later) > 2.9
    later = np.arange(old.shape[1]) >= i[:, None] - 2
    free &= np.minimum(_nearest(o, old[:, :, 1], later), _nearest(o, old[:, :, 3], later)) > 2.9
    return np.stack([c, o, next_n, next_ca], axis=2), free


def _place(
    one: np.ndarray, two: np.ndarray, three: np.ndarray, bond: str, angle: str, dihedral: np.ndarray
) -> np.ndarray:
    """Returns the atom after three others, [..., 3], from its bond length, bond angle and dihedral (degrees)."""
    along = three - two
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    normal = np.cross(two - one, along)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    across = np.cross(normal, along)
    theta, turn = np.radians(ANGLES[angle]), np.radians(dihedral)[..., None]
    side = np.sin(theta) * (np.cos(turn) * across + np.sin(turn) * normal)
    return three + BONDS[bond] * (side - np.cos(theta) * along)


def _nearest(points: np.ndarray, others: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Returns the distance of each point, [B, T, 3], to the nearest of [B, P, 3] without those left out."""
    if not others.shape[1]:
        return np.full(points.shape[:2], np.inf)
    squares = (points**2).sum(-1)[..., None] + (others**2).sum(-1)[:, None] - 2 * points @ others.transpose(0, 2, 1)
    return np.sqrt(np.maximum(np.where(left_out[:, None], np.inf, squares).min(-1), 0))


def _first_clash(coords: np.ndarray) -> int | None:
    """Returns the first residue of [L, 4, 3] that clashes with one three or more before it."""
    pairs = np.sort(cKDTree(coords.reshape(-1, 3)).query_pairs(CLOSEST, output_type="ndarray") // 4, axis=1)
    later = pairs[pairs[:, 1] - pairs[:, 0] >= 3, 1]
    return int(later.min()) if len(later) else None


def _rmsd(one: np.ndarray, two: np.ndarray) -> float:
    """Returns the root mean square deviation of two traces [L, 3] after superposition (Kabsch 1976)."""
    one, two = one - one.mean(0), two - two.mean(0)
    left, scale, right = np.linalg.svd(one.T @ two)
    scale[-1] *= np.sign(np.linalg.det(left @ right))
    return float(np.sqrt(max((one**2).sum() + (two**2).sum() - 2 * scale.sum(), 0) / len(one)))
