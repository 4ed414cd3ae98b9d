"""Embeddings of a tiny random ESM-2: equal to a direct call of the model, written for `data.residue_features`."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from partoken.protein.catalog import embedded
from partoken.protein.chains.features import open_features
from partoken.protein.language_model.__main__ import main
from partoken.protein.language_model.esm import load_esm
from tests.protein.structures import cif_text, pdb_text

transformers = pytest.importorskip("transformers", reason="the extra esm is not installed")

VOCABULARY = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of a model as a user has it: one for masked residues, whose head is not needed."""
    folder = tmp_path_factory.mktemp("esm")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    config = transformers.EsmConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        position_embedding_type="rotary",
        token_dropout=True,
        pad_token_id=1,
        mask_token_id=32,
    )
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    transformers.EsmForMaskedLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chains():
    store = embedded().collection.store
    return store.read(store.lengths.argsort(kind="stable")[[5, 100, 3]])


@pytest.fixture
def structures(tmp_path, chains):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.pdb").write_text(pdb_text(chains[0]))
    (tmp_path / "in" / "two.cif").write_text(cif_text(chains[1], chains[2]))
    (tmp_path / "in" / "notes.pdb").write_text("no structure")
    return tmp_path / "in"


def direct(weights, letters):
    """The last hidden state of each residue of one chain, float32 [L, 16], by the library alone."""
    tokenizer = transformers.EsmTokenizer.from_pretrained(weights)
    model = transformers.EsmModel.from_pretrained(weights, add_pooling_layer=False).eval()
    with torch.inference_mode():
        return model(**tokenizer(letters, return_tensors="pt")).last_hidden_state[0, 1:-1].numpy()


def run(weights, out, *arguments):
    return main([*map(str, arguments), "--weights", str(weights), "--out", str(out), "--device", "cpu"])


def test_the_features_of_structures_equal_a_direct_call(weights, structures, chains, tmp_path, capsys):
    out = tmp_path / "f.npz"
    assert run(weights, out, structures, "--dtype", "float32", "--batch-residues", "200") == 0
    features = open_features(out)
    assert features.width == 16 and sorted(features.ids) == ["one", "two_A", "two_B"]
    for name, chain in zip(["one", "two_A", "two_B"], chains, strict=True):
        np.testing.assert_allclose(features.read(name), direct(weights, chain.letters), atol=1e-5)
    printed = capsys.readouterr().out
    assert f"3 chains, {sum(map(len, chains)):,} residues, 16 float32 values each" in printed
    with open(tmp_path / "f.skipped.csv", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [str(structures / "notes.pdb")]


def test_a_batch_of_many_chains_gives_each_the_answer_that_it_has_alone(weights, chains):
    model = load_esm(weights, "cpu")
    unknown = np.full(7, 20, np.uint8)
    sequences = [*(chain.sequence for chain in chains), unknown]
    for together, codes in zip(model.embed(sequences), sequences, strict=True):
        np.testing.assert_allclose(together, model.embed([codes])[0], atol=1e-5)
    np.testing.assert_allclose(model.embed([unknown])[0], direct(weights, "X" * 7), atol=1e-5)


def test_a_long_chain_is_read_in_windows(weights, structures, chains, tmp_path):
    out, letters = tmp_path / "f.npz", chains[0].letters
    size, length = 32, len(letters)
    assert 40 < length <= 56, "two windows"
    assert run(weights, out, structures / "one.pdb", "--dtype", "float32", "--window", str(size)) == 0
    middle = (length - size + size) // 2
    expected = [direct(weights, letters[:size])[:middle], direct(weights, letters[-size:])[middle - length :]]
    np.testing.assert_allclose(open_features(out).read("one"), np.concatenate(expected), atol=1e-5)


def test_the_chains_of_arrays_and_of_the_package_have_the_ids_of_the_data_sources(weights, chains, tmp_path):
    points, sequence = np.concatenate([c.coords for c in chains]), [c.letters for c in chains]
    offsets = np.cumsum([0, *map(len, chains)])
    np.savez(tmp_path / "chains.npz", coords=points, offsets=offsets, seq=sequence, id=["x", "y", "z"])
    assert run(weights, tmp_path / "f.npz", tmp_path / "chains.npz", "--embedded") == 0
    features = open_features(tmp_path / "f.npz")
    assert len(features) == 908 and features.dtype == np.float16
    data = embedded(min_class_size=20, residue_features=str(tmp_path / "f.npz"))
    assert data.settings()["residue_features"] == {"width": 16} and data.skipped == embedded(min_class_size=20).skipped
    assert next(iter(data.val_dataloader())).features.isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder; give the folder of an ESM-2 model"),
        (lambda folder: (folder / "config.json").unlink(), "holds no model"),
        (lambda folder: (folder / "vocab.txt").unlink(), "holds no vocab.txt"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"text"), "cannot be loaded"),
        (lambda folder: (folder / "vocab.txt").write_text("\n".join(VOCABULARY[:20])), "lacks an amino acid"),
        (lambda folder: edit(folder, model_type="bert"), "holds a model of the type bert; give one of the type esm"),
        (lambda folder: remove_layer(folder), "lacks 16 tensors of ESM-2, such as encoder.layer.1."),
        (
            lambda folder: edit(folder, position_embedding_type="absolute", max_position_embeddings=512),
            "reads at most 508 residues",
        ),
    ],
    ids=["missing", "no config", "no vocabulary", "no weights", "damaged", "words", "bert", "layers", "too short"],
)
def test_a_folder_that_holds_no_such_model_is_one_message(weights, structures, tmp_path, capsys, change, words):
    folder = shutil.copytree(weights, tmp_path / "weights")
    change(folder)
    assert run(folder, tmp_path / "f.npz", structures) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.glob("*f.npz*"))


def edit(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def remove_layer(folder):
    from safetensors.torch import load_file, save_file

    state = {name: value for name, value in load_file(folder / "model.safetensors").items() if ".layer.1." not in name}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no chains are given"),
        (["in/notes.pdb"], "no protein chain could be read"),
        (["in", "--out", "f.csv"], "--out f.csv: must end in .npz"),
        (["in", "--out", "missing/f.npz"], "the folder missing does not exist"),
        (["in", "--window", "3"], "--window=3: must be a whole number of 16 or more"),
        (["--proteinshake", "enzymes"], "enzymes"),
    ],
    ids=["no path", "no chain", "suffix", "no folder", "window", "unknown data set"],
)
def test_a_mistake_in_the_command_is_one_message(weights, structures, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(structures.parent)
    given = ["--weights", str(weights), "--device", "cpu", "--out", "f.npz", *arguments]
    assert main(given) == 2
    assert words in capsys.readouterr().err
    assert not list(structures.parent.glob("*f.*"))


def test_a_missing_library_is_one_message(weights, structures, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert run(weights, tmp_path / "f.npz", structures) == 2
    assert "a language model needs transformers: pip install -c constraints.txt -e '.[esm]'" in capsys.readouterr().err


def test_help_imports_neither_torch_nor_transformers():
    code = (
        "import sys, contextlib, partoken.protein.language_model.__main__ as command\n"
        "with contextlib.suppress(SystemExit): command.main(['--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
