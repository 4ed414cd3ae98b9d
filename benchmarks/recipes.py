"""Compares recipes of the network on the fold and the function of chains, beside the answers that need no network.

    python benchmarks/recipes.py --path chains.npz                                        every variant, three seeds
    python benchmarks/recipes.py --path chains.npz --variants recipe --shares 0.1 0.3     the learning curve

Each variant and seed is a run of `experiment=enzymes` in a process of its own, with one thread: one network with ten
labels, from the columns `ec_top`, `enzyme`, `ec`, `cath` and `cath_class` of the table. Its splits are used. A topology
of the first domain is learned if 40 training chains have it, an architecture if 60 have it. The three labels of all
domains keep rarer classes too. --shares keeps parts of the training clusters, the same ones every time, and all
validation and test chains. Runs share their embeddings and other computed numbers in the cache folder. A run that has
its summary is not repeated. The tables are written to --out.

Scores are accuracy / macro-F1, mean and standard deviation over the seeds: on the validation chains, which are there to
choose a variant, and on the test chains. Below the tables stands how often somebody would name the enzyme class who
knew the true superfamilies of a test chain and nothing else.
"""

import argparse
import csv
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runs import run_once, spread, write_share
from tqdm import tqdm

from partoken.protein.sources.arrays import table_path
from partoken.protein.sources.label_table import read_label_table

TASKS = ("ec_top", "topology", "architecture", "cath_class")
VARIANTS: dict[str, list[str]] = {
    "recipe": [],
    "constant rate": ["train.use_cosine_schedule=false"],
    "half the rate": ["train.lr=1e-3"],
    "twice the rate": ["train.lr=4e-3"],
    "batches of 16": ["train.batch_size=16"],
    "batches of 64": ["train.batch_size=64"],
    "less dropout": ["model.drop_rate=0.2"],
    "without fold geometry": ["model.fold_geometry=false"],
    "substructures alone": ["model.fold_geometry=false", "model.residue_attention=false"],
    "with the whole chain": ["model.classify_from=both"],
    "with environments": ["model.classify_from=both", "model.pooling=environments"],
    "plain classifier": ["model.combine=gate"],
    "parts not trained alone": ["model.lambda_parts=0"],
    "through codes": ["model.tokens_from=codes"],
    "without attention over residues": ["model.residue_attention=false"],
    "attention without prior": ["model.attention_prior=false"],
    "one round of messages": ["model.exchange_layers=1"],
    "three rounds of messages": ["model.exchange_layers=3"],
    "messages without geometry": ["model.exchange=touching", "model.exchange_layers=1"],
    "learned partition": ["model.partition=learned", "model.max_clusters=10"],
    "balanced classes": ["model.class_balance=0.5"],
    "chains count the same": ["data.cluster_balance=0"],
    "first domains alone": [],
    "without superfamilies": [],
    "random encoder": ["model.init=random", "model.frozen_encoder=true"],
    "weights averaged": ["+callbacks.average={_target_: pytorch_lightning.callbacks.EMAWeightAveraging, decay: 0.998}"],
}
LEVELS = {"topology": (3, 40), "architecture": (2, 60)}
ALL_DOMAINS = {
    "all_topologies": "depth: 3, min_class_size: 25",
    "all_architectures": "depth: 2, min_class_size: 25, weight: 0.7",
    "all_superfamilies": "depth: 4, min_class_size: 12, weight: 0.5",
}
"""Labels of all domains of a chain."""
LEFT_OUT = {
    "first domains alone": tuple(ALL_DOMAINS),
    "without superfamilies": ("all_superfamilies",),
    "balanced classes": tuple(ALL_DOMAINS),
}
"""Labels that a variant does not learn. Classes cannot be balanced where a chain has several."""


def level_of(row: dict[str, str], depth: int) -> str:
    """Returns the first domain's label of a chain to some depth, "" without one."""
    first = row["cath"].split(";")[0].strip()
    return ".".join(first.split(".")[:depth]) if first else ""


def labels_of(rows: Sequence[dict[str, str]], left_out: Sequence[str] = ()) -> str:
    """Returns `data.label_columns`: the labels, with the topologies and architectures of enough training chains."""
    parts = ["ec_top"]
    for name, (depth, enough) in LEVELS.items():
        counts = Counter(level_of(row, depth) for row in rows if row["split"] == "train")
        chosen = ",".join(f"'{label}'" for label in sorted(counts) if label and counts[label] >= enough)
        weight = 1 if name == "topology" else 0.7
        spec = f"name: {name}, column: cath, depth: {depth}, first: true, weight: {weight}, classes: [{chosen}]"
        parts.append(f"{{{spec}}}")
    parts += ["{column: cath_class, weight: 0.5}", "{column: enzyme, weight: 0.5}"]
    parts += [
        f"{{name: ec_{depth}, column: ec, depth: {depth}, first: true, weight: 0.5, min_class_size: {enough}}}"
        for depth, enough in ((2, 25), (3, 18))
    ]
    parts += [
        f"{{name: {name}, column: cath, multi_label: true, {fields}}}"
        for name, fields in ALL_DOMAINS.items()
        if name not in left_out
    ]
    return f"data.label_columns=[{','.join(parts)}]"


def know_superfamilies(rows: Sequence[dict[str, str]], column: str = "ec_top") -> str:
    """Says how often the most frequent class of the training chains with the same superfamilies is right.

    Without such chains, those that share a superfamily decide, and without any, all training chains.
    """
    counts: defaultdict[Any, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["split"] == "train" and row[column]:
            families = superfamilies_of(row)
            for key in ("all chains", families, *families):
                counts[key][row[column]] += 1
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["split"] != "test" or not row[column]:
            continue
        families = superfamilies_of(row)
        shared = sum((counts[one] for one in families if one in counts), Counter[str]())
        known = counts[families] if families and families in counts else shared or counts["all chains"]
        kind = "the same superfamilies" if families in counts else "a shared one" if shared else "none of them"
        right[kind].append(known.most_common(1)[0][0] == row[column])
    every = [value for values in right.values() for value in values]
    cells = [f"{statistics.mean(values):.3f} for {len(values)} with {kind}" for kind, values in sorted(right.items())]
    return f"{column} from the true superfamilies of test chains: {statistics.mean(every):.3f} ({', '.join(cells)})"


def superfamilies_of(row: dict[str, str]) -> frozenset[str]:
    return frozenset(".".join(domain.strip().split(".")[:4]) for domain in row["cath"].split(";") if domain.strip())


def run_variant(overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Carries out a run; returns its summary with the validation scores `val` of the epoch that was tested."""
    summary = run_once(overrides, folder)
    with open(folder / "metrics.csv", newline="") as file:
        row = next(row for row in csv.DictReader(file) if int(row["epoch"]) == summary["best_epoch"])
    scores = {name.removeprefix("val_"): float(value) for name, value in row.items() if name.startswith("val_")}
    return {**summary, "val": scores}


def scores_of(sources: Sequence[dict[str, float]], task: str) -> str:
    """Writes accuracy and macro-F1 on a task."""
    return " / ".join(spread([source[f"{task}_{score}"] for source in sources]) for score in ("accuracy", "macro_f1"))


def table(results: dict[str, list[dict[str, Any]]], split: str) -> str:
    """Returns the scores of every variant as a table in Markdown, on test chains below those of the simple answers."""
    lines = [f"| {split} | seeds | " + " | ".join(TASKS) + " | from substructures | minutes |"]
    lines.append("|---" * (4 + len(TASKS)) + "|")
    first = next(iter(results.values()))
    for answer, scores in first[0]["baselines"].items() if split == "test" else ():
        cells = [scores_of([scores], task) for task in TASKS]
        lines.append(f"| {answer} | | {' | '.join(cells)} | | |")
    for name, summaries in results.items():
        cells = [scores_of([summary[split] for summary in summaries], task) for task in TASKS]
        parts = [
            statistics.mean(summary["parts"][task].get("substructures", {"share": 0.0})["share"] for task in TASKS)
            for summary in summaries
        ]
        minutes = statistics.mean(summary["seconds"] for summary in summaries) / 60
        share = f"{statistics.mean(parts):.2f}"
        lines.append(f"| {name} | {len(summaries)} | {' | '.join(cells)} | {share} | {minutes:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, type=Path, help="the NPZ file, with its table beside it")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--shares", type=float, nargs="*", default=[1.0], help="parts of the training clusters")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/recipes"))
    parser.add_argument("overrides", nargs="*", help="after --: overrides of run_partoken.py")
    settings = parser.parse_args(arguments)
    out = settings.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    path = settings.path.resolve()
    table_file = table_path(path)
    rows = list(read_label_table(table_file))
    common = ["experiment=enzymes", "data=arrays", f"data.path={path}"]
    common += ["trainer.enable_progress_bar=false", "trainer.check_val_every_n_epoch=4", *settings.overrides]
    jobs = []
    for seed in settings.seeds:
        for share in settings.shares:
            kept = write_share(table_file, share, out / f"share{share:g}.csv")
            for variant in settings.variants:
                name = variant if share == 1 else f"{variant}, {share:.0%} of the training clusters"
                labels = labels_of(rows, LEFT_OUT.get(variant, ()))
                overrides = [*common, labels, f"data.table={kept}", *VARIANTS[variant], f"train.seed={seed}"]
                jobs.append(
                    (name, overrides, out / f"{variant.replace(' ', '_').replace(',', '')}-{share:g}" / str(seed))
                )
    with ThreadPoolExecutor(settings.jobs) as pool:
        summaries = list(tqdm(pool.map(lambda job: run_variant(*job[1:]), jobs), "runs", len(jobs)))
    results: dict[str, list[dict[str, Any]]] = {}
    for (name, _, _), summary in zip(jobs, summaries, strict=True):
        results.setdefault(name, []).append(summary)
    text = "\n\n".join([*(table(results, split) for split in ("val", "test")), know_superfamilies(rows)])
    (out / "table.md").write_text(text + "\n")
    print(text)
    print(f"wrote {out / 'table.md'}")


if __name__ == "__main__":
    main()
