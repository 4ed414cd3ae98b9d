"""What the table of atoms in an mmCIF file says, with every column that may be missing or written otherwise."""

import numpy as np
import pytest

from partoken.protein.sources.mmcif import read_mmcif
from partoken.protein.sources.reading import read_file
from tests.protein.structures import cif_text


@pytest.fixture
def read(tmp_path):
    def read(text: str | bytes):
        path = tmp_path / "1abc.cif"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_file(path)

    return read


def table(text: str) -> tuple[list[str], list[list[str]]]:
    """Returns the names of the columns in a text of `cif_text`, and its rows."""
    lines = text.splitlines()
    names = [line.removeprefix("_atom_site.") for line in lines if line.startswith("_atom_site.")]
    return names, [line.split() for line in lines if line.startswith("ATOM")]


def text_of(names: list[str], rows: list[list[str]]) -> str:
    header = ["data_TEST", "#", "loop_", *(f"_atom_site.{name}" for name in names)]
    return "\n".join([*header, *(" ".join(row) for row in rows), "#"]) + "\n"


def without(text: str, *missing: str) -> str:
    names, rows = table(text)
    kept = [place for place, name in enumerate(names) if name not in missing]
    return text_of([names[place] for place in kept], [[row[place] for place in kept] for row in rows])


def replaced(text: str, column: str, value) -> str:
    names, rows = table(text)
    place = names.index(column)
    for row in rows:
        row[place] = value(row[place])
    return text_of(names, rows)


def assert_reads(content, *chains) -> None:
    assert not content.skipped and [c.letters for c in content.chains] == [c.letters for c in chains]
    for one, expected in zip(content.chains, chains, strict=True):
        np.testing.assert_allclose(one.coords, expected.coords, atol=6e-4)


@pytest.mark.parametrize(
    "missing",
    """label_alt_id type_symbol id label_asym_id label_entity_id label_seq_id auth_seq_id auth_asym_id group_PDB
    pdbx_PDB_ins_code occupancy B_iso_or_equiv pdbx_PDB_model_num""".split(),
)
def test_a_missing_column_has_a_default(read, chains, missing):
    assert_reads(read(without(cif_text(chains[0], chains[1]), missing)), *chains[:2])


def test_the_coordinates_and_names_alone_are_enough(read, chains):
    names, _ = table(cif_text(chains[0]))
    needed = ("label_atom_id", "label_comp_id", "auth_seq_id", "Cartn_x", "Cartn_y", "Cartn_z")
    assert_reads(read(without(cif_text(chains[0]), *(set(names) - set(needed)))), chains[0])


@pytest.mark.parametrize(
    "missing", [["label_atom_id"], ["label_comp_id"], ["Cartn_y"], ["auth_seq_id", "label_seq_id"]]
)
def test_a_missing_column_without_a_default_is_named(read, chains, missing):
    reason = read(without(cif_text(chains[0]), *missing)).skipped[0].reason
    assert "no column" in reason and f"_atom_site.{missing[0]}" in reason


@pytest.mark.parametrize("name", ["Receptor_1", "a" * 300, "'Heavy chain'", '"B_long_name"'])
@pytest.mark.parametrize("column", ["auth_asym_id", "label_asym_id", "label_entity_id"])
def test_names_of_any_length_are_kept_whole(read, chains, name, column):
    text = cif_text(chains[0])
    content = read(replaced(text, column, lambda _: name))
    assert_reads(content, chains[0])
    assert content.chains[0].fields["chain"] == (name.strip("'\"") if column == "auth_asym_id" else "A")


def test_long_names_that_begin_alike_are_two_chains(read, chains):
    text = replaced(cif_text(chains[0], chains[1]), "auth_asym_id", lambda name: f"Receptor_{name}")
    content = read(text)
    assert_reads(content, *chains[:2])
    assert [c.id for c in content.chains] == ["1abc_Receptor_A", "1abc_Receptor_B"]


def test_a_long_ligand_name_costs_nothing(read, chains):
    ligand = "HETATM 9 C C1 . LIGAND_0001 Z 9 . ? 1.0 2.0 3.0 1.0 0.0 900 A 1\n"
    assert_reads(read(cif_text(chains[0]) + ligand), chains[0])


def test_a_chain_without_an_author_name_has_its_label(read, chains):
    content = read(replaced(cif_text(chains[0], chains[1]), "auth_asym_id", lambda name: "?" if name == "A" else name))
    assert [c.id for c in content.chains] == ["1abc_A", "1abc_B"]


def test_two_molecules_of_one_author_chain_are_told_apart_by_their_labels(read, chains):
    content = read(replaced(cif_text(chains[0], chains[1]), "auth_asym_id", lambda _: "A"))
    assert_reads(content, *chains[:2])
    assert [c.id for c in content.chains] == ["1abc_A", "1abc_A.2"]


def test_a_byte_order_mark_costs_nothing(read, chains):
    assert_reads(read(b"\xef\xbb\xbf" + cif_text(chains[0]).encode()), chains[0])


def test_models_and_tables_after_the_first_are_counted(read, chains):
    names, rows = table(cif_text(chains[0]))
    further = [[*row[:-1], "2"] for row in rows]
    content = read(text_of(names, rows + further))
    assert_reads(content, chains[0])
    assert content.notes["further models"] == 1
    content = read(text_of(names, rows) + text_of(names, rows).replace("TEST", "MORE"))
    assert_reads(content, chains[0])
    assert content.notes["further models"] == 1


@pytest.mark.parametrize("word", ["nan", "?", "."])
def test_coordinates_that_are_no_numbers_leave_a_note_and_no_gap(read, chains, word):
    names, rows = table(cif_text(chains[0]))
    for row in rows[20:24]:
        row[names.index("Cartn_x")] = word
    content = read(text_of(names, rows))
    assert content.chains[0].letters == chains[0].letters and np.isnan(content.chains[0].coords[5]).all()
    assert content.notes["backbone atoms without readable coordinates"] == 4


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace("\nATOM", "\n  ATOM"),
        lambda text: text.replace(" N . ", "\nN\n.\n"),
        lambda text: text.replace("#", "_other.text\n;\nloop_\n_atom_site.id\n;\n#", 1),
        lambda text: text.replace("loop_", "LOOP_"),
        lambda text: text.replace("Cartn_x", "cartn_x"),
        lambda text: text.replace("ATOM 5 ", "# a comment\nATOM 5 "),
        lambda text: text.replace(" CA ", ' "CA" '),
        lambda text: text.replace(" ? ", " ' ' "),
        lambda text: text.replace(" 1.0 0.0 ", " 1.0(2) 0.0 "),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n#\n", "\n"),
    ],
    ids="indented wrapped text capitals tags comment quotes blanks uncertainty crlf end".split(),
)
def test_the_way_in_which_a_table_is_written_changes_nothing(read, chains, rewrite):
    names, rows = table(cif_text(chains[0]))
    assert_reads(read(rewrite(text_of(names, rows))), chains[0])


def test_underscores_in_names_do_not_end_the_table(read, chains):
    text = replaced(cif_text(chains[0]), "label_asym_id", lambda _: "my_loop_1")
    assert_reads(read(text + "_entry.id 1abc\nloop_\n_other.id\n1\n"), chains[0])


def test_lines_and_grammar_give_the_same_atoms(chains, monkeypatch):
    content = cif_text(*chains[:4]).encode()
    by_lines = read_mmcif(content)
    monkeypatch.setattr("partoken.protein.sources.cif_table.CHUNK", 500)
    monkeypatch.setattr("partoken.protein.sources.cif_table.MANY", 10)
    by_parts = read_mmcif(content)
    monkeypatch.setattr("partoken.protein.sources.cif_table._lines_table", lambda *_: None)
    by_grammar = read_mmcif(content)
    for other in (by_parts, by_grammar):
        np.testing.assert_array_equal(by_lines.points, other.points)
        for field in ("number", "slot", "occupancy", "b_factor", "is_hetero", "altloc", "icode"):
            np.testing.assert_array_equal(getattr(by_lines, field), getattr(other, field), err_msg=field)
        for codes, names in (("chain", "chain_names"), ("residue", "residue_names")):
            one, same = (np.array(getattr(atoms, names))[getattr(atoms, codes)] for atoms in (by_lines, other))
            np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, MemoryError, OverflowError])
def test_an_error_of_any_kind_is_the_reason_of_one_file(read, chains, monkeypatch, error):
    def fail(*_, **__):
        raise error("of the parser")

    monkeypatch.setattr("partoken.protein.sources.reading.read_mmcif", fail)
    content = read(cif_text(chains[0]))
    assert not content.chains and len(content.skipped) == 1 and "of the parser" in content.skipped[0].reason
