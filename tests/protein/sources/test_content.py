"""The content of structure files: packed and binary forms, limits of size, files that are no regular files."""

import gzip
import os
import resource
import time
import zlib

import pytest

from partoken.protein.sources.atoms import UnusableFile
from partoken.protein.sources.content import read_content
from partoken.protein.sources.reading import read_file
from tests.protein.structures import atom_line, pdb_text

TEXT = b"HEADER\nATOM\n"


@pytest.fixture
def write(tmp_path):
    def write(content: bytes):
        path = tmp_path / "1abc.pdb"
        path.write_bytes(content)
        return path

    return write


def reason_of(path, **limits):
    with pytest.raises(UnusableFile) as caught:
        read_content(path, **limits)
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT[:5]) + gzip.compress(b"") + gzip.compress(TEXT[5:]),
        gzip.compress(TEXT) + b"\0" * 700,
        b"\xef\xbb\xbf" + TEXT,
        TEXT.decode().encode("utf-16"),
        gzip.compress(TEXT.decode().encode("utf-16")),
    ],
    ids=["plain", "gzip", "members", "padding", "mark", "utf-16", "utf-16 in gzip"],
)
def test_every_form_gives_the_text(write, content):
    assert read_content(write(content)) == TEXT


def test_a_large_packed_file_is_unpacked_in_pieces(write):
    content = b"".join(b"REMARK %06d\n" % i for i in range(100_000))
    members = [gzip.compress(content[i : i + 400_001]) for i in range(0, len(content), 400_001)]
    assert read_content(write(b"".join(members))) == content


def test_characters_beyond_ascii_keep_their_places(write):
    assert read_content(write("AUTHOR é\nATOM\n".encode("latin-1"))) == b"AUTHOR ?\nATOM\n"


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"BZh91AY&SY", "a bzip2 file: unpack it, or pack it with gzip"),
        (b"\xfd7zXZ\0\0", "a xz file: unpack it, or pack it with gzip"),
        (b"PK\x03\x04", "a zip file: unpack it, or pack it with gzip"),
        (b"a.pdb" + bytes(252) + b"ustar\0", "a tar archive: its name must end in .tar, and it must not be packed"),
        (gzip.compress(b"a.pdb" + bytes(252) + b"ustar\0"), "a tar archive: its name must end in .tar"),
        (gzip.compress(TEXT)[:-3], "truncated gzip file"),
        (gzip.compress(TEXT) + b"rest", "damaged gzip file"),
        (gzip.compress(b""), "empty file"),
        (b"", "empty file"),
    ],
    # Without them a name would hold a packed file with its time, and differ between the processes that collect tests.
    ids=["bzip2", "xz", "zip", "tar", "tar in gzip", "truncated", "damaged", "empty gzip", "empty"],
)
def test_other_content_is_refused_with_its_kind(write, content, reason):
    assert reason in reason_of(write(content))


def test_a_file_is_refused_from_the_first_byte_beyond_the_limit(write):
    content = b"ATOM \n" * 1024
    limit = len(content) / (1 << 20)
    for packed in (content, gzip.compress(content)):
        assert read_content(write(packed), limit) == content
        assert reason_of(write(packed), max_file_mb=limit - 1e-6).startswith("larger than data.max_file_mb=0.006 ")


def test_a_bomb_is_refused_without_its_memory(write):
    packer = zlib.compressobj(1, wbits=31)
    lines = atom_line("CA", "ALA", 1, (1, 2, 3)).encode() * 13_000
    bomb = b"".join(packer.compress(lines) for _ in range(60)) + packer.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reason = reason_of(write(bomb), max_file_mb=4)
    assert len(bomb) < 1 << 20 and reason.startswith("larger than data.max_file_mb=4")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "kB; unpacked it has 63,000"


def test_zeros_are_refused_at_the_first_block(write):
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(8)) + packer.flush()
    assert reason_of(write(bomb), max_file_mb=1) == "binary content, neither PDB nor mmCIF text"


def test_a_gzip_file_of_very_many_members_is_read_in_linear_time(write):
    content = gzip.compress(b"") * 20_000 + gzip.compress(TEXT)
    assert read_content(write(content)) == TEXT


def test_molecules_beside_the_protein_take_linear_time(write, chains):
    def seconds(number):
        lipids = (
            atom_line("C1", f"L{i % 97:02d}", i % 9999 + 1, (i % 900, i // 900, 0), record="HETATM", chain="L")
            for i in range(number)
        )
        path = write((pdb_text(chains[0]).replace("END\n", "") + "".join(lipids)).encode())
        start = time.process_time()
        content = read_file(path)
        assert [len(c) for c in content.chains] == [len(chains[0])]
        return time.process_time() - start

    seconds(100)  # imports and caches
    few, many = (min(seconds(number) for _ in range(2)) for number in (2_000, 16_000))
    assert many < 24 * few, "eight times as many molecules; quadratic time would be 64 times as long"


def test_a_pipe_a_device_and_a_folder_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "1abc.pdb")
    for path in (tmp_path / "1abc.pdb", "/dev/zero"):
        assert reason_of(path) == "cannot be opened: not a regular file"
    assert reason_of(tmp_path) == "cannot be opened: is a folder"
    assert reason_of(tmp_path / "none") == "cannot be opened: No such file or directory"
