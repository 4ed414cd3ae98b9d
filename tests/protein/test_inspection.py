"""`partoken inspect` and `partoken.read`: what is read of structure files, and why others are not."""

import csv
import subprocess
import sys

import numpy as np
import pytest

import partoken
from partoken.cli import main
from partoken.errors import UserError
from partoken.protein.chains.backbone import Backbone
from tests.protein.structures import cif_text, pdb_chain, pdb_text

COLUMNS = ["file", "chain", "residues", "complete", "missing", "sequence", "notes"]


@pytest.fixture
def folder(tmp_path, chains):
    """A folder with one.pdb, two.cif with two chains, a peptide beside a chain, a file without atoms."""
    root = tmp_path / "in"
    root.mkdir()
    (root / "one.pdb").write_text(pdb_text(chains[0]))
    gap = Backbone("gap", chains[1].coords.copy(), chains[1].sequence)
    gap.coords[3:5, 0] = np.nan
    gap.coords[9, 3] = np.nan
    (root / "two.cif").write_text(cif_text(gap, chains[2]))
    short = Backbone("short", chains[3].coords[:4], chains[3].sequence[:4])
    (root / "beside.pdb").write_text(pdb_chain(chains[3], "A") + pdb_chain(short, "B"))
    (root / "notes.pdb").write_text("not a structure\n")
    return root


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each_chain_and_for_what_is_skipped(folder, chains, tmp_path, capsys):
    assert main(["inspect", str(folder), "--out", str(tmp_path / "read.csv")]) == 0
    rows = table(tmp_path / "read.csv")
    assert list(rows[0]) == COLUMNS
    beside, one, two = (str(folder / name) for name in ("beside.pdb", "one.pdb", "two.cif"))
    lengths = [len(chain) for chain in chains[:4]]
    assert [list(row.values())[:6] for row in rows] == [
        [beside, "A", str(lengths[3]), str(lengths[3]), "0", chains[3].letters],
        [beside, "B", "", "", "", ""],
        [str(folder / "notes.pdb"), "", "", "", "", ""],
        [one, "A", str(lengths[0]), str(lengths[0]), "0", chains[0].letters],
        [two, "A", str(lengths[1]), str(lengths[1] - 2), "2", chains[1].letters],
        [two, "B", str(lengths[2]), str(lengths[2]), "0", chains[2].letters],
    ]
    in_two = "in the whole file: residues with missing backbone atoms 3"
    assert [row["notes"] for row in rows] == [
        "",
        "skipped: too short: 4 of 4 residues have N, CA and C, data.min_length=10 are needed",
        "skipped: no atom records, neither of PDB nor of mmCIF",
        "",
        in_two,
        in_two,
    ]
    header, *printed = capsys.readouterr().out.splitlines()
    assert header.split() == COLUMNS
    assert printed[0].split() == [beside, "A", str(lengths[3]), str(lengths[3]), "0", chains[3].letters[:27] + "..."]
    assert printed[-3:] == [
        f"4 chains with {sum(lengths)} residues in 3 files; skipped: 1 files, 1 chains",
        "cleaned: residues with missing backbone atoms 3",
        f"written: {tmp_path / 'read.csv'}",
    ]


def test_a_file_of_an_earlier_name_is_noted(folder, chains, tmp_path):
    (folder / "one.cif").write_text(cif_text(chains[4]))
    assert main(["inspect", str(folder), "--out", str(tmp_path / "read.csv")]) == 0
    notes = {row["file"]: row["notes"] for row in table(tmp_path / "read.csv")}
    first = str(folder / "one.cif")
    assert notes[str(folder / "one.pdb")] == f"data=folder reads only the first file of this name, {first}"
    assert notes[first] == ""


def test_a_design_backbone_is_noted(tmp_path, chains, capsys):
    glycines = Backbone("design", chains[0].coords, np.full(len(chains[0]), 5, np.uint8))
    (tmp_path / "design.pdb").write_text(pdb_text(glycines))
    assert main(["inspect", str(tmp_path)]) == 0
    size = len(glycines)
    assert f"{size} of {size} residues are G: the sequence carries nothing" in capsys.readouterr().out


def test_the_mean_confidence_is_the_last_column_if_a_lowest_one_is_given(tmp_path, chains):
    values = np.repeat(np.linspace(50, 99, len(chains[0])).round(1), 4)
    lines = pdb_text(chains[0]).splitlines(keepends=True)
    atoms = [f"{line[:60]}{value:6.2f}{line[66:]}" for line, value in zip(lines, values, strict=False)]
    (tmp_path / "model.pdb").write_text("".join(atoms))
    assert main(["inspect", str(tmp_path), "--min-plddt", "70", "--out", str(tmp_path / "read.csv")]) == 0
    (row,) = table(tmp_path / "read.csv")
    assert list(row) == [*COLUMNS, "confidence"]
    assert float(row["confidence"]) == pytest.approx(values.mean(), abs=0.01)
    assert int(row["missing"]) == (values[::4] < 70).sum() > 0
    assert "files with a confidence of 0 to 100 for each residue 1; residues below min_plddt=70" in row["notes"]


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["gone.pdb"], [], "gone.pdb: cannot be opened: No such file or directory"),
        (["in/notes.pdb"], [], "in/notes.pdb: no atom records"),
        (["no*.pdb", "gone*"], [], "no*.pdb: no file matches"),
        (["in"], ["--out", "nowhere/x.csv"], "--out nowhere/x.csv: the folder nowhere does not exist"),
        (["in"], ["--out", "in"], "--out in: is a folder"),
        (["in"], ["--min-plddt", "0.7"], "--min-plddt=0.7: goes from 0 to 100"),
        (["in"], ["--min-length", "0"], "--min-length=0: must be a whole number of 1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_if_nothing_can_be_read_one_message_says_why(folder, tmp_path, monkeypatch, capsys, paths, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", *paths, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("error:") == 1 and message in printed.err


def test_the_table_of_reasons_is_written_also_if_nothing_could_be_read(folder, tmp_path, capsys):
    assert main(["inspect", str(folder / "notes.pdb"), "--out", str(tmp_path / "read.csv")]) == 2
    (row,) = table(tmp_path / "read.csv")
    assert row["notes"] == "skipped: no atom records, neither of PDB nor of mmCIF"
    assert "no protein chain could be read" in capsys.readouterr().err


def test_names_that_cannot_be_printed_are_escaped(tmp_path, chains, capsys):
    name = b"caf\xe9\n.pdb".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_text(pdb_text(chains[0]))
    assert main(["inspect", str(tmp_path), "--out", str(tmp_path / "read.csv")]) == 0
    assert table(tmp_path / "read.csv")[0]["file"].endswith(r"caf\xe9\n.pdb")
    assert r"caf\xe9\n.pdb" in capsys.readouterr().out.splitlines()[1]


def test_python_reads_the_chains_of_files_and_folders(folder, chains):
    read = partoken.read(folder)
    assert [chain.id for chain in read] == ["beside_A", "one", "two_A", "two_B"]
    assert read[1].letters == chains[0].letters and read[1].fields["file"] == str(folder / "one.pdb")
    np.testing.assert_allclose(read[1].coords, chains[0].coords, atol=6e-4)
    assert [skipped.reason[:9] for skipped in read.skipped] == ["too short", "no atom r"]
    assert read.notes == {"residues with missing backbone atoms": 3}
    assert [chain.id for chain in partoken.read(folder / "one.pdb", str(folder / "two.*"), min_length=1)[1:]] == [
        "two_A",
        "two_B",
    ]
    with pytest.raises(UserError, match="no protein chain could be read"):
        partoken.read(folder / "notes.pdb")
    with pytest.raises(UserError, match=r"min_plddt=0\.5"):
        partoken.read(folder, min_plddt=0.5)


def test_two_processes_read_what_one_reads(folder):
    alone, together = partoken.read(folder), partoken.read(folder, workers=2)
    assert [chain.id for chain in alone] == [chain.id for chain in together]
    assert alone.skipped == together.skipped and alone.notes == together.notes


def test_neither_the_command_nor_the_function_imports_torch(folder, tmp_path):
    code = (
        "import sys, partoken; from partoken.cli import main; "
        f"partoken.read({str(folder)!r}); status = main(['inspect', {str(folder)!r}]); "
        "sys.exit(status or any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'hydra')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
