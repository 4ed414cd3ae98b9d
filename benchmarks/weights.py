"""Makes the weights that ship: an encoder pretrained without labels, and heads for enzyme or not and EC top class.

    python benchmarks/weights.py --path chains.npz                             everything, an hour on two cores
    python benchmarks/weights.py --path chains.npz --pretraining RUN           heads for the encoder of a finished run
    python benchmarks/weights.py --path chains.npz --pretraining RUN --labels RUN    from two finished runs
    python benchmarks/weights.py --path chains.npz -- train.epochs=5           other options for the heads

The table beside the NPZ file has the columns id, source, cluster, split, enzyme, ec_top. No validation or test chain of
the embedded chains may be known to the weights, nor a similar one. So the script first writes a table without the
clusters that have such a chain, or a chain whose sequence aligns with that of such a chain better than unrelated ones.
Then it pretrains the encoder, trains the heads on the frozen encoder, and tests them on the table's own test chains. Of
the heads, those of further labels are left out. How many catalytic residues of the package's enzymes the importance of
residues finds is measured last. The result goes into the package: `enzymes.ckpt` and `chains.csv`.
"""

import argparse
import csv
import datetime
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from importance import compare, read_chains
from omegaconf import OmegaConf

from partoken.protein.catalog import EMBEDDED_NAMES, embedded
from partoken.protein.chains.batch import collate
from partoken.protein.chains.store import ChainStore
from partoken.protein.dataset.similarity import nearest
from partoken.protein.explanation_checks.sites import read_sites
from partoken.protein.model.importance import default_method
from partoken.protein.model.labels import learned_labels, split_logits
from partoken.protein.model.saved import load_network
from partoken.protein.sources.arrays import read_arrays, table_path
from partoken.protein.sources.label_table import read_label_table
from partoken.system.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "partoken" / "protein"
SHIPPED = PACKAGE / "pretrained"
LABELS = ("enzyme", "ec_top")
COLUMNS = ("id", "cluster", "source", "role")

OF_CLASSES = tuple(f"network.{part}.classify." for part in ("head.classify", "head.classify_summary", "fold_branch"))
"""Layers with a row for each class of all labels."""
OF_LABELS = ("network.reading.score.2.", "network.reading.standardise.running_")
"""Tensors with rows for each label."""

PRETRAINING = ["experiment=pretrain", "trainer.precision=bf16-mixed"]
HEADS = ["experiment=enzymes", "model.init=random", "model.frozen_encoder=true"]

Rows = Sequence[Mapping[str, str]]


def sequences_of(path: Path) -> dict[str, np.ndarray]:
    """Returns the amino acid codes of every chain of an NPZ file, by id."""
    store = ChainStore.of(read_arrays(path, with_table=False, min_length=1))
    return {chain.id: chain.sequence for chain in store.read(range(len(store)))}


def held_out() -> dict[str, np.ndarray]:
    """Returns the amino acid codes of the embedded validation and test chains, by id."""
    splits = {row["id"]: row["split"] for row in read_label_table(PACKAGE / "embedded" / "chains.csv")}
    sequences = sequences_of(PACKAGE / "embedded" / "chains.npz")
    return {name: codes for name, codes in sequences.items() if splits[name] != "train"}


def similar_rows(rows: Rows, sequences: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the rows that are similar to held-out chains, at most one for each of those, with the identity."""
    names = [row["id"] for row in rows]
    found, identity = nearest(list(held_out().values()), [sequences[name] for name in names])
    return {names[row]: float(value) for row, value in zip(found, identity, strict=True) if value > 0}


def write_table(path: Path, out: Path) -> None:
    """Writes the table without the clusters of held-out chains and of chains that are similar to them."""
    rows, sequences, names = read_label_table(table_path(path)), sequences_of(path), set(held_out())
    while names:
        excluded = {row["cluster"] for row in rows if row["id"] in names}
        rows = [row for row in rows if row["cluster"] not in excluded]
        names = set(similar_rows(rows, sequences))
        print(f"{len(excluded)} clusters left out, {len(names)} chains are still similar to held-out ones")
    write_rows(out, tuple(rows[0]), rows)


def write_rows(path: Path, columns: Sequence[str], rows: Rows) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(folder: Path, overrides: Sequence[str]) -> Path:
    """Carries out a run in a process of its own, unless it has its summary; returns its folder."""
    if not (folder / "summary.json").exists():
        command = [sys.executable, str(ROOT / "run_partoken.py"), *overrides, f"hydra.run.dir={folder.resolve()}"]
        subprocess.run(command, check=True)
    return folder


def labels_override() -> str:
    """Returns the labels of the recipe as `data.label_columns`, with readable names of the classes that stay."""
    entries = []
    for entry in OmegaConf.load(ROOT / "conf" / "experiment" / "enzymes.yaml").data.label_columns:
        fields = {"column": entry} if isinstance(entry, str) else dict(entry)
        words = [f"{key}: {str(value).lower()}" for key, value in fields.items()]
        if fields["column"] in LABELS and "name" not in fields:
            names = ",".join(f"{key}: '{name}'" for key, name in EMBEDDED_NAMES[fields["column"]].items())
            words.append(f"class_names: {{{names}}}")
        entries.append(f"{{{', '.join(words)}}}")
    return f"data.label_columns=[{','.join(entries)}]"


def settings_of(folder: Path) -> dict[str, Any]:
    return dict(OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml")))


def table_of(folder: Path) -> Path:
    """Returns the table that a run read."""
    data = settings_of(folder)["data"]
    return Path(table_path(data["path"], data["table"]))


def list_chains(rows: Rows, every: Rows) -> list[dict[str, str]]:
    """Returns the chains that the weights learned from, and those that they must not know, in the order of ids.

    Those of the validation split chose the epoch, so they are neither.
    """
    roles, hidden = {"train": "trained", "val": "validation", "test": "held out"}, set(held_out())
    role = {row["id"]: roles[row["split"]] for row in rows} | dict.fromkeys(hidden, "held out")
    listed = [{**row, "role": role[row["id"]]} for row in every if row["id"] in role]
    if missing := hidden - {row["id"] for row in listed}:
        raise SystemExit(f"the table lacks embedded chains, so their clusters are not known: {sorted(missing)[:5]}")
    known = {row["cluster"] for row in rows if row["split"] in ("train", "val")}
    if leaks := [row["id"] for row in listed if row["id"] in hidden and row["cluster"] in known]:
        raise SystemExit(f"the run knows clusters of chains that it must not know: {leaks[:5]}")
    return [{column: row[column] for column in COLUMNS} for row in sorted(listed, key=lambda row: row["id"])]


def recipe(folder: Path) -> str:
    """Returns the command of a run, without the paths of the machine that carried it out."""
    words = list(OmegaConf.load(folder / ".hydra" / "overrides.yaml"))
    places = {"data.path": "chains.npz", "data.table": "table.csv", "train.weights_from": "PRETRAINING"}
    kept = [word for word in words if not re.match(r"\+*(hydra|trainer\.enable_progress_bar|data\.cache_dir)", word)]
    pairs = [(word.split("=", 1)[0].lstrip("+"), word) for word in kept]
    return shlex.join(f"{key}={places[key]}" if key in places else word for key, word in pairs)


def keep_labels(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Returns weights and settings of a network without the classes of further labels; its other scores stay equal."""
    hyper = dict(content["hyper_parameters"])
    labels = learned_labels(hyper["data"])
    order = [label.name for label in labels]
    kept = [order.index(name) for name in names]
    columns = torch.arange(sum(len(label.class_names) for label in labels))[None]
    columns = torch.cat([split_logits(columns, labels)[name] for name in names], dim=1)[0]
    hyper["data"] = {**hyper["data"], "labels": {name: hyper["data"]["labels"][name] for name in names}}
    state = {}
    for name, value in content["state_dict"].items():
        if match := re.fullmatch(r"(network\.reading\.classify\.)(\d+)(\..*)", name):
            if int(match[2]) not in kept:
                continue
            name = f"{match[1]}{kept.index(int(match[2]))}{match[3]}"
        elif name.startswith(OF_CLASSES):
            value = value[columns]
        elif name.startswith(OF_LABELS):
            value = value.unflatten(0, (len(labels), -1))[kept].flatten(0, 1)
        state[name] = value.clone()
    return {**content, "hyper_parameters": hyper, "state_dict": state}


def strip(content: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a prediction needs of a checkpoint: no optimizer, no position in the data, no settings of a run."""
    hyper = {**content["hyper_parameters"], "train": {}}
    kept = {key: content[key] for key in ("epoch", "global_step", "state_dict", "partoken_predict")}
    return {**kept, "hyper_parameters": hyper, "about": dict(about)}


def describe(rows: Rows, similar: Mapping[str, float], pretraining: Path, labels: Path) -> dict[str, Any]:
    """Returns what a user should know of the weights."""
    trained = [row for row in rows if row["split"] == "train"]
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (pretraining, labels))
    return {
        "title": "enzymes (enzyme or not, EC top class)",
        "date": datetime.date.today().isoformat(),
        "chains": len(trained),
        "clusters": len({row["cluster"] for row in trained}),
        "list": "partoken/protein/pretrained/chains.csv",
        "sources": dict(Counter(row["source"] for row in trained)),
        "held_out": "no chain of a cluster with a validation or test chain of the embedded data was in the training",
        "similar_to_held_out": {name: round(value, 3) for name, value in similar.items()},
        "recipe": {"pretraining": recipe(pretraining), "heads": recipe(labels)},
        "licence": "MIT; coordinates: Protein Data Bank (CC0), from the packages in NOTICE; labels: SIFTS, CATH 4.3 "
        "(both CC BY 4.0)",
        "pretraining": before["test"],
        "test": {label: _scores(after, label) for label in LABELS},
    }


def _scores(summary: Mapping[str, Any], label: str) -> dict[str, float]:
    scores = {name: summary["test"][f"{label}_{name}"] for name in ("accuracy", "macro_f1")}
    chains = sum(summary["class_counts"][label]["test"])
    return {**scores, "most_frequent": summary["majority_accuracy"][label], "chains": chains}


def check_answers(before: Path, after: Path) -> None:
    """Checks that the weights that ship answer as those of the run do."""
    old, new = load_network(before), load_network(after)
    batch = collate(embedded(limit=40).dataset("test").store.read(range(6)))
    answers = []
    for saved in (old, new):
        with torch.inference_mode():
            answers.append(split_logits(saved.network(**batch.inputs()).logits, saved.labels))
    for label in LABELS:
        torch.testing.assert_close(answers[1][label], answers[0][label])


def add_importance(weights: Path) -> None:
    """Writes into `about` how often two methods of importance find known sites; see `introduce_importance`."""
    saved, sites = load_network(weights), read_sites("embedded")
    chains = read_chains(None, list(sites))
    found = compare(saved, chains, sites)
    content = read_checkpoint(weights)
    content["about"]["importance"] = {
        method: {"recall": float(found[method]["recall"]), "enzymes": len(chains)}
        for method in (default_method(saved.network), "reading_and_self_supervised")
    }
    torch.save(content, weights)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="the NPZ file, with its table beside it")
    parser.add_argument("--pretraining", type=Path, help="folder of a finished pretraining")
    parser.add_argument("--labels", type=Path, help="folder of a finished run that trained the heads")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/weights"))
    parser.add_argument("--to", type=Path, default=SHIPPED, help="folder of the weights; default: the package")
    parser.add_argument("overrides", nargs="*", help="after --: further overrides of the run that trains the heads")
    settings = parser.parse_args(arguments)
    if settings.labels and not settings.pretraining:
        parser.error("--labels needs --pretraining, the run with whose encoder it started")
    path, out = settings.path.resolve(), settings.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    table = out / "table.csv"
    if settings.pretraining:
        table = table_of(settings.pretraining)
    elif not table.exists():
        write_table(path, table)
    rows = read_label_table(table)
    data = ["data=arrays", f"data.path={path}", f"data.table={table}"]
    pretraining = settings.pretraining or run(out / "pretraining", [*PRETRAINING, *data])
    start = f"train.weights_from={pretraining.resolve()}"
    labels = settings.labels or run(out / "labels", [*HEADS, *data, labels_override(), start, *settings.overrides])
    if (other := table_of(labels)).read_bytes() != table.read_bytes():
        raise SystemExit(f"the heads were trained with {other}, the encoder with {table}; use one table for both")

    known = [row for row in rows if row["split"] in ("train", "val")]
    about = describe(rows, similar_rows(known, sequences_of(path)), pretraining, labels)
    listed = list_chains(rows, read_label_table(table_path(path)))
    best = labels / "checkpoints" / "best.ckpt"
    settings.to.mkdir(parents=True, exist_ok=True)
    write_rows(settings.to / "chains.csv", COLUMNS, listed)
    weights = settings.to / "enzymes.ckpt"
    torch.save(strip(keep_labels(read_checkpoint(best), LABELS), about), weights)
    check_answers(best, weights)
    add_importance(weights)
    print(f"wrote {weights}, {weights.stat().st_size / 1000:.0f} kB, and {len(listed)} chains")
    print(json.dumps({key: about[key] for key in ("chains", "clusters", "similar_to_held_out", "test")}, indent=2))


if __name__ == "__main__":
    main()
