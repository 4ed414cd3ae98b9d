"""BinaryCIF files: the chains of the text form, its encodings, damaged and malicious files."""

import gzip
import random
import re

import numpy as np
import pytest

from partoken.protein.sources.binary_table import BinaryTable, decode
from partoken.protein.sources.reading import read_file
from tests.protein.binary_cif import binary_cif, binary_document, byte_array, run_length, string_array
from tests.protein.structures import cif_text

msgpack = pytest.importorskip("msgpack")


def table(*encoded, rows, **mask):
    """A table whose columns are named 0, 1, ..."""
    columns = {
        str(i): {"data": {"data": data, "encoding": kind}, "mask": mask or None}
        for i, (data, kind) in enumerate(encoded)
    }
    return BinaryTable(columns, rows)


@pytest.mark.parametrize("numbers", ["f8", "f4", "fixed"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_binary_file_gives_exactly_the_chains_of_the_text(tmp_path, chains, numbers, packed):
    text = cif_text(chains[0], chains[1])
    (tmp_path / "1abc.cif").write_text(text)
    content = binary_cif(text, numbers)
    (tmp_path / "1abc.bcif").write_bytes(gzip.compress(content, mtime=0) if packed else content)
    binary, written = (read_file(tmp_path / f"1abc.{ending}") for ending in ("bcif", "cif"))
    assert [c.id for c in binary.chains] == ["1abc_A", "1abc_B"]
    for one, other in zip(binary.chains, written.chains, strict=True):
        np.testing.assert_array_equal(one.coords, other.coords)
        assert one.letters == other.letters
    assert binary.notes == written.notes


def test_numbers_keep_all_their_digits():
    values = [0.1, 1e-7, 12.345678901234567, np.nan]
    made = table(byte_array(values, "f8"), byte_array([1, -12, 0, 7], "i4"), rows=4)
    np.testing.assert_array_equal(made.decimals("0", "1"), np.stack([values, [1, -12, 0, 7]], 1))
    np.testing.assert_array_equal(made.only(np.array([False, True, True, False])).decimals("1"), [[-12], [0]])
    numbers, names = made.names("1")
    assert [names[number] for number in numbers] == ["1", "-12", "0", "7"]


def test_a_quantized_number_has_the_value_of_its_step():
    data, encoding = byte_array([0, 1, 4], "u1")
    quantized = {"kind": "IntervalQuantization", "min": -1.0, "max": 1.0, "numSteps": 5, "srcType": 33}
    np.testing.assert_allclose(table((data, [quantized, *encoding]), rows=3).decimals("0")[:, 0], [-1, -0.5, 1])


def test_masked_values_are_missing():
    data, encoding = byte_array([0, 1, 2, 0], "u1")
    made = table(
        byte_array([5, 6, 7, 8], "i4"), string_array(["a", "b", "b", "?"]), rows=4, data=data, encoding=encoding
    )
    np.testing.assert_array_equal(made.decimals("0")[:, 0], [5, np.nan, np.nan, 8])
    assert made.is_given("0").tolist() == [True, False, False, True]
    assert made.is_given("1").tolist() == [True, False, False, False]
    numbers, names = made.names("1")
    assert [names[number] for number in numbers] == ["a", "", "", ""]


def test_a_chain_whose_names_need_quotes_is_read(tmp_path, chains):
    text = cif_text(chains[0]).replace(" A 1 ", " 'A B' 1 ").replace(" A 1\n", " 'A B' 1\n")
    (tmp_path / "a.bcif").write_bytes(binary_cif(text))
    content = read_file(tmp_path / "a.bcif")
    assert [(c.fields["chain"], len(c)) for c in content.chains] == [("A B", len(chains[0]))]


def test_a_value_that_the_file_claims_to_repeat_without_end_is_refused():
    data, encoding = run_length([7, 7, 7])
    assert decode(data, encoding, 3).tolist() == [7, 7, 7]
    bomb, _ = byte_array([7, 2_000_000_000], "i4")
    with pytest.raises(ValueError, match="runs of 2000000000 values, expected 3"):
        decode(bomb, encoding, 3)


def test_a_table_that_claims_too_many_rows_is_refused_before_memory_is_taken(tmp_path, chains):
    document = binary_document(cif_text(chains[0]))
    document["dataBlocks"][0]["categories"][1]["rowCount"] = 1_000_000_000
    (tmp_path / "a.bcif").write_bytes(msgpack.packb(document))
    [skipped] = read_file(tmp_path / "a.bcif").skipped
    assert skipped.reason == "1000000000 rows in a table of the BinaryCIF file, at most 16777216 are read"


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda d: d["dataBlocks"].clear(), "no atom records in the BinaryCIF file"),
        (lambda d: d["dataBlocks"][0]["categories"].pop(), "no atom records in the BinaryCIF file"),
        (lambda d: d["dataBlocks"][0]["categories"][1].update(rowCount=7), "damaged BinaryCIF file: ValueError: "),
        (
            lambda d: d["dataBlocks"][0]["categories"][1]["columns"].pop(10),
            "the mmCIF file has no column _atom_site.Cartn_x",
        ),
        (lambda d: d["dataBlocks"][0].pop("categories"), "no atom records in the BinaryCIF file"),
        (lambda d: d["dataBlocks"][0].update(categories=7), "damaged BinaryCIF file"),
        (lambda d: d["dataBlocks"][0]["categories"][1]["columns"][0]["data"].pop("encoding"), "KeyError: 'encoding'"),
    ],
)
def test_a_file_that_contradicts_itself_is_skipped_with_the_reason(tmp_path, chains, change, reason):
    document = binary_document(cif_text(chains[0]))
    change(document)
    (tmp_path / "a.bcif").write_bytes(msgpack.packb(document))
    [skipped] = read_file(tmp_path / "a.bcif").skipped
    assert reason in skipped.reason and "\n" not in skipped.reason


def test_the_experiment_and_the_confidence_are_those_of_the_text(tmp_path, chains):
    text = cif_text(chains[0])
    rows = iter(range(10**6))
    text = re.sub(r" 1\.0 0\.0 ", lambda _: f" 1.0 {50 + next(rows) // 4 % 40}.0 ", text)
    document = binary_document(text)
    (tmp_path / "a.cif").write_text(text)
    (tmp_path / "a.bcif").write_bytes(msgpack.packb(document))
    one, other = (read_file(tmp_path / name, min_plddt=70) for name in ("a.bcif", "a.cif"))
    assert one.notes == other.notes and "residues below min_plddt=70" in one.notes
    np.testing.assert_array_equal(one.chains[0].coords, other.chains[0].coords)
    data, encoding = string_array(["X-RAY DIFFRACTION"])
    method = {"name": "method", "data": {"data": data, "encoding": encoding}, "mask": None}
    document["dataBlocks"][0]["categories"].append({"name": "_exptl", "columns": [method], "rowCount": 1})
    (tmp_path / "a.bcif").write_bytes(msgpack.packb(document))
    assert read_file(tmp_path / "a.bcif", min_plddt=70).notes["experimental structures, read without a confidence"] == 1


def test_randomly_damaged_files_give_a_reason_or_chains(tmp_path, chains):
    raw = binary_cif(cif_text(chains[0]))
    read = 0
    for seed in range(60):
        chance, damaged = random.Random(seed), bytearray(raw)
        for _ in range(chance.choice((1, 1, 5, 50))):
            damaged[chance.randrange(len(raw))] = chance.randrange(256)
        if seed % 5 == 0:
            del damaged[chance.randrange(len(raw)) :]
        (tmp_path / "a.bcif").write_bytes(damaged)
        content = read_file(tmp_path / "a.bcif")
        assert content.chains or content.skipped
        assert not any("\n" in s.reason for s in content.skipped)
        read += bool(content.chains)
    assert 5 < read < 55, "the damage should spoil some files and spare others"


def test_without_msgpack_the_reason_says_how_to_install_it(tmp_path, chains, monkeypatch):
    (tmp_path / "a.bcif").write_bytes(binary_cif(cif_text(chains[0])))
    monkeypatch.setitem(__import__("sys").modules, "msgpack", None)
    [skipped] = read_file(tmp_path / "a.bcif").skipped
    assert "pip install msgpack" in skipped.reason
