"""Residue features on disk: three formats that read alike, and one message for each wrong file."""

import os
import pickle

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.chains.features import open_features, write_features

WIDTH = 5
LENGTHS = {"b": 3, "a": 7, "x/1": 1}


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    return {name: random.normal(size=(length, WIDTH)).astype(np.float32) for name, length in LENGTHS.items()}


def write_flat(path, values, dtype=np.float32):
    lengths = [len(v) for v in values.values()]
    write_features(path, list(values), lengths, WIDTH, values.values(), dtype)
    return path


def write_folder(path, values):
    path.mkdir()
    for name, array in values.items():
        np.save(path / f"{name}.npy", array)
    return path


def write_format(form, path, values):
    if form == "flat":
        return write_flat(path / "flat.npz", values)
    if form == "savez of flat arrays":
        offsets = np.cumsum([0, *map(len, values.values())])
        joined = np.concatenate(list(values.values()))
        np.savez(path / "numpy.npz", id=list(values), offsets=offsets, features=joined)
        return path / "numpy.npz"
    if form == "array per chain":
        np.savez(path / "chains.npz", **values)
        return path / "chains.npz"
    del values["x/1"]
    return write_folder(path / "folder", values)


@pytest.mark.parametrize("form", ["flat", "savez of flat arrays", "array per chain", "folder"])
def test_each_format_gives_back_the_values_of_every_chain(tmp_path, values, form):
    features = open_features(write_format(form, tmp_path, values))
    assert features.width == WIDTH
    assert set(features.ids) == set(values)
    assert "a" in features and "c" not in features
    assert features.length("a") == 7 and features.length("c") is None
    for copy in (features, pickle.loads(pickle.dumps(features))):
        read = dict(zip(values, copy.read_all(values), strict=True))
        assert all(np.array_equal(read[name], values[name]) for name in values)
        assert all(r.dtype == np.float32 and r.flags.writeable for r in read.values())


def test_float16_is_read_as_the_nearest_float32(tmp_path, values):
    features = open_features(write_flat(tmp_path / "f.npz", values, "float16"))
    assert np.array_equal(features.read("a"), values["a"].astype(np.float16).astype(np.float32))


def test_a_flat_file_is_what_numpy_loads(tmp_path, values):
    with np.load(write_flat(tmp_path / "f.npz", values)) as arrays:
        assert arrays["id"].tolist() == list(values)
        assert arrays["offsets"].tolist() == [0, 3, 10, 11]
        assert np.array_equal(arrays["features"], np.concatenate(list(values.values())))


def test_the_fingerprint_changes_with_the_file(tmp_path, values):
    path = write_flat(tmp_path / "f.npz", values)
    before = open_features(path).fingerprint
    assert open_features(path).fingerprint == before
    write_flat(path, values, "float16")
    assert open_features(path).fingerprint != before


def test_chunks_of_another_number_of_rows_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="the chunks have 4 rows, but the chains have 5 residues"):
        write_features(tmp_path / "f.npz", ["a"], [5], WIDTH, [np.ones((4, WIDTH))])
    with pytest.raises(ValueError, match=r"a chunk has the shape \(5, 4\), expected \[rows, 5\]"):
        write_features(tmp_path / "f.npz", ["a"], [5], WIDTH, [np.ones((5, 4))])
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_is_not_finite_is_named_with_its_chain(tmp_path, values):
    values["a"][2, 3] = np.nan
    features = open_features(write_flat(tmp_path / "f.npz", values))
    assert features.read("b").shape == (3, WIDTH)
    with pytest.raises(UserError, match=r"f.npz: the features of chain a hold a value that is not a finite number"):
        features.read("a")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones(3)}, r"a has the shape \[3\], expected \[residues, width\]"),
        ({"a": np.ones((3, 0))}, r"a has the shape \[3, 0\], expected"),
        ({"a": np.ones((3, 2), int)}, r"a is int64; save it with \.astype\(numpy\.float16\)"),
        ({"a": np.ones((2, 3)).T}, "a is stored by column; save numpy.ascontiguousarray of it"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 4))}, "a has 2 float64 values per residue, but b has 4 float64"),
        ({"a": np.ones((3, 2)), "b": np.ones((3, 2), "f4")}, "but b has 2 float32 values; give all chains the same"),
        ({}, "holds no array"),
        ({"id": ["a", "b"], "offsets": [0, 3], "features": np.ones((3, 2))}, "offsets do not divide 3 residues into 2"),
        ({"id": ["a", "a"], "offsets": [0, 1, 3], "features": np.ones((3, 2))}, "the id a occurs 2 times"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:30],
)
def test_a_wrong_array_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(UserError, match=f"f.npz:? .*{message}"):
        open_features(tmp_path / "f.npz")


def test_a_compressed_file_is_refused_with_the_fix(tmp_path, values):
    np.savez_compressed(tmp_path / "f.npz", **values)
    with pytest.raises(UserError, match=r"f.npz is compressed.*save it with numpy.savez instead"):
        open_features(tmp_path / "f.npz")


def test_a_file_that_is_missing_or_no_npz_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing.npz: no such file or folder; give an NPZ file"):
        open_features(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(UserError, match=r"text.npz is not an NPZ file of residue features"):
        open_features(tmp_path / "text.npz")


def test_a_folder_with_nothing_or_a_damaged_file_is_named(tmp_path, values):
    with pytest.raises(UserError, match=r"the folder holds no file ID.npy"):
        open_features(tmp_path)
    np.save(tmp_path / "a.npy", values["a"])
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"a.npy has {len(content) - 1} bytes, expected {len(content)}"):
        open_features(tmp_path)
    (tmp_path / "a.npy").write_bytes(b"text")
    with pytest.raises(UserError, match=r"a.npy is not an NPY file"):
        open_features(tmp_path)
    (tmp_path / "a.npy").unlink()
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"a.npy is not an NPY file: .*not a regular file"):
        open_features(tmp_path)


@pytest.mark.parametrize("form", ["flat", "array per chain", "folder"])
def test_a_file_that_is_cut_or_removed_after_it_was_opened_is_named(tmp_path, values, form):
    path = write_format(form, tmp_path, values)
    features = open_features(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        os.truncate(file, 200)
    with pytest.raises(UserError, match="it was cut or removed while it was read"):
        list(features.read_all(list(values)))
    for file in files:
        file.unlink()
    with pytest.raises(UserError, match="it was cut or removed while it was read"):
        features.read(next(iter(values)))
