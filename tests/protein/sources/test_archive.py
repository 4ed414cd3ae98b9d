"""Tar archives: members by name and place, every format of tar, damaged archives, names that are only shown."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from partoken.protein.sources.archive import TarMember, list_members
from partoken.protein.sources.finding import list_structures
from partoken.protein.sources.folder import read_folder
from partoken.protein.sources.reading import read_file
from partoken.system.skipped import Skipped
from tests.protein.structures import cif_text, pdb_text

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def write_tar(path, members, kind="pax"):
    with tarfile.open(path, "w", format=FORMATS[kind], errors="surrogateescape") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def names(path):
    return [member.name for member in list_members(path)]


@pytest.mark.parametrize("kind", FORMATS)
def test_members_are_found_where_python_finds_them(tmp_path, kind):
    long = "folder/" + "x" * (90 if kind == "ustar" else 300)
    members = {"a.cif": b"1" * 513, long + "/b.pdb": b"", "./c.ent": b"3" * 1024, "Ä.cif": b"4"}
    path = write_tar(tmp_path / "a.tar", members, kind)
    found = list(list_members(path))
    content = path.read_bytes()
    assert [m.name for m in found] == list(members)
    assert [content[m.start : m.start + m.size] for m in found] == list(members.values())
    with tarfile.open(path) as archive:
        assert [(m.start, m.size) for m in found] == [(info.offset_data, info.size) for info in archive]


def test_only_visible_regular_files_are_members(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in {
            "d": tarfile.DIRTYPE,
            "l.pdb": tarfile.SYMTYPE,
            "h.pdb": tarfile.LNKTYPE,
            "p.pdb": tarfile.FIFOTYPE,
        }.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("._a.pdb", ".git/b.pdb", "c.pdb"):
            archive.addfile(tarfile.TarInfo(name))
    assert names(tmp_path / "a.tar") == ["c.pdb"]


def test_an_archive_gives_the_chains_of_its_files_under_names_that_are_only_shown(tmp_path, chains, monkeypatch):
    path = write_tar(
        tmp_path / "proteome.tar",
        {
            "AF-A-F1.cif.gz": gzip.compress(cif_text(chains[0]).encode()),
            "../../outside.pdb": pdb_text(chains[1]).encode(),
            "/etc/absolute.pdb": pdb_text(chains[2]).encode(),
            "list.json.gz": b"{}",
            "bad.cif": b"",
        },
    )
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    files, skipped = list_structures([path])
    contents = [read_file(file) for file in files]
    assert [c.chains[0].id for c in contents if c.chains] == ["AF-A-F1", "outside", "absolute"]
    for content, chain in zip(contents[:3], chains[:3], strict=True):
        np.testing.assert_allclose(content.chains[0].coords, chain.coords, atol=6e-4)
    assert contents[0].chains[0].fields["file"] == f"{path}/AF-A-F1.cif.gz"
    assert [s.reason for s in contents[3].skipped] == ["empty file"]
    assert [(s.file, s.reason) for s in skipped] == [(str(path), "files that are not read: 1 .json.gz")]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_archives_in_a_folder_are_read_beside_its_files(tmp_path, chains):
    root = tmp_path / "structures"
    root.mkdir()
    (root / "1aaa.pdb").write_text(pdb_text(chains[0]))
    members = {"f/2bbb.cif": cif_text(chains[1]).encode(), "1aaa.cif": b"", "x.txt": b""}
    write_tar(root / "more.tar", members)
    store = read_folder(root, min_length=10, cache_dir=tmp_path / "cache")
    assert store.ids == ["1aaa", "2bbb"] and store.columns["file"] == ["1aaa.pdb", "more.tar/f/2bbb.cif"]
    assert [(s.file, s.reason) for s in store.skipped] == [
        ("more.tar/1aaa.cif", "duplicate: the name 1aaa is already that of 1aaa.pdb")
    ]
    assert store.notes["not read: .txt"] == 1
    write_tar(root / "more.tar", {"3ccc.cif": cif_text(chains[1]).encode()})
    assert read_folder(root, min_length=10, cache_dir=tmp_path / "cache").ids == ["1aaa", "3ccc"]


@pytest.mark.parametrize(
    "damage, reason, kept",
    [
        (lambda raw: raw[:1700], "damaged after 1 files: it ends within a member", 1),
        (lambda raw: raw[:2048], "damaged after 2 files: it has no end, so it may be truncated", 2),
        (lambda raw: raw[:1024] + b"x" * 512 + raw[1536:], "damaged after 1 files: no header", 1),
        (lambda raw: raw[:124] + b"\xff" * 12 + raw[136:], "no tar archive: no header", 0),
        (lambda raw: gzip.compress(raw), "no tar archive: no header", 0),
        (lambda raw: b"", "no tar archive", 0),
    ],
)
def test_a_damaged_archive_gives_its_first_members_and_a_reason(tmp_path, damage, reason, kept):
    path = write_tar(tmp_path / "a.tar", {name: b"1" * 400 for name in ("a.pdb", "b.pdb", "c.pdb")})
    path.write_bytes(damage(path.read_bytes()))
    found = list(list_members(path))
    assert [isinstance(m, TarMember) for m in found] == [True] * kept + [False]
    assert isinstance(found[-1], Skipped) and reason in found[-1].reason


def test_a_size_below_zero_does_not_go_back_in_the_archive(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.pdb": b"1"})
    raw = bytearray(path.read_bytes())
    for field in (b"-0000001000\0", b"\xff" * 11 + b"\0"):
        raw[124:136] = field
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        path.write_bytes(raw)
        [skipped] = list_members(path)
        assert "header without a size" in skipped.reason


def test_an_archive_without_structures_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"list.txt": b"1"})
    files, skipped = list_structures([path])
    reason = next(s.reason for s in skipped if s.unusable)
    assert not files and reason.startswith("the archive holds no structure file")
