"""Every file of conf/ composes, and a short run with it starts and ends, as the command would run it."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from partoken import preview
from partoken.cli import train
from partoken.composition import plain_group
from partoken.config import CONF, compose
from partoken.protein.catalog import embedded
from partoken.system.instantiation import instantiate
from tests.protein.sources.test_proteinshake import record, write_release
from tests.protein.structures import pdb_text
from tests.satellite.made_tiles import write_scenes

FILES = sorted(file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.glob("*/*.yaml"))
DEFAULTS = re.findall(r"^  - (\w+): (?!null)(\w+)", (CONF / "config_partoken.yaml").read_text(), re.MULTILINE)
"""Groups and options of the main job, which one run covers."""
CHOSEN = {
    choice
    for file in (CONF / "experiment").glob("*.yaml")
    for choice in re.findall(r"^  - override /(\w+): (\w+)", file.read_text(), re.MULTILINE)
}
"""Groups and options that an experiment chooses, whose run covers them."""
FOR_SWEEPS = ("sweep", "launcher")
"""Groups that only act with `-m`."""

PROTEIN = [
    "model.init=random",
    "model.node_h_dim=[8,2]",
    "model.num_layers=1",
    "model.num_neighbors=6",
    "model.max_clusters=2",
]
PROTEIN += ["model.nhid=8", "model.codebook_size=8", "train.batch_size=4"]
STAGE1 = ["model.channels=[6,8]", "model.depths=[1,1]", "data.crop=24", "trainer.accelerator=cpu"]
STAGE2 = ["model.refiner_channels=6", "model.refiner_blocks=1", "model.discriminator_channels=2", "data.crop=24"]

MOTIFS = ["data=synthetic", "data.num_chains=40", "data.cache_dir={inputs}/cache", *PROTEIN]
"""The run of files that do not choose the data."""

SMALL = {
    "experiment/axion_stage1": STAGE1,
    "experiment/axion_stage2": [*STAGE2, "data.stage1_dir={stage1}"],
    "experiment/axion": [*STAGE1, *(f"train.stages.stage2.{word}" for word in STAGE2[:3]), "data.limit=8"],
    "experiment/end_to_end": [*PROTEIN, "data.limit=48"],
    "experiment/enzymes": [*PROTEIN, "data.limit=48", "data.label_columns=[ec_top,enzyme]"],
    "experiment/active_sites": [*PROTEIN, "data.limit=48", "data.label_columns=[ec_top,enzyme]"],
    "experiment/topology": [*PROTEIN, "data.limit=48", "data.label_columns=[cath_class,ss_class]"],
    "experiment/motifs": MOTIFS,
    "data/folder": [*PROTEIN, "data.root={inputs}/structures", "data.labels={inputs}/chains.csv", "data.split=random"],
    "data/arrays": [*PROTEIN, "data.path={inputs}/chains.npz", "data.split=random", "data.cache_dir={inputs}/cache"],
    "data/proteinshake": [*PROTEIN, "data.data_dir={inputs}", "data.cache_dir={inputs}/cache"],
    "data/tiles": ["experiment=axion_stage1", *STAGE1[:2], "data.root={inputs}/tiles"],
    "debug/overfit": [*MOTIFS, "train.epochs=2"],
    "debug/anomaly": [*MOTIFS, "train.epochs=1", "train.warmup_epochs=0", "trainer.limit_train_batches=1"],
    "callbacks/device_stats": [*MOTIFS, "logger=tensorboard"],
}
"""What makes a run with a file short; other files have `MOTIFS`."""
SMALL["data/folder"].append("data.cache_dir={inputs}/cache")

EXTRAS = {"callbacks/device_stats": "tensorboard"}
"""Packages of files that do not name their extra themselves."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Inputs of every kind of data: structures, arrays, a release of ProteinShake, tiles."""
    folder = tmp_path_factory.mktemp("inputs")
    store = embedded().collection.store
    chains = [c for c in store.read(store.lengths.argsort(kind="stable")[:60]) if np.isfinite(c.coords).all()][:36]
    (folder / "structures").mkdir()
    for chain in chains:
        (folder / f"structures/{chain.id}.pdb").write_text(pdb_text(chain))
    rows = [f"{chain.id},{'xy'[number % 2]}" for number, chain in enumerate(chains)]
    (folder / "chains.csv").write_text("\n".join(["id,label", *rows, ""]))
    lengths = np.cumsum([0, *(len(chain) for chain in chains)])
    arrays = {"coords": np.concatenate([chain.coords for chain in chains]), "offsets": lengths}
    names = {"id": np.array([chain.id for chain in chains]), "seq": np.array([chain.letters for chain in chains])}
    np.savez(folder / "chains.npz", **arrays, **names)
    labels = [{"EC": f"{1 + number % 2}.1.1.1"} for number in range(36)]
    records = [record(chain, number, labels[number]) for number, chain in enumerate(chains)]
    write_release(folder / "EnzymeCommissionDataset.atom.avro", records)
    write_scenes(folder / "tiles", north=2, south=2, west=2)
    return folder


def carry_out(folder, *overrides):
    """Runs the command in this process without logging and pictures, and forgets its run folder; returns its status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydra.core.utils.configure_log", lambda *_: None)
        patch.setattr("hydra._internal.hydra.configure_log", lambda *_: None)
        patch.setattr("partoken.report.present", lambda folder: None)
        try:
            return train([*overrides, "trainer.enable_progress_bar=false", f"hydra.run.dir={folder}"])
        finally:
            HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """The folder of a finished run of stage 1."""
    folder = tmp_path_factory.mktemp("stage1")
    assert carry_out(folder, "experiment=axion_stage1", "debug=fast", *STAGE1, "train.epochs=1") == 0
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the optional packages
@pytest.mark.parametrize("name", [name for name in FILES if tuple(name.split("/")) not in {*DEFAULTS, *CHOSEN}])
def test_a_short_run_with_every_file_of_the_configuration_starts_and_ends(name, inputs, request, tmp_path, capsys):
    group, option = name.split("/")
    text = (CONF / f"{name}.yaml").read_text()
    extra = re.search(r"pip install -e \"\.\[(\w+)\]\"", text)
    package = EXTRAS.get(name) or (extra and extra[1])
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"the extra {package} is not installed")
    if group == "trainer" and needs_more(yaml.safe_load(text)):
        pytest.skip("needs a GPU or several processes")
    small = SMALL.get(name, MOTIFS)
    places = {"inputs": inputs, "stage1": request.getfixturevalue("stage1") if "{stage1}" in str(small) else None}
    words = [f"{group}={option}", *(word.format(**places) for word in small)]
    words += [] if group == "debug" else ["debug=fast"]
    if group in FOR_SWEEPS:
        assert compose(words, with_hydra=True)
        return
    if group == "schedule" and option != "cooldown":  # debug=fast takes the list of segments away
        assert preview.main([words[0]]) == 0, capsys.readouterr().err
        return
    assert carry_out(tmp_path, *words) == 0, capsys.readouterr().err
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["schedule"]["errors"] == []
    if group == "experiment" and option in ("axion", "multistage"):
        assert {stage["epochs"] for stage in summary["stages"]} == {2}


def needs_more(trainer):
    """Returns whether a preset of `trainer` needs a GPU, or processes besides this one."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    return trainer.get("accelerator") in ("gpu", "cuda") or devices != 1 or nodes != 1


def test_the_defaults_of_every_group_start_and_end_together(tmp_path, capsys):
    words = [f"{group}={option}" for group, option in DEFAULTS if group not in FOR_SWEEPS]
    assert len(words) >= 6
    assert carry_out(tmp_path, *words, *PROTEIN, "data.limit=24", "debug=fast") == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("option", sorted(file.stem for file in (CONF / "debug").glob("*.yaml")))
def test_a_debug_preset_decides_the_length_of_every_stage(option):
    train = instantiate(plain_group(compose(["experiment=multistage", f"debug={option}"]), "train"), "train")
    lengths = {stage.epochs for stage in train.run_stages()}
    assert lengths == ({3, 1, 4} if option == "anomaly" else {train.epochs})
    assert train.without_effect() == []


def test_the_primary_file_names_every_group():
    primary = (CONF / "config_partoken.yaml").read_text()
    groups = {Path(file).parent.name for file in FILES}
    assert {group for group in groups if f"  - {group}: " not in primary} == set()
