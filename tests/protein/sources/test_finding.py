"""Finding structure files by file, folder and pattern."""

from partoken.protein.sources.finding import find_files, list_structures


def write_empty(folder, *names):
    for name in names:
        (folder / name).write_text("")


def test_a_folder_gives_its_visible_structure_files_at_any_depth(tmp_path):
    (tmp_path / "deep").mkdir()
    write_empty(tmp_path, "b.pdb", "a.cif.gz", ".hidden.pdb", "notes.txt", "deep/c.ENT", "d.bcif.gz", "e.tar", "f.fcz")
    found = find_files(tmp_path)
    assert [f.name for f in found.structures] == ["a.cif.gz", "b.pdb", "d.bcif.gz", "e.tar", "f.fcz", "c.ENT"]


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path):
    (tmp_path / "deep").mkdir()
    write_empty(
        tmp_path, "a.txt", "README", "a.cif.bz2", "deep/b.PDB.BZ2", "c.json.gz", "d.tar.gz", ".hidden.txt", "x."
    )
    others = {".bz2": 2, ".txt": 1, ".json.gz": 1, ".tar.gz": 1, "no suffix": 2}
    assert find_files(tmp_path).others == others
    files, skipped = list_structures([tmp_path])
    assert not files and "holds no structure file" in skipped[0].reason
    assert {s.reason for s in skipped[1:]} == {f"files that are not read: {n} {kind}" for kind, n in others.items()}
    assert not any(s.unusable for s in skipped[1:])


def test_a_link_to_a_folder_is_named(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path)
    [skipped] = find_files(tmp_path / "here").skipped
    assert (skipped.file, skipped.reason) == (str(tmp_path / "here/link"), "a link to a folder is not followed")


def test_files_folders_and_patterns_give_each_file_once(tmp_path):
    write_empty(tmp_path, "b.pdb", "a.cif.gz", "notes.txt")
    files, skipped = list_structures([tmp_path / "notes.txt", tmp_path, f"{tmp_path}/*.pdb"])
    assert [f.name for f in files] == ["notes.txt", "a.cif.gz", "b.pdb"]
    assert [s.reason for s in skipped] == ["files that are not read: 1 .txt"]


def test_a_named_file_is_listed_even_if_it_is_missing_but_an_empty_pattern_or_folder_is_skipped(tmp_path):
    files, skipped = list_structures([tmp_path / "none.pdb", f"{tmp_path}/*.ent", tmp_path])
    assert [f.name for f in files] == ["none.pdb"]
    reasons = [s.reason for s in skipped]
    assert reasons[0] == "no file matches"
    assert reasons[1].startswith("the folder holds no structure file")
