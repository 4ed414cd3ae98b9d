import csv
import gzip

import pytest

from partoken.errors import UserError
from partoken.protein import catalog
from partoken.protein.chains.backbone import Backbone
from partoken.protein.sources.folder import label_chains, read_folder
from tests.protein.structures import cif_text, pdb_text


def write_table(path, *rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path, chains):
    """1aaa with the chains A and B, 2bbb with one, 3ccc packed in a folder of its own."""
    root = tmp_path / "structures"
    (root / "deep").mkdir(parents=True)
    (root / "1aaa.pdb").write_text(pdb_text(chains[0], chains[5]))
    (root / "2bbb.cif").write_text(cif_text(chains[1]))
    (root / "deep" / "3ccc.ent.gz").write_bytes(gzip.compress(pdb_text(chains[2]).encode()))
    (root / "readme.txt").write_text("no structure")
    return root


def labelled(folder, tmp_path, *rows, **options):
    store = read_folder(folder, min_length=10, cache_dir=tmp_path / "cache")
    found = label_chains(store, write_table(tmp_path / "labels.csv", *rows), **options)
    return found, {found.store.ids[row]: names for row, names in zip(found.rows, found.labels, strict=True)}


def test_labels_by_file_by_chain_and_in_other_spellings(folder, tmp_path):
    found, labels = labelled(folder, tmp_path, ("id", "label"), ("1aaa_A", "x"), ("2BBB", "y"), ("3ccc.ent.gz", "z"))
    assert labels == {"1aaa_A": ("x",), "2bbb": ("y",), "3ccc": ("z",)}
    assert found.num_inputs == 3 and not found.num_unusable and not found.skipped


def test_a_file_label_means_its_longest_chain_or_all(folder, tmp_path, chains):
    assert len(chains[5]) > len(chains[0])
    _, longest = labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"))
    assert longest == {"1aaa_B": ("x",)}
    _, both = labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"), ("1aaa_B", "y"), chains="all")
    assert both == {"1aaa_A": ("x",), "1aaa_B": ("y",)}, "a label by chain goes before one by file"


def test_every_loss_is_listed_and_counted(folder, tmp_path, chains):
    (folder / "bad.pdb").write_text("nothing")
    (folder / "1aaa.cif").write_text(cif_text(chains[3]))
    found, labels = labelled(
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
    assert {(s.id, s.file, s.reason, s.unusable) for s in found.skipped} == {
        ("", "1aaa.pdb", "duplicate: the name 1aaa is already that of 1aaa.cif", False),
        ("", "bad.pdb", "no atom records, neither of PDB nor of mmCIF", True),
        ("", "deep/3ccc.ent.gz", f"no label in {table}", False),
        ("1aaa_Z", str(table), "the file 1aaa has no protein chain Z", True),
        ("2bbb", str(table), "labelled more than once: y, z", True),
        ("gone", str(table), "no file of this name", True),
    }
    assert found.num_unusable == 4


def test_several_labels_of_a_chain(folder, tmp_path):
    _, labels = labelled(folder, tmp_path, ("id", "label"), ("1aaa_A", "b;a"), ("1aaa_A", "c"), multi_label=True)
    assert labels["1aaa_A"] == ("a", "b", "c")


def test_columns_are_checked(folder, tmp_path):
    with pytest.raises(UserError, match=r"data.label_column=label: .* Did you mean labels\?"):
        labelled(folder, tmp_path, ("id", "labels"), ("1aaa", "x"))
    with pytest.raises(UserError, match=r"data.id_column=id: no such column"):
        labelled(folder, tmp_path, ("pdb", "label"), ("1aaa", "x"))
    with pytest.raises(UserError, match="choose longest or all"):
        labelled(folder, tmp_path, ("id", "label"), ("1aaa", "x"), chains="first")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match=r"data.root=.*none: no such folder"):
        read_folder(tmp_path / "none", min_length=10)
    with pytest.raises(UserError, match="holds no structure file"):
        read_folder(tmp_path, min_length=10)


@pytest.fixture
def many(tmp_path, chains):
    """Sixty files of which some are near-copies of others, and a table of two classes."""
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


def test_folder_trains_from_two_columns_and_copies_stay_together(many, tmp_path):
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
    assert sum(leak["at_least_0.9"] for leak in data.report()["leakage"].values()) > 0, "and a random split is told of"


def test_too_many_bad_files_end_the_run_with_the_list(many, tmp_path):
    root, labels = many
    for i in range(8):
        (root / f"bad{i}.pdb").write_text("")
    data = catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"8 of 68 inputs \(12%\) cannot be used(.|\n)*bad3.pdb: empty file"):
        data.setup("fit")
    data.write_report(tmp_path)  # the engine does so also where reading failed
    assert (tmp_path / "skipped.csv").read_text().count("empty file") == 8
    catalog.folder(str(root), str(labels), cache_dir=str(tmp_path / "cache"), max_skipped=0.2).setup("fit")
