"""Folders of structure files with a label table."""

import csv
import gzip
import os

import pytest

from partoken.errors import UserError
from partoken.protein import catalog
from partoken.protein.chains.backbone import Backbone
from partoken.protein.chains.label_spec import LabelSpec
from partoken.protein.sources.folder import label_chains, read_folder
from partoken.system.skipped import write_skipped
from tests.protein.structures import cif_text, pdb_text


def write_table(path, *rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path, chains):
    """1aaa with the chains A and B, 2bbb with one chain, and 3ccc, packed, in a subfolder."""
    root = tmp_path / "structures"
    (root / "deep").mkdir(parents=True)
    (root / "1aaa.pdb").write_text(pdb_text(chains[0], chains[5]))
    (root / "2bbb.cif").write_text(cif_text(chains[1]))
    (root / "deep" / "3ccc.ent.gz").write_bytes(gzip.compress(pdb_text(chains[2]).encode()))
    (root / "readme.txt").write_text("no structure")
    return root


def labelled(folder, tmp_path, *rows, id_column="id", chains="longest", **label):
    store = read_folder(folder, min_length=10, cache_dir=tmp_path / "cache")
    collection = label_chains(
        store, write_table(tmp_path / "labels.csv", *rows), [LabelSpec(**label)], id_column=id_column, chains=chains
    )
    ids = [collection.store.ids[row] for row in collection.rows]
    return collection, dict(zip(ids, collection.labels[""], strict=True))


def test_labels_apply_by_file_by_chain_and_whatever_the_case_of_the_name(folder, tmp_path):
    rows = [("id", "label"), ("1aaa_A", "x"), ("2BBB", "y"), ("3ccc.ent.gz", "z")]
    collection, labels = labelled(folder, tmp_path, *rows)
    assert labels == {"1aaa_A": ("x",), "2bbb": ("y",), "3ccc": ("z",)}
    assert collection.num_inputs == 3 and not collection.num_unusable and not collection.skipped


def test_the_label_of_a_file_applies_to_its_longest_chain_or_to_all(folder, tmp_path, chains):
    assert len(chains[5]) > len(chains[0])
    _, longest = labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"))
    assert longest == {"1aaa_B": ("x",)}
    _, both = labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"), ("1aaa_B", "y"), chains="all")
    assert both == {"1aaa_A": ("x",), "1aaa_B": ("y",)}, "the label of a chain overrides the label of its file"


def test_every_unused_file_chain_and_label_is_listed_with_its_reason(folder, tmp_path, chains):
    (folder / "bad.pdb").write_text("nothing")
    (folder / "1aaa.cif").write_text(cif_text(chains[3]))
    collection, labels = labelled(
        folder,
        tmp_path,
        ("id", "label"),
        ("1aaa_A", "x"),
        ("1aaa_Z", "x"),
        ("2bbb", "y"),
        ("2bbb", "z"),
        ("gone", "x"),
        ("bad", "x"),
    )
    assert labels == {"1aaa": ("x",), "2bbb": ()}
    table = tmp_path / "labels.csv"
    assert {(s.id, s.file, s.reason, s.unusable) for s in collection.skipped} == {
        ("", "1aaa.pdb", "duplicate: the name 1aaa is already that of 1aaa.cif", False),
        ("", "bad.pdb", "no atom records, neither of PDB nor of mmCIF", True),
        ("", "deep/3ccc.ent.gz", f"no label in {table}", False),
        ("1aaa_Z", str(table), "the file 1aaa has no protein chain Z", True),
        ("2bbb", str(table), "labelled more than once: y, z", True),
        ("gone", str(table), "no file of this name", True),
    }
    assert collection.num_unusable == 4


def test_the_labels_of_several_cells_and_rows_add_up_for_multi_label_data(folder, tmp_path):
    _, labels = labelled(folder, tmp_path, ("id", "label"), ("1aaa_A", "b;a"), ("1aaa_A", "c"), multi_label=True)
    assert labels["1aaa_A"] == ("a", "b", "c")


def test_a_missing_column_or_a_wrong_choice_is_an_error_that_names_the_key(folder, tmp_path):
    with pytest.raises(UserError, match=r"data.label_column=label: .* Did you mean labels\?"):
        labelled(folder, tmp_path, ("id", "labels"), ("1aaa", "x"))
    with pytest.raises(UserError, match=r"data.id_column=id: no such column"):
        labelled(folder, tmp_path, ("pdb", "label"), ("1aaa", "x"))
    with pytest.raises(UserError, match="choose longest or all"):
        labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"), chains="first")


def test_a_missing_or_empty_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"data.root=.*none: no such folder"):
        read_folder(tmp_path / "none", min_length=10)
    with pytest.raises(UserError, match="holds no structure file"):
        read_folder(tmp_path, min_length=10)


@pytest.fixture
def many(tmp_path, chains):
    """Sixty files, some of them near-copies of others, and a table with two classes."""
    root = tmp_path / "many"
    root.mkdir()
    rows = [("id", "label")]
    for i, chain in enumerate(chains[:40]):
        copies = 3 if i < 10 else 1
        for copy in range(copies):
            name = f"p{i}v{copy}"
            sequence = chain.sequence.copy()
            sequence[:copy] = (sequence[:copy] + 1) % 20
            (root / f"{name}.pdb").write_text(pdb_text(Backbone(name, chain.coords, sequence)))
            rows.append((name, "even" if i % 2 == 0 else "odd"))
    return root, write_table(tmp_path / "labels.csv", *rows)


def test_a_folder_needs_two_columns_and_near_copies_stay_in_one_split(many, tmp_path):
    root, labels = many
    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"))
    data.setup("fit")
    assert data.class_names == ["even", "odd"]
    split_of = {name: split for split in ("train", "val", "test") for name in data.dataset(split).ids}
    assert len(split_of) == 60
    for i in range(10):
        assert len({split_of[f"p{i}v{copy}"] for copy in range(3)}) == 1
    assert all(leak["at_least_0.5"] == 0 for leak in data.report()["leakage"].values())
    batch = next(iter(data.train_dataloader()))
    assert batch.coords.shape[0] == batch.ptr[-1]

    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"), split="random")
    leaked = [leak["at_least_0.9"] for leak in data.report()["leakage"].values()]
    assert sum(leaked) > 0, "the report shows the leakage of a random split"


def test_too_many_unusable_files_are_an_error_that_lists_them(many, tmp_path):
    root, labels = many
    for i in range(8):
        (root / f"bad{i}.pdb").write_text("")
    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"8 of 68 inputs \(12%\) cannot be used(.|\n)*bad3.pdb: empty file"):
        data.setup("fit")
    data.write_report(tmp_path)  # the engine calls it also after an error
    assert (tmp_path / "skipped.csv").read_text().count("empty file") == 8
    catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"), max_skipped=0.2).setup("fit")


def test_several_labels_are_read_from_their_columns(folder, tmp_path):
    store = read_folder(folder, min_length=10, cache_dir=tmp_path / "cache")
    rows = [
        ("id", "kind", "ec"),
        ("1aaa_A", "x", "3.4;3.5"),
        ("2bbb", "", "1.2;2.1"),
        ("3ccc", "y", ""),
        ("3ccc", "z", ""),
    ]
    labels = [LabelSpec("kind", "kind"), LabelSpec("ec_1", "ec", 1), LabelSpec("main", "ec", first=True)]
    collection = label_chains(store, write_table(tmp_path / "labels.csv", *rows), labels)
    assert collection.labels == {
        "kind": [("x",), (), ()],
        "ec_1": [("3",), (), ()],
        "main": [("3.4",), ("1.2",), ()],
    }
    assert [s.reason for s in collection.skipped if s.id == "3ccc"] == ["kind labelled more than once: y, z"]


def test_a_file_name_that_is_not_utf_8_loses_nothing(folder, tmp_path, chains):
    name = os.fsdecode(b"caf\xe9")
    (folder / f"{name}.pdb").write_text(pdb_text(chains[3]))
    (folder / f"{name}_bad.pdb").write_text("nothing")
    (folder / f"notes.{name[-1]}").write_text("nothing")
    for _ in range(2):  # read, and from the cache
        store = read_folder(folder, min_length=10, cache_dir=tmp_path / "cache")
        assert store.ids[-2:] == [r"caf\xe9", "3ccc"]
        assert [s.file for s in store.skipped] == [r"caf\xe9_bad.pdb"]
        assert store.notes[r"not read: .\xe9"] == 1
    write_skipped(tmp_path / "skipped.csv", store.skipped)
    _, labels = labelled(folder, tmp_path, ("id", "label"), (r"caf\xe9", "x"))
    assert labels == {r"caf\xe9": ("x",)}


@pytest.mark.parametrize(
    "file, names",
    [
        ("pdb1abc.ent", ("1abc", "1ABC", "pdb1abc", "pdb1abc.ent", "1abc_A", "pdb1abc_A")),
        ("pdb_00001abc.cif", ("1abc", "pdb_00001abc", "1abc_A")),
        ("AF-Q8W3K0-F1-model_v4.cif", ("Q8W3K0", "AF-Q8W3K0-F1-model_v4", "Q8W3K0_A")),
    ],
)
def test_an_entry_of_an_archive_is_found_by_its_own_name(tmp_path, chains, file, names):
    (tmp_path / "entries").mkdir()
    text = cif_text(chains[0]) if file.endswith("cif") else pdb_text(chains[0])
    (tmp_path / "entries" / file).write_text(text)
    for name in names:
        _, labels = labelled(tmp_path / "entries", tmp_path, ("id", "label"), (name, "x"))
        assert list(labels.values()) == [("x",)], name


def test_a_file_of_the_name_comes_before_an_entry_and_two_files_of_an_entry_are_named(tmp_path, chains):
    root = tmp_path / "entries"
    root.mkdir()
    for name in ("pdb1abc.ent", "1abc.pdb", "pdb2xyz.ent", "pdb_00002xyz.ent"):
        (root / name).write_text(pdb_text(chains[0]))
    collection, labels = labelled(root, tmp_path, ("id", "label"), ("1abc", "x"), ("2xyz", "y"))
    assert labels == {"1abc": ("x",)}
    reasons = {s.id: s.reason for s in collection.skipped}
    assert reasons["2xyz"] == "several files have this name: pdb2xyz, pdb_00002xyz"


def test_files_that_are_not_read_are_in_the_report_and_in_the_log(many, tmp_path):
    root, labels = many
    (root / "list.txt").write_text("")
    (root / "a.cif.bz2").write_text("")
    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"))
    data.setup("fit")
    assert data.report()["not_read"] == {".txt": 1, ".bz2": 1}
    assert not any("not read" in kind for kind in data.report()["cleaned"])
    assert any(line.startswith("files that are not read: ") and ".bz2 1" in line for line in data.describe())


def test_a_folder_without_structures_says_what_it_holds(tmp_path):
    (tmp_path / "a.pdb.xz").write_text("")
    with pytest.raises(UserError, match=r"not read: 1 \.xz"):
        read_folder(tmp_path, min_length=10)


def test_a_limit_of_the_size_is_a_key(many, tmp_path):
    root, labels = many
    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"), max_file_mb=0.001)
    with pytest.raises(UserError, match=r"larger than data.max_file_mb=0.001"):
        data.setup("fit")
    with pytest.raises(UserError, match=r"data.max_file_mb=0: must be"):
        catalog.folder(str(root), str(labels), max_file_mb=0)
