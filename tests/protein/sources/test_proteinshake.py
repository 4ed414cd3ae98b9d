"""ProteinShake releases: labels, splits, names, downloads."""

import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fastavro
import numpy as np
import pytest
import torch

from partoken.errors import UserError
from partoken.protein import catalog
from partoken.protein.sources import proteinshake as source

SPLITS = ("random_split", "sequence_split_0.7", "structure_split_0.7")


def record(chain, number: int, labels: dict) -> dict:
    """A protein as in the atom files of the release, with other atoms between those of the backbone."""
    columns = {
        name: [] for name in ("atom_number", "atom_type", "residue_number", "residue_type", "x", "y", "z", "SASA")
    }
    for place, (points, letter) in enumerate(zip(chain.coords.astype(float), chain.letters, strict=True), 1):
        atoms = list(zip(("N", "CA", "C", "O"), points, strict=True))
        for name, point in [*atoms, ("CB", points[1] + 1.5), ("H", points[0] + 1)]:
            row = (len(columns["x"]), name, place, letter, *map(float, point), 1.0)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    split = ("train", "train", "train", "val", "test", "none")[number % 6]
    protein = {"ID": f"p{number}", "sequence": chain.letters, **labels, **dict.fromkeys(SPLITS, split)}
    return {"protein": protein, "atom": columns}


def write_release(path, records) -> None:
    kinds = {int: "int", float: "float", str: "string"}

    def field(name, value):
        if isinstance(value, dict):
            inner = [field(*item) for item in value.items()]
            return {"name": name, "type": {"name": name, "type": "record", "fields": inner}}
        if isinstance(value, list):
            return {"name": name, "type": {"type": "array", "items": kinds[type(value[0])] if value else "string"}}
        return {"name": name, "type": kinds[type(value)]}

    # The releases use hyphens in names, which Avro does not allow.
    first = {"name": "Protein", "type": "record", "fields": [field(*item) for item in records[0].items()]}
    schema = fastavro.parse_schema(first, _force=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        fastavro.writer(file, schema, records, metadata={"number_of_proteins": str(len(records))}, validator=None)


@pytest.fixture
def release(tmp_path, chains):
    def write(dataset: str, label, ending: str = ".atom.avro"):
        records = [record(chain, i, label(i)) for i, chain in enumerate(chains[:36])]
        write_release(tmp_path / f"{dataset}{ending}", records)
        return {"data_dir": str(tmp_path), "cache_dir": str(tmp_path / "cache"), "batch_size": 4}

    return write


@pytest.mark.parametrize("ending", [".atom.avro", ".atom.avro.gz"])
def test_enzyme_classes_have_names_and_the_split_of_the_release(release, chains, ending):
    options = release("EnzymeCommissionDataset", lambda i: {"EC": f"{i // 6 % 3 + 1}.2.-.-"}, ending)
    data = catalog.proteinshake("enzymecommission", split="structure", **options)
    data.setup("fit")
    assert data.class_names == ["oxidoreductase", "transferase", "hydrolase"]
    assert {split: sum(counts) for split, counts in data.class_counts.items()} == {"train": 18, "val": 6, "test": 6}
    assert data.report()["left_out"]["without_split"] == 6
    dataset = data.dataset("test")
    for chain, row in zip(dataset.store.read(dataset.rows), range(4, 36, 6), strict=True):
        np.testing.assert_allclose(chain.coords, chains[row].coords, atol=1e-5)
        assert chain.letters == chains[row].letters and chain.id == f"p{row}"


def test_gene_ontology_data_are_multi_label(release):
    def terms(i):
        return {"molecular_function": [["GO:1"], ["GO:1", "GO:2"], ["GO:2", "GO:3"]][i // 6 % 3]}

    data = catalog.proteinshake("geneontology", **release("GeneOntologyDataset", terms))
    data.setup("fit")
    assert data.options.multi_label and data.class_names == ["GO:1", "GO:2", "GO:3"]
    batch = next(iter(data.test_dataloader()))
    assert batch.labels[""].dtype == torch.float32 and batch.labels[""].shape[1] == 3
    assert data.class_counts["train"] == [12, 12, 6]


def test_the_family_is_the_first_of_its_list_and_scop_levels_can_be_chosen(release):
    families = release("ProteinFamilyDataset", lambda i: {"Pfam": [f"PF{i // 6 % 2}", "PF9"]})
    assert catalog.proteinshake("proteinfamily", **families).class_names == ["PF0", "PF1"]
    levels = release("SCOPDataset", lambda i: {"SCOP-CL": str(i // 6 % 2), "SCOP-FA": str(i // 12)})
    assert len(catalog.proteinshake("scop", **levels).class_names) == 3
    assert catalog.proteinshake("scop", label_column="SCOP-CL", **levels).class_names == ["0", "1"]


def test_a_class_without_a_training_chain_is_left_out_and_counted(release):
    options = release("EnzymeCommissionDataset", lambda i: {"EC": "7.1" if i == 3 else f"{i // 6 % 2 + 1}.1"})
    data = catalog.proteinshake("enzymecommission", **options)
    assert data.class_names == ["oxidoreductase", "transferase"]
    assert data.report()["left_out"]["other_classes"] == {"translocase": 1}
    assert [s.reason for s in data.skipped] == ["no training chain has its class translocase"]


def test_invalid_options_and_files_are_errors_that_name_the_cause(release, tmp_path):
    options = release("EnzymeCommissionDataset", lambda i: {"EC": f"{i % 2}.1"})
    for changed, message in (
        ({"split": "structur"}, "data.split=structur: choose random"),
        (
            {"split": "structure", "split_similarity_threshold": 0.35},
            "which has random_split, sequence_split_0.7",
        ),
        ({"label_column": "Pfam"}, "data.label_column=Pfam: no such column in the release file, which has EC"),
    ):
        with pytest.raises(UserError, match=message):
            catalog.proteinshake("enzymecommission", **options, **changed).setup("fit")
    with pytest.raises(UserError, match=r"data\.dataset_name=enzymes: choose enzymecommission"):
        catalog.proteinshake("enzymes", **options)
    path = tmp_path / "EnzymeCommissionDataset.atom.avro"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="damaged or not of ProteinShake's schema"):
        catalog.proteinshake("enzymecommission", **options).setup("fit")


class Server:
    """Serves one file with ranges, and breaks off after `limit` bytes per request."""

    def __init__(self, content: bytes) -> None:
        self.content, self.limit, self.ranges = content, None, []
        self.checksum = hashlib.md5(content).hexdigest()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/listing":
                    files = {"files": [{"key": "X.atom.avro.gz", "checksum": f"md5:{outer.checksum}"}]}
                    return self.answer(200, json.dumps(files).encode())
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
                outer.ranges.append(start)
                self.answer(206 if start else 200, outer.content[start:], outer.limit)

            def answer(self, status, body, limit=None):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:limit])

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    server = Server(bytes(range(256)) * 5000)
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_broken_download_resumes_where_it_stopped(server, tmp_path):
    target = tmp_path / "deep" / "X.atom.avro.gz"
    server.limit = 400_000
    with pytest.raises(OSError, match="broke off after 400000 of 1280000"):
        source.download(f"{server.url}/file", target, f"{server.url}/listing")
    assert not target.exists()
    server.limit = None
    source.download(f"{server.url}/file", target, f"{server.url}/listing")
    assert target.read_bytes() == server.content and server.ranges == [0, 400_000]
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_a_file_with_a_wrong_checksum_is_refused(server, tmp_path):
    server.checksum = "0" * 32
    with pytest.raises(OSError, match="has the checksum"):
        source.download(f"{server.url}/file", tmp_path / "X.atom.avro.gz", f"{server.url}/listing")
    assert not list(tmp_path.iterdir()) and server.ranges == [0, 0]


def test_without_a_network_the_error_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LISTING", "http://127.0.0.1:1/{record}")
    (tmp_path / "SCOPDataset.residue.avro").touch()
    with pytest.raises(UserError) as error:
        catalog.proteinshake("scop", data_dir=str(tmp_path)).setup("fit")
    message = str(error.value)
    assert "https://zenodo.org/records/15259912/files/SCOPDataset.atom.avro.gz" in message
    assert f"put it into {tmp_path}" in message and "CA atoms only" in message


def test_several_labels_of_a_release_are_learned_at_once(release):
    levels = release("SCOPDataset", lambda i: {"SCOP-CL": str(i // 6 % 2), "SCOP-FA": str(i // 12)})
    labels = ["SCOP-CL", {"column": "SCOP-FA", "name": "family"}]
    data = catalog.proteinshake("scop", label_columns=labels, **levels)
    data.setup("fit")
    assert {name: label.class_names for name, label in data.selection.labels.items()} == {
        "SCOP_CL": ["0", "1"],
        "family": ["0", "1", "2"],
    }
