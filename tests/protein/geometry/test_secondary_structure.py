"""Helices and strands: ideal backbones are found, short runs are not, and real chains agree with DSSP."""

import csv
import itertools
from importlib import resources

import numpy as np
import pytest
import torch

from partoken.protein.chains.batch import collate
from partoken.protein.geometry.graph import featurize
from partoken.protein.geometry.secondary_structure import COIL, HELIX, STRAND, number_runs, secondary_structure
from partoken.protein.sources.arrays import read_arrays

ANGLES = {"helix": (-57.0, -47.0), "strand": (-120.0, 130.0), "left": (60.0, 40.0)}


def states(coords, ptr=None):
    ptr = torch.tensor([0, len(coords)]) if ptr is None else ptr
    return secondary_structure(featurize(coords, ptr, 1))


def backbone(*parts):
    """Builds a backbone from (name of angles, residues), atom by atom from bond lengths and angles."""
    angles = [ANGLES[name] for name, count in parts for _ in range(count)]
    atoms = [np.array([0.0, 0.0, 0.0]), np.array([1.46, 0.0, 0.0]), np.array([2.0, 1.42, 0.0])]
    for (_, psi), (phi, _) in itertools.pairwise(angles):
        for length, angle, dihedral in ((1.33, 116.0, psi), (1.46, 122.0, 180.0), (1.52, 111.0, phi)):
            a, b, c = atoms[-3:]
            axis = (c - b) / np.linalg.norm(c - b)
            normal = np.cross(b - a, axis)
            normal /= np.linalg.norm(normal)
            bend, turn = np.deg2rad([angle, dihedral])
            local = [-np.cos(bend), np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)]
            atoms.append(c + length * (np.array([axis, np.cross(normal, axis), normal]).T @ local))
    coords = torch.tensor(np.array(atoms).reshape(-1, 3, 3), dtype=torch.float32)
    return torch.cat([coords, torch.full((len(coords), 1, 3), torch.nan)], dim=1)


@pytest.mark.parametrize(("name", "state"), [("helix", HELIX), ("strand", STRAND), ("left", COIL)])
def test_an_ideal_backbone_has_one_state_apart_from_its_ends(name, state):
    found = states(backbone((name, 12)))
    assert (found[1:-1] == state).all()


@pytest.mark.parametrize(("name", "shortest"), [("helix", 4), ("strand", 3)])
def test_a_run_that_is_too_short_is_coil(name, shortest):
    for count, expected in ((shortest - 1, 0), (shortest, shortest)):
        found = states(backbone(("left", 5), (name, count), ("left", 5)))
        assert int((found != COIL).sum()) == expected


def test_chains_of_a_batch_do_not_change_each_other():
    first, second = backbone(("helix", 9)), backbone(("strand", 9))
    joined = states(torch.cat([first, second]), torch.tensor([0, 9, 18]))
    assert joined.tolist() == [*states(first).tolist(), *states(second).tolist()]


def test_a_missing_residue_is_coil_and_ends_its_run():
    coords = backbone(("helix", 14))
    coords[7] = torch.nan
    found = states(coords)
    assert found[7] == COIL
    assert (found[1:6] == HELIX).all()


def test_runs_end_where_the_state_or_the_chain_changes():
    numbers = number_runs(torch.tensor([2, 2, 2, 1, 1]), torch.tensor([0, 0, 1, 1, 1]))
    assert numbers.tolist() == [0, 0, 1, 2, 2]


def test_fractions_of_real_chains_agree_with_dssp():
    path = resources.files("partoken.protein.embedded")
    with (path / "chains.csv").open() as file:
        table = {row["id"]: row for row in csv.DictReader(file)}
    chains = [item for item in read_arrays(str(path / "chains.npz")) if hasattr(item, "coords")][:100]
    batch = collate(chains)
    found = secondary_structure(featurize(batch.coords, batch.ptr, 1)).split(batch.ptr.diff().tolist())
    for state, column in ((HELIX, "helix"), (STRAND, "strand")):
        fractions = np.array([float((of_chain == state).float().mean()) for of_chain in found])
        dssp = np.array([float(table[chain.id][column]) for chain in chains])
        assert np.corrcoef(fractions, dssp)[0, 1] > 0.9
        assert np.abs(fractions - dssp).mean() < 0.15
