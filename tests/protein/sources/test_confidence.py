"""The confidence of predicted structures: its scale, the residues below it, and files that have none."""

import csv
import re

import numpy as np
import pytest

from partoken.errors import UserError
from partoken.protein.catalog import folder
from partoken.protein.sources.confidence import check_min_plddt, experiment_of
from partoken.protein.sources.reading import read_file
from tests.protein.structures import cif_text, pdb_text

HEADERS = {
    "pdb method": (pdb_text, "EXPDTA    X-RAY DIFFRACTION\n"),
    "pdb method on two lines": (pdb_text, "EXPDTA    NEUTRON\nEXPDTA   2 DIFFRACTION\n"),
    "pdb resolution": (pdb_text, "REMARK   2 RESOLUTION.    1.90 ANGSTROMS.\n"),
    "cif method": (cif_text, "_exptl.entry_id TEST\n_exptl.method 'SOLUTION NMR'\n#\n"),
    "cif loop": (cif_text, "loop_\n_exptl.method\n_exptl.entry_id\n'ELECTRON MICROSCOPY' TEST\n#\n"),
    "cif resolution": (cif_text, "_refine.ls_d_res_high 2.10\n#\n"),
}


def with_b_factors(text, values):
    """Replaces the B column, 0 in the texts of `structures`, by a value for each atom."""
    values = iter(values)
    lines = []
    for line in text.splitlines(keepends=True):
        if line.startswith("ATOM") and line[60:66] == "  0.00":
            line = f"{line[:60]}{next(values):6.2f}{line[66:]}"
        elif line.startswith("ATOM"):
            line = re.sub(r" 1\.0 0\.0 ", lambda _: f" 1.0 {next(values):.2f} ", line)
        lines.append(line)
    assert next(values, None) is None, "a value for each atom"
    return "".join(lines)


@pytest.fixture
def confidence(chains):
    """A confidence from 0 to 100 for each residue of the first chain; one residue has exactly 70."""
    values = np.random.default_rng(0).uniform(30, 100, len(chains[0])).round()
    values[5] = 70
    return values


@pytest.fixture
def write(tmp_path):
    def write(text, name="model.pdb"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("text", [pdb_text, cif_text])
@pytest.mark.parametrize("scale", [100, 1])
def test_residues_below_are_missing_on_both_scales_and_the_scale_is_said(write, chains, confidence, text, scale):
    path = write(with_b_factors(text(chains[0]), np.repeat(confidence * scale / 100, 4)))
    content = read_file(path, min_plddt=70)
    (chain,) = content.chains
    assert (confidence == 70).any(), "the limit itself is high enough"
    is_low = confidence < 70
    assert 3 < is_low.sum() < len(chain) - 10
    assert np.isnan(chain.coords[is_low]).all() and np.isfinite(chain.coords[~is_low]).all()
    np.testing.assert_allclose(chain.coords[~is_low], chains[0].coords[~is_low], atol=6e-4)
    assert chain.letters == chains[0].letters
    assert float(chain.fields["confidence"]) == pytest.approx(confidence.mean(), abs=0.01)
    assert content.notes == {
        f"files with a confidence of 0 to {scale} for each residue": 1,
        "residues below min_plddt=70": is_low.sum(),
        "residues with missing backbone atoms": is_low.sum(),
    }


def test_without_the_key_the_column_changes_nothing(write, chains, confidence):
    content = read_file(write(with_b_factors(pdb_text(chains[0]), np.repeat(confidence, 4))))
    assert np.isfinite(content.chains[0].coords).all()
    assert not content.notes and "confidence" not in content.chains[0].fields


def test_a_confidence_for_each_atom_counts_by_the_atom_ca_and_is_said(write, chains):
    values = np.tile([95.0, 60.0, 95.0, 95.0], len(chains[0]))
    values[4 * 7 + 1 :: 4] = 71
    content = read_file(write(with_b_factors(pdb_text(chains[0]), values)), min_plddt=70)
    assert np.isnan(content.chains[0].coords).all((1, 2)).nonzero()[0].tolist() == list(range(7))
    assert content.notes["files with a confidence of 0 to 100 for each atom"] == 1


@pytest.mark.parametrize(("text", "header"), HEADERS.values(), ids=HEADERS)
def test_an_experimental_structure_is_read_in_full_and_named(write, chains, confidence, text, header):
    written = with_b_factors(text(chains[0]), np.repeat(confidence, 4))
    start = "data_TEST\n" if text is cif_text else ""
    content = read_file(write(start + header + written.removeprefix(start)), min_plddt=70)
    assert np.isfinite(content.chains[0].coords).all()
    assert content.notes == {"experimental structures, read without a confidence": 1}
    assert "confidence" not in content.chains[0].fields


@pytest.mark.parametrize(
    "header",
    [
        "EXPDTA    THEORETICAL MODEL\nREMARK   2 RESOLUTION.    1.90 ANGSTROMS.\n",
        "REMARK   2 RESOLUTION. NOT APPLICABLE.\n",
        "TITLE     MODEL OF A PROTEIN SOLVED BY X-RAY DIFFRACTION\n",
        "_exptl.entry_id A\n_exptl.method 'THEORETICAL MODEL'\n#\n_citation.title 'NMR'\n",
        "_exptl.method ?\n_refine.ls_d_res_high .\n",
    ],
)
def test_a_model_is_no_experimental_structure(header):
    assert experiment_of(header.encode()) == ""


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (lambda n: np.linspace(5, 132, n), "no confidence for min_plddt: the B factors go from 5 to 132, "),
        (lambda n: np.linspace(-2, 30, n), "no confidence for min_plddt: the B factors go from -2 to 30, "),
        (lambda n: np.zeros(n), "no confidence for min_plddt: the B factors are all 0"),
        (lambda n: np.full(n, 20.0), "no confidence for min_plddt: the B factors are all 20"),
    ],
    ids=["too large", "negative", "zero", "constant"],
)
def test_numbers_that_are_no_confidence_are_refused(write, chains, values, reason):
    path = write(with_b_factors(pdb_text(chains[0]), values(4 * len(chains[0]))))
    content = read_file(path, min_plddt=70)
    assert not content.chains and content.skipped[0].reason.startswith(reason)
    assert read_file(path).chains


def test_a_file_without_the_column_is_refused(write, chains):
    text = cif_text(chains[0]).replace("_atom_site.B_iso_or_equiv\n", "").replace(" 1.0 0.0 ", " 1.0 ")
    (skipped,) = read_file(write(text, "model.cif"), min_plddt=70).skipped
    assert skipped.reason == "no confidence for min_plddt: the file has no B factors"
    assert read_file(write(text, "model.cif")).chains


def test_the_reason_of_a_chain_with_too_few_confident_residues_names_them(write, chains, confidence):
    path = write(with_b_factors(pdb_text(chains[0]), np.repeat(confidence / 2, 4)))
    (skipped,) = read_file(path, min_plddt=70).skipped
    assert skipped.reason.endswith(f"; {len(chains[0])} residues are below min_plddt=70")


@pytest.mark.parametrize("value", [0.7, 0, 101, -3, "70", True], ids=str)
def test_a_lowest_confidence_outside_the_scale_is_refused(value):
    with pytest.raises(UserError, match=r"data\.min_plddt="):
        check_min_plddt("data.min_plddt", value)


def test_the_folder_of_a_run_counts_the_residues_and_another_value_reads_it_again(tmp_path, write, chains, confidence):
    rows = [("id", "label")]
    for i in range(12):
        write(with_b_factors(pdb_text(chains[0]), np.repeat(confidence, 4)), f"m{i}.pdb")
        rows.append((f"m{i}", "ab"[i % 2]))
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)

    def data(**options):
        return folder(
            str(tmp_path),
            labels=str(tmp_path / "labels.csv"),
            cache_dir=str(tmp_path / "cache"),
            split="random",
            **options,
        )

    missing = {}
    for value in (None, 70, 80, 70):
        module = data() if value is None else data(min_plddt=value)
        coords = np.concatenate([chain.coords for chain in module.collection.store.read(range(12))])
        missing[value] = int(np.isnan(coords).all((1, 2)).sum())
        assert module.provenance["reading"].get("min_plddt") == value
        notes = module.collection.store.notes
        assert notes.get(f"residues below min_plddt={value}", 0) == missing[value]
    assert 0 == missing[None] < missing[70] < missing[80]
    assert "files with a confidence of 0 to 100 for each residue 12, residues below min_plddt=70" in "\n".join(
        module.describe()
    )
