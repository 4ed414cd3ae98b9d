"""Finding structure files by file, folder and pattern."""

from partoken.protein.sources.finding import find_files, list_structures


def write_empty(folder, *names):
    for name in names:
        (folder / name).write_text("")


def test_a_folder_gives_its_visible_structure_files_at_any_depth(tmp_path):
    (tmp_path / "deep").mkdir()
    write_empty(tmp_path, "b.pdb", "a.cif.gz", ".hidden.pdb", "notes.txt", "deep/c.ENT")
    assert [f.name for f in find_files(tmp_path)] == ["a.cif.gz", "b.pdb", "c.ENT"]


def test_files_folders_and_patterns_give_each_file_once(tmp_path):
    write_empty(tmp_path, "b.pdb", "a.cif.gz", "notes.txt")
    files, skipped = list_structures([tmp_path / "notes.txt", tmp_path, f"{tmp_path}/*.pdb"])
    assert [f.name for f in files] == ["notes.txt", "a.cif.gz", "b.pdb"] and not skipped


def test_a_named_file_is_listed_even_if_it_is_missing_but_an_empty_pattern_or_folder_is_skipped(tmp_path):
    files, skipped = list_structures([tmp_path / "none.pdb", f"{tmp_path}/*.ent", tmp_path])
    assert [f.name for f in files] == ["none.pdb"]
    reasons = [s.reason for s in skipped]
    assert reasons[0] == "no file matches"
    assert reasons[1].startswith("the folder holds no structure file")
