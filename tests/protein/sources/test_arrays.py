"""Chains from NPZ files."""

import os

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein import catalog
from partoken.protein.chains.backbone import Backbone
from partoken.protein.sources.arrays import open_arrays, read_arrays
from partoken.system.skipped import Skipped


def steps_of(coords: np.ndarray) -> np.ndarray:
    """Steps of 0.01 angstrom from one present atom to the next, one atom after another."""
    steps = np.full((len(coords) * 4, 3), -32768, dtype=np.int16)
    before = None
    for row, point in enumerate(np.round(coords.reshape(-1, 3) * 100)):
        if np.isfinite(point).all():
            steps[row] = 0 if before is None else point - before
            before = point
    return steps.reshape(-1, 4, 3)


@pytest.fixture
def write(tmp_path, chains):
    some = [Backbone(c.id, c.coords.copy(), c.sequence) for c in chains[:12]]
    some[0].coords[5, 3] = np.nan
    some[1].coords[:2] = np.nan

    def write(kind: str = "coords", seq: str = "strings", rows: list[str] | None = None, replaced: dict | None = None):
        joined = np.concatenate([c.coords for c in some])
        arrays = {
            "coords": joined,
            "coords_step": np.concatenate([steps_of(c.coords) for c in some]),
            "offsets": np.concatenate([[0], np.cumsum([len(c) for c in some])]),
            "id": np.array([c.id for c in some]),
        }
        del arrays["coords" if kind == "coords_step" else "coords_step"]
        letters = [c.letters for c in some]
        arrays["seq"] = np.array(letters) if seq == "strings" else np.frombuffer("".join(letters).encode(), "S1")
        path = tmp_path / "chains.npz"
        np.savez_compressed(path, **{k: v for k, v in (arrays | (replaced or {})).items() if v is not None})
        if rows is None:
            rows = ["id,label"] + [f"{c.id},{'xy'[i % 2]}" for i, c in enumerate(some)]
        path.with_suffix(".csv").write_text("\n".join(rows) + "\n")
        return path, some

    return write


@pytest.mark.parametrize("kind, seq", [("coords", "strings"), ("coords", "letters"), ("coords_step", "letters")])
def test_both_coordinate_formats_give_the_chains(write, kind, seq):
    path, expected = write(kind, seq)
    for actual, chain in zip(read_arrays(path), expected, strict=True):
        assert (actual.id, actual.letters) == (chain.id, chain.letters) and actual.fields["label"] in "xy"
        shift = 0.0
        if kind == "coords_step":  # the first present atom is the origin
            shift = chain.coords.reshape(-1, 3)[np.isfinite(chain.coords).all(-1).ravel()][0]
        np.testing.assert_allclose(actual.coords, chain.coords - shift, atol=6e-3)


@pytest.mark.parametrize(
    "replaced, message",
    [
        ({"offsets": None}, "lacks offsets; it has"),
        ({"coords": None}, r"lacks coords \(or coords_step\)"),
        ({"offsets": np.arange(13)}, "offsets do not divide"),
        ({"coords": np.zeros((5, 3, 3))}, r"coordinates have the shape \[5, 3, 3\]"),
        ({"seq": np.array(["A"] * 5)}, "seq has 5 entries"),
        ({"seq": np.array(["A"] * 12)}, "a sequence of 1 letters"),
        ({"id": np.array([f"other{i}" for i in range(12)])}, "no id in this table is an id in"),
    ],
)
def test_contradicting_arrays_are_an_error_that_says_how(write, replaced, message):
    path, _ = write(replaced=replaced)
    with pytest.raises(UserError, match=message):
        list(read_arrays(path))


def test_a_repeated_id_and_impossible_coordinates_are_skipped(write, chains):
    path, some = write()
    ids = np.array([c.id for c in some])
    ids[3] = ids[2]
    nanometres = np.concatenate([c.coords / (10 if i == 5 else 1) for i, c in enumerate(some)])
    path, _ = write(replaced={"id": ids, "coords": nanometres})
    skipped = [item for item in read_arrays(path) if isinstance(item, Skipped)]
    assert [s.id for s in skipped] == [ids[2], some[5].id]
    assert "earlier chain" in skipped[0].reason and "impossible geometry" in skipped[1].reason


def test_a_file_that_is_no_archive_or_missing_is_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("id,label\nx,y\n")
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="is not an NPZ file"):
        list(read_arrays(tmp_path / "a.npz"))
    with pytest.raises(UserError, match=r"b\.npz: no such file"):
        catalog.arrays(str(tmp_path / "b.npz")).setup("fit")


def test_a_changed_table_is_read_again(write, tmp_path):
    path, some = write()
    options = {"split": "random", "cache_dir": str(tmp_path / "cache"), "max_skipped": 1.0}
    assert catalog.arrays(str(path), **options).class_names == ["x", "y"]
    write(rows=["id,label"] + [f"{c.id},{'uvw'[i % 3]}" for i, c in enumerate(some)])
    assert catalog.arrays(str(path), **options).class_names == ["u", "v", "w"]


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "chains.npz")
    (tmp_path / "chains.csv").write_text("id,label\n")
    with pytest.raises(UserError, match=r"is not an NPZ file.*not a regular file"):
        list(read_arrays(tmp_path / "chains.npz"))
    with pytest.raises(UserError, match="no such file"):
        open_arrays(tmp_path / "chains.npz", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("coords", np.array([[["x"] * 3] * 4] * 3), ["array coords has the type <U1", "expected numbers"]),
        ("coords", np.array([None]), ["array coords is damaged or holds objects"]),
        ("id", np.array([{}]), ["array id is damaged or holds objects"]),
        ("offsets", np.array([0.0, 3.0]), ["array offsets has the type float64", "whole numbers"]),
        ("seq", np.array([1, 2, 3]), ["array seq has the type int64", "texts"]),
        ("seq", np.array("AAA"), ["array seq is a single value"]),
    ],
)
def test_an_array_of_another_kind_is_named(name, array, words, tmp_path):
    arrays = {
        "offsets": np.array([0, 3]),
        "id": np.array(["a"]),
        "seq": np.array(["AAA"]),
        "coords": np.zeros((3, 4, 3)),
    }
    np.savez(tmp_path / "a.npz", allow_pickle=True, **{**arrays, name: array})
    (tmp_path / "a.csv").write_text("id,label\na,1\n")
    with pytest.raises(UserError) as caught:
        list(read_arrays(tmp_path / "a.npz"))
    assert [word for word in words if word not in str(caught.value)] == []
