"""Synthetic chains: geometry, motifs, reproducibility."""

from collections import Counter

import numpy as np
import pytest
from scipy.spatial import cKDTree

from partoken.errors import UserError
from partoken.protein import catalog
from partoken.protein.sources.synthetic import (
    ANGLES,
    BONDS,
    MIN_DISTANCE,
    MIN_MOTIF_RMSD,
    MOTIF_LENGTH,
    MOTIF_SPREAD,
    Recipe,
    make_chains,
    motif_dihedrals,
)

RECIPE = Recipe(num_chains=40, shortest=40, longest=120, seed=3)


@pytest.fixture(scope="module")
def synthetic_chains():
    return list(make_chains(RECIPE, workers=0))


def distance(one, two):
    return np.linalg.norm(one - two, axis=-1)


def angle(one, two, three):
    a, b = one - two, three - two
    return np.degrees(np.arccos((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)))


def dihedral(one, two, three, four):
    b1, b2, b3 = two - one, three - two, four - three
    across = np.cross(b1, b2), np.cross(b2, b3)
    sine = (np.cross(*across) * b2).sum(-1) / np.linalg.norm(b2, axis=-1)
    return np.degrees(np.arctan2(sine, (across[0] * across[1]).sum(-1)))


def dihedrals(coords):
    """phi, psi and omega of the residues that have both neighbours, degrees [L - 2, 3]."""
    n, ca, c, _ = coords.astype(float).transpose(1, 0, 2)
    return np.stack(
        [
            dihedral(c[:-2], n[1:-1], ca[1:-1], c[1:-1]),
            dihedral(n[1:-1], ca[1:-1], c[1:-1], n[2:]),
            dihedral(ca[1:-1], c[1:-1], n[2:], ca[2:]),
        ],
        1,
    )


def test_bonds_angles_and_peptide_planes_are_ideal(synthetic_chains):
    for chain in synthetic_chains:
        n, ca, c, o = chain.coords.astype(float).transpose(1, 0, 2)
        for actual, key in (
            (distance(n, ca), "N-CA"),
            (distance(ca, c), "CA-C"),
            (distance(c, o), "C-O"),
            (distance(c[:-1], n[1:]), "C-N"),
        ):
            np.testing.assert_allclose(actual, BONDS[key], atol=1e-3)
        for actual, key in (
            (angle(n, ca, c), "N-CA-C"),
            (angle(ca, c, o), "CA-C-O"),
            (angle(ca[:-1], c[:-1], n[1:]), "CA-C-N"),
            (angle(c[:-1], n[1:], ca[1:]), "C-N-CA"),
        ):
            np.testing.assert_allclose(actual, ANGLES[key], atol=0.1)
        np.testing.assert_allclose(np.abs(dihedrals(chain.coords)[:, 2]), 180, atol=0.1)


def test_no_atoms_clash(synthetic_chains):
    for chain in synthetic_chains:
        atoms = chain.coords.astype(float).reshape(-1, 3)
        residues = cKDTree(atoms).query_pairs(MIN_DISTANCE - 1e-3, output_type="ndarray") // 4
        assert (np.abs(residues[:, 0] - residues[:, 1]) < 3).all()


def test_the_motif_is_at_the_residues_that_the_field_names(synthetic_chains):
    motifs = motif_dihedrals(RECIPE)
    for chain in synthetic_chains:
        start, stop = map(int, chain.fields["motif"].split("-"))
        assert stop - start + 1 == MOTIF_LENGTH and 0 <= start and stop < len(chain)
        motif = motifs[int(chain.fields["label"].removeprefix("motif"))]
        inner = [i for i in range(MOTIF_LENGTH) if 1 <= start + i < len(chain) - 1]
        actual = dihedrals(chain.coords)[[start + i - 1 for i in inner], :2]
        difference = (actual - motif[inner] + 180) % 360 - 180
        assert np.abs(difference).max() < 5 * MOTIF_SPREAD


def test_motifs_differ_in_shape_but_not_in_composition():
    recipe = Recipe(num_chains=100, num_classes=8)
    motifs = motif_dihedrals(recipe)
    assert len({tuple(sorted(map(tuple, motif))) for motif in motifs}) == 1
    traces = {}
    for chain in make_chains(recipe, workers=0):
        start = int(chain.fields["motif"].split("-")[0])
        traces.setdefault(chain.fields["label"], chain.coords[start : start + MOTIF_LENGTH, 1].astype(float))

    def rmsd(one, two):
        one, two = one - one.mean(0), two - two.mean(0)
        u, _, v = np.linalg.svd(one.T @ two)
        turn = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
        return np.sqrt(((one @ turn - two) ** 2).sum(1).mean())

    names = sorted(traces)
    deviations = [rmsd(traces[a], traces[b]) for i, a in enumerate(names) for b in names[:i]]
    assert len(names) == 8 and min(deviations) > 0.6 * MIN_MOTIF_RMSD


def test_the_chains_depend_on_the_recipe_but_not_on_the_number_of_processes(synthetic_chains):
    again = list(make_chains(RECIPE, workers=2))
    other = list(make_chains(Recipe(num_chains=40, shortest=40, longest=120, seed=4), workers=0))
    for one, two in zip(synthetic_chains, again, strict=True):
        assert one.id == two.id and one.fields == two.fields
        np.testing.assert_array_equal(one.coords, two.coords)
    assert any(len(a) != len(b) for a, b in zip(synthetic_chains, other, strict=True))
    assert len(synthetic_chains) == 40 and all(40 <= len(chain) <= 120 for chain in synthetic_chains)


def test_the_data_module_has_the_motif_of_each_chain(tmp_path):
    data = catalog.synthetic(num_chains=60, num_classes=3, shortest=30, longest=60, cache_dir=str(tmp_path))
    data.setup("fit")
    assert data.class_names == ["motif0", "motif1", "motif2"]
    assert [sum(c) for c in data.class_counts.values()] == [42, 9, 9]
    dataset = data.dataset("test")
    assert all("-" in dataset.store.columns["motif"][row] for row in dataset.rows)


def test_the_class_without_a_motif_is_as_large_as_the_others_and_has_none(tmp_path):
    recipe = Recipe(num_chains=25, num_classes=4, shortest=40, longest=60, without_motif=True)
    chains = list(make_chains(recipe, workers=0))
    assert Counter(chain.fields["label"] for chain in chains) == dict.fromkeys(
        ["motif0", "motif1", "motif2", "motif3", "none"], 5
    )
    motifs = motif_dihedrals(recipe)
    for chain in chains:
        angles = dihedrals(chain.coords)[:, :2]
        windows = np.lib.stride_tricks.sliding_window_view(angles, MOTIF_LENGTH, axis=0).transpose(0, 2, 1)
        difference = (windows[:, None] - motifs + 180) % 360 - 180
        has_motif = (np.abs(difference) < 5 * MOTIF_SPREAD).all((-2, -1)).any()
        assert ("motif" in chain.fields) == (chain.fields["label"] != "none")
        if chain.fields.get("motif") and 0 < int(chain.fields["motif"].split("-")[0]) < len(chain) - MOTIF_LENGTH - 1:
            assert has_motif  # the first and the last residue of a chain lack a dihedral
        elif "motif" not in chain.fields:
            assert not has_motif
    data = catalog.synthetic(
        num_chains=40, num_classes=3, shortest=30, longest=60, without_motif=True, cache_dir=str(tmp_path)
    )
    data.setup("fit")
    assert data.class_names == ["motif0", "motif1", "motif2", "none"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_chains": 14, "without_motif": True}, "must be at least 15"),
        ({"num_classes": 1}, "data.num_classes=1: choose 2 to 50"),
        ({"num_chains": 5}, "data.num_chains=5"),
        ({"shortest": 10}, "data.shortest=10"),
        ({"longest": 50}, "data.longest=50"),
    ],
)
def test_an_invalid_recipe_is_an_error_that_names_the_key(options, message):
    with pytest.raises(UserError, match=message):
        Recipe(**options)
