"""Structure files: cleaning, unusable files, damaged files."""

import gzip
import random
import re

import numpy as np
import pytest

from partoken.protein.chains.backbone import ATOMS, Backbone
from partoken.protein.chains.validation import DISTANCES
from partoken.protein.sources import reading
from partoken.protein.sources.reading import FileContent, read_file, read_files
from tests.protein.structures import atom_line, cif_text, pdb_chain, pdb_text


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "1abc.pdb"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def assert_same(actual: Backbone, expected: Backbone) -> None:
    np.testing.assert_allclose(actual.coords, expected.coords, atol=6e-4)
    assert actual.letters == expected.letters


@pytest.mark.parametrize("text", [pdb_text, cif_text])
@pytest.mark.parametrize("packed", [False, True])
def test_both_formats_give_the_chains_that_were_written(write, chains, text, packed):
    content = text(chains[0], chains[1]).encode()
    path = write(gzip.compress(content, mtime=0) if packed else content, "1abc.ent.gz" if packed else "1abc.ent")
    content = read_file(path)
    assert [c.id for c in content.chains] == ["1abc_A", "1abc_B"] and not content.skipped
    for actual, expected in zip(content.chains, chains, strict=False):
        assert_same(actual, expected)


def test_a_single_chain_has_the_name_of_its_file(write, chains):
    assert [c.id for c in read_file(write(pdb_text(chains[0]))).chains] == ["1abc"]


def test_the_content_decides_the_format(write, chains):
    assert_same(read_file(write(cif_text(chains[0]), "wrong.pdb")).chains[0], chains[0])
    packed = gzip.compress(pdb_text(chains[0]).encode())
    assert_same(read_file(write(packed, "wrong.cif")).chains[0], chains[0])


def test_only_the_first_model_is_read(write, chains):
    text = f"MODEL        1\n{pdb_chain(chains[0])}ENDMDL\nMODEL        2\n{pdb_chain(chains[1])}ENDMDL\nEND\n"
    content = read_file(write(text))
    assert len(content.chains) == 1 and content.notes["further models"] == 1
    assert_same(content.chains[0], chains[0])


def test_the_conformer_with_the_highest_occupancy_is_kept_whole(write, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    here = chains[0].coords[2]
    major = [
        atom_line(n, "SER", 3, p, altloc="B", occupancy=0.6) for n, p in zip(("N", "CA", "C", "O"), here, strict=True)
    ]
    minor = [
        atom_line(n, "SER", 3, p + 0.4, altloc="A", occupancy=0.4)
        for n, p in zip(("N", "CA", "C", "O"), here, strict=True)
    ]
    content = read_file(write("".join([*lines[:8], *minor, *major, *lines[12:]])))
    np.testing.assert_allclose(content.chains[0].coords[2], here, atol=6e-4)
    assert content.chains[0].letters[2] == "S" and len(content.chains[0]) == len(chains[0])
    assert content.notes["residues with alternate conformations"] == 1


def test_the_residue_with_the_higher_occupancy_is_kept_if_two_have_one_number(write, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    here = chains[0].coords[2]
    names = ("N", "CA", "C", "O")
    trp = [atom_line(n, "TRP", 3, p, altloc="A", occupancy=0.7) for n, p in zip(names, here, strict=True)]
    ser = [atom_line(n, "SER", 3, p + 0.3, altloc="B", occupancy=0.3) for n, p in zip(names, here, strict=True)]
    chain = read_file(write("".join([*lines[:8], *ser, *trp, *lines[12:]]))).chains[0]
    assert chain.letters[2] == "W" and len(chain) == len(chains[0])
    np.testing.assert_allclose(chain.coords[2], here, atol=6e-4)


def test_insertion_codes_make_separate_residues_in_order(write, chains):
    one = chains[0]
    lines = []
    for place in range(len(one)):
        number, icode = (
            (place + 1, " ")
            if place < 5
            else (5, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place - 5])
            if place < 9
            else (place - 3, " ")
        )
        for name, point in zip(("N", "CA", "C", "O"), one.coords[place], strict=True):
            lines.append(atom_line(name, "ALA", number, point, icode=icode))
    chain = read_file(write("".join(lines))).chains[0]
    np.testing.assert_allclose(chain.coords, one.coords, atol=6e-4)


def test_a_modified_residue_has_the_letter_of_its_parent(write, chains):
    text = "".join(
        atom_line(n, residue, i, p, record="HETATM" if residue != "ALA" else "ATOM")
        for i, (points, residue) in enumerate(
            zip(chains[0].coords, ["MSE", "SEP", "ZZZ"] + ["ALA"] * (len(chains[0]) - 3), strict=True), 1
        )
        for n, p in zip(("N", "CA", "C", "O"), points, strict=True)
    )
    content = read_file(write(text))
    assert content.chains[0].letters.startswith("MSXAA")
    assert content.notes["modified or unknown residues"] == 3


def test_missing_atoms_are_nan_and_their_residue_is_kept(write, chains):
    text = "".join(line for line in pdb_chain(chains[0]).splitlines(keepends=True) if line[12:16].strip() != "O")
    chain = read_file(write(text)).chains[0]
    assert len(chain) == len(chains[0]) and np.isnan(chain.coords[:, 3]).all()
    assert np.isfinite(chain.coords[:, :3]).all()


def test_waters_ligands_and_nucleic_acids_give_no_chains(write, chains):
    dna = "".join(atom_line(n, " DA", i, (i, 0, 0), chain="B") for i in range(1, 15) for n in ("P", "C4'", "N9"))
    water = "".join(atom_line("O", "HOH", i, (i, 9, 0), record="HETATM") for i in range(300, 320))
    ligand = "".join(atom_line(n, "GLU", 400, (i, 0, 9), record="HETATM") for i, n in enumerate(("N", "CA", "C", "O")))
    content = read_file(write(pdb_chain(chains[0]) + dna + "TER\n" + ligand + water + "END\n"))
    assert [len(c) for c in content.chains] == [len(chains[0])]
    assert content.notes["chains that are no protein"] == 1


def test_two_molecules_with_one_chain_name_are_separated_where_residue_numbers_restart(write, chains):
    content = read_file(write(pdb_chain(chains[0], " ") + pdb_chain(chains[1], " ") + "END\n"))
    assert [c.id for c in content.chains] == ["1abc_1", "1abc_2"]
    assert_same(content.chains[0], chains[0])
    assert_same(content.chains[1], chains[1])


def test_a_ter_line_at_a_gap_does_not_divide_a_chain(write, chains):
    lines = pdb_chain(chains[0]).splitlines(keepends=True)
    assert_same(read_file(write("".join([*lines[:40], "TER\n", *lines[40:]]))).chains[0], chains[0])


def test_two_molecules_with_the_same_names_and_numbers_are_refused(write, chains):
    text = (pdb_chain(chains[0]) + pdb_chain(chains[0])).replace("TER\n", "")
    content = read_file(write(text))
    assert not content.chains and "residues that occur twice" in content.skipped[0].reason


def test_impossible_residues_become_missing_and_too_many_make_the_chain_unusable(write, chains):
    wild = chains[0].coords.copy()
    wild[4, 1] += 30
    wild[9, 2] = 9999.0
    content = read_file(write(pdb_text(Backbone("x", wild, chains[0].sequence))))
    assert np.isnan(content.chains[0].coords[4]).all() and np.isnan(content.chains[0].coords[9, 2]).all()
    assert content.notes["residues with impossible geometry"] == 1
    nanometres = Backbone("x", chains[0].coords / 10, chains[0].sequence)
    refused = read_file(write(pdb_text(nanometres)))
    assert not refused.chains and "impossible geometry" in refused.skipped[0].reason


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty file"),
        (b" \n\n", "empty file"),
        (bytes(range(256)) * 20, "binary content"),
        (b"<!DOCTYPE html><html>not found</html>", "no atom records"),
        (b"HEADER    ONLY\nEND\n", "no atom records"),
        (b"ATOM      1  N   AL", "not readable as PDB"),
        (b"data_X\nloop_\n_atom_site.id\n_atom_site.Cartn_x\n1 2 3\n", "not readable as mmCIF"),
        (b"data_X\n_atom_site.id 1\n", "no atom records with coordinates"),
        (gzip.compress(b"ATOM" * 1000, mtime=0)[:-9], "truncated gzip"),
        (b"\x1f\x8bgarbage that is no gzip", "damaged gzip"),
    ],
)
def test_a_file_that_is_no_structure_is_skipped_with_the_reason(write, content, reason):
    result = read_file(write(content))
    assert not result.chains and len(result.skipped) == 1 and reason in result.skipped[0].reason
    assert "\n" not in result.skipped[0].reason


def test_short_long_and_ca_only_chains_are_skipped_with_the_reason(write, chains):
    short = Backbone("x", chains[0].coords[:7], chains[0].sequence[:7])
    assert "too short: 7 of 7" in read_file(write(pdb_text(short))).skipped[0].reason
    trace = chains[0].coords.copy()
    trace[:, [0, 2, 3]] = np.nan
    assert "only CA" in read_file(write(pdb_text(Backbone("x", trace, chains[0].sequence)))).skipped[0].reason
    both = read_file(write(pdb_text(chains[1], short)))
    assert [c.id for c in both.chains] == ["1abc"] or [c.id for c in both.chains] == ["1abc_A"]
    assert both.skipped[0].id == "1abc_B" and not both.skipped[0].unusable
    assert "data.max_length=20 are allowed" in read_file(write(pdb_text(chains[0])), max_length=20).skipped[0].reason


def test_files_of_any_name_are_read_and_a_missing_file_is_skipped(write, chains, tmp_path):
    text = pdb_text(chains[0])
    paths = [write(text, "notes.txt"), write(gzip.compress(cif_text(chains[0]).encode(), mtime=0), "a.cif.gz")]
    assert [read_file(path).chains[0].id for path in paths] == ["notes.txt", "a"]
    reasons = [s.reason for s in read_file(tmp_path / "none.pdb").skipped]
    assert reasons == ["cannot be opened: No such file or directory"]


def is_plausible(chain: Backbone) -> bool:
    """Checks that the atoms of every residue are at plausible distances."""
    atoms = dict(zip(("N", "CA", "C", "O"), chain.coords.transpose(1, 0, 2).astype(float), strict=True))
    if np.isinf(chain.coords).any() or np.nanmax(np.abs(chain.coords)) > 9_990:
        return False
    for (one, two), (least, most) in DISTANCES.items():
        distance = np.linalg.norm(atoms[one] - atoms[two], axis=-1)
        distance = distance[np.isfinite(distance)]
        if ((distance < least - 1e-3) | (distance > most + 1e-3)).any():
            return False
    return np.isfinite(chain.coords[:, :3]).all((1, 2)).sum() >= 8


def mutated(text: bytes, chance: random.Random) -> bytes:
    raw = bytearray(text)
    kind = chance.randrange(9)
    if kind == 0:
        return bytes(raw[: chance.randrange(len(raw))])
    if kind == 1:
        for _ in range(int(10 ** chance.uniform(0, 2.3))):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
    if kind == 2:
        for _ in range(int(10 ** chance.uniform(0, 2.3))):
            raw[chance.randrange(len(raw))] = chance.choice(b"0123456789.- \nNaEinf?")
    if kind == 3:
        start = chance.randrange(len(raw))
        del raw[start : start + chance.randrange(1, 500)]
    lines = bytes(raw).split(b"\n")
    if kind == 4:
        chance.shuffle(lines)
    if kind == 5:
        lines = [line for line in lines for _ in range(chance.choice((0, 1, 1, 2)))]
    if kind == 6:
        wild = [
            b"nan",
            b"inf",
            b"-inf",
            b"1.0e+38",
            b"*******",
            b"9999999",
            b"-9999.9",
            b"?",
            b"0x1p9",
            b"0.000",
            b"12.5",
        ]
        some = chance.choice((0.002, 0.02, 0.2))
        return re.sub(
            rb" *-?\d+\.\d{3}\b",
            lambda m: chance.choice(wild).rjust(len(m[0])) if chance.random() < some else m[0],
            bytes(raw),
        )
    if kind == 7:
        lines = [line[: chance.randrange(len(line) + 1)] if chance.random() < 0.02 else line for line in lines]
    if kind == 8:
        raw = bytearray(gzip.compress(text, mtime=0))
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return bytes(raw)
    return b"\n".join(lines)


@pytest.mark.parametrize("text", [pdb_text, cif_text])
def test_randomly_damaged_files_give_plausible_chains_or_a_reason(write, chains, text):
    original = text(chains[0], chains[1]).encode()
    kept = 0
    for seed in range(250):
        content = read_file(write(mutated(original, random.Random(seed))))
        assert content.chains or content.skipped
        assert all(s.reason and "\n" not in s.reason for s in content.skipped)
        assert not any(s.reason.startswith("cannot be read") for s in content.skipped), "an error of the reader"
        for chain in content.chains:
            assert is_plausible(chain), f"seed {seed} gave an implausible chain"
        kept += bool(content.chains)
    assert 15 < kept < 200, "the mutations should spoil some files and spare others"


def described(content: FileContent) -> tuple[object, ...]:
    """Returns all that is read of a file, in a form that can be compared."""
    chains = [
        (one.id, one.coords.tobytes(), one.letters, dict(one.fields), one.names.numbers, one.names.insertion_codes)
        for one in content.chains
    ]
    return chains, content.skipped, dict(content.notes)


def odd_files(chains: list[Backbone]) -> list[bytes]:
    """Returns files that are read, each with something that other files lack."""
    one, other = pdb_chain(chains[0]), pdb_chain(chains[1], "B")
    lines = one.splitlines(keepends=True)
    conformers = [
        line[:16] + letter + line[17:54] + f"{0.5 + place / 10:6.2f}" + line[60:]
        for line in lines[:8]
        for place, letter in enumerate("AB")
    ]
    moved = chains[0].coords[1, 1] + 0.2
    twice = [*lines[:6], atom_line("CA", lines[5][17:20], 2, moved, occupancy=2.0), *lines[6:]]
    segments = "".join(f"{line[:72]:<72}S{place // 200:<3}\n" for place, line in enumerate(lines))
    charges = "".join(f"{line[:72]:<72}{place % 7}+\n" for place, line in enumerate(lines))
    two = "".join(f"{line[:72]:<72}S{line[21:22]}\n" for line in (one + other).splitlines()).replace(" B ", " A ")
    full = "".join(f"{line[:-1]:<80}\n" for line in lines)
    water = "".join(atom_line("O", "HOH", i, (i, 9, 0), record="HETATM") for i in range(300, 320))
    free = "".join(atom_line(n, "MSE", len(chains[0]) + 1, (i, 0, 9), record="HETATM") for i, n in enumerate(ATOMS))
    dna = "".join(atom_line(n, " DA", i, (i, 0, 0), chain="D") for i in range(1, 15) for n in ("P", "C4'", "N9"))
    three = Backbone("x", chains[1].coords[:3], chains[1].sequence[:3])
    long_name = pdb_chain(three, start=len(chains[0]) + 1).replace(" A", "HA")
    return [
        text.encode()
        for text in (
            one + other + "END\n",
            one,
            long_name + pdb_chain(chains[2], start=100),  # its numbers go on where those of the file before end
            other + one + water,
            "".join([*conformers, *lines[8:]]),
            "".join(twice),
            "".join(twice).replace(" A ", " C "),
            "".join(twice).replace(" A ", " E "),
            segments,
            two,
            charges,
            full[:30] + "\x01" + full[31:],
            one + free,
            one.replace("ALA", "MSE") + one.replace(" A ", " B ") + "TER\nTER\n",
            f"MODEL        1\n{one}ENDMDL\nMODEL        2\n{other}ENDMDL\nMODEL        3\n{other}ENDMDL\n",
            one.replace("\n", "\r\n"),
            one.replace("\n", "\r"),
            "\n".join(line[:54] for line in one.splitlines()),
            one.replace("LYS ", "LYSH").replace("GLY ", "GLYX"),
            "".join(lines[40:] + lines[:40]),
            "".join(lines[36:40] + lines[:36] + lines[40:]),  # begins with the residue with which the file before ends
            one[:-4] + dna + water,
            "REMARK" + "\n" * 7 + one,
            cif_text(chains[2]),
            cif_text(chains[0], chains[1]),
        )
    ]


def test_files_that_are_read_together_give_what_each_gives_alone(write, chains):
    texts = odd_files(chains)
    texts += [mutated(text, random.Random(seed)) for seed, text in enumerate(texts * 2)]
    files = [(write(text, f"f{number}.pdb"), None) for number, text in enumerate(texts)]
    alone = {file: described(read_file(file[0], keep_names=True)) for file in files}
    good = [file for file in files if alone[file][0]]
    assert len(good) > 30 and len({note for file in good for note in alone[file][2]}) >= 6
    groups = [good, *(random.Random(seed).sample(good if seed % 3 else files, 10) for seed in range(12))]
    for group in groups:
        assert [described(content) for content in read_files(group, keep_names=True)] == [alone[one] for one in group]


def test_a_group_of_files_without_errors_is_parsed_once(write, chains, monkeypatch):
    sizes = []
    parse = reading._parsed_together
    monkeypatch.setattr(reading, "_parsed_together", lambda texts, b: sizes.append(len(texts)) or parse(texts, b))
    files = [(write(text, f"f{number}.pdb"), None) for number, text in enumerate(odd_files(chains))]
    assert all(content.chains for content in read_files(files)) and sizes == [len(files)]
    sizes.clear()
    bad = (write("ATOM      1  N   AL", "bad.pdb"), None)
    contents = list(read_files([files[0], bad, files[1]]))
    assert sizes == [3, 1, 1, 1] and [bool(content.chains) for content in contents] == [True, False, True]
    sizes.clear()
    monkeypatch.setattr(reading, "TOGETHER", 1)
    assert all(content.chains for content in read_files(files)) and sizes == [1] * len(files)
