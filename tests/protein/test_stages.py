"""Kinds of stages of protein runs, and the experiment with three stages, each on a few real chains."""

import pytest
import torch

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.protein.stages import CodebookStart
from partoken.protein.task import ParTokenTask
from partoken.system.checkpoint import read_checkpoint
from partoken.system.instantiation import instantiate
from partoken.system.tables import read_table
from partoken.training import checks
from partoken.training.engine import carry_out, check_outcome
from partoken.training.settings import TrainSettings

TINY = (
    "data.limit=30",
    "model=published",
    "model.node_h_dim=[16,4]",
    "model.num_layers=1",
    "model.num_neighbors=8",
    "model.max_clusters=4",
    "model.codebook_size=16",
    "train.batch_size=4",
    "trainer.limit_train_batches=3",
    "trainer.limit_val_batches=2",
    "trainer.enable_progress_bar=false",
)


def groups(*overrides, experiment="multistage"):
    cfg = compose([f"experiment={experiment}", *TINY, *overrides])
    return {group: plain_group(cfg, group) for group in ("train", "trainer", "model", "data")}


def moved(before, after):
    """Returns the parts of the network with a parameter or a buffer that moved."""
    names = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return {name.split(".")[1] for name in names if name.startswith("network.")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multistage")
    summary = carry_out(groups("train.stages.joint.epochs=2", "train.stages.baseline.epochs=1"), folder)
    check_outcome(summary)

    def state(name, file="last"):
        return read_checkpoint(folder / "checkpoints" / name / f"{file}.ckpt")["state_dict"]

    return folder, summary, state


def test_the_codebook_is_bypassed_in_the_baseline_alone(run):
    folder, summary, _ = run
    used = [float(row["val_used_codes"]) for row in read_table(folder / "metrics.csv")]
    assert used[0] == 0 < min(used[1:])
    assert summary["codebook"]["used_codes"] > 0
    hyper = [
        read_checkpoint(folder / "checkpoints" / name / "best.ckpt")["hyper_parameters"]["bypass_codebook"]
        for name in ("baseline", "joint")
    ]
    assert hyper == [True, False]


def test_the_codes_of_the_baseline_stand_still_and_k_means_then_places_them(run):
    _, _, state = run
    torch.manual_seed(0)
    baseline, start = state("baseline"), state("codebook_start")
    assert not baseline["network.codebook.started"] and start["network.codebook.started"]
    assert baseline["network.codebook.updates"] == 0 < start["network.codebook.updates"]


def test_the_frozen_encoder_and_partition_stand_still_in_the_codebook_start(run):
    _, _, state = run
    parts = moved(state("baseline", "best"), state("codebook_start"))
    assert parts == {"codebook", "from_code", "head", "tau"}


def test_the_codes_stand_still_in_the_last_epoch_of_the_joint_stage(run):
    _, summary, state = run
    steps = summary["stages"][-1]["schedule"]["steps"]
    learned = state("joint")["network.codebook.updates"] - state("codebook_start")["network.codebook.updates"]
    assert learned == steps / 2, "the codebook learns in the first of two epochs alone"
    assert moved(state("codebook_start"), state("joint")) >= {"codebook", "encoder", "head", "partitioner", "from_code"}


def test_the_temperature_goes_on_over_the_stages(run):
    _, _, state = run
    taus = [state(name)["network.tau"].item() for name in ("baseline", "codebook_start", "joint")]
    assert taus == pytest.approx([0.95**0, 0.95**1, 0.95**3])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stages.baseline.freeze=[network.encodr]", ["train.stages.baseline.freeze", "network.encoder"]),
        ("train.stages.codebook_start.freeze=[network]", ["train.stages.codebook_start", "nothing is left to train"]),
        ("train.stages.codebook_start.model.bypass_codebook=true", ["train.stages.codebook_start", "bypass_codebook"]),
        ("model.partition=none", ["train.stages.codebook_start", "model.partition=none"]),
        ("train.stages.joint.model.lambda_vqq=1", ["stage joint", "model.lambda_vqq", "lambda_vq?"]),
        ("train.stages.joint.model.lambda_vq=-1", ["stage joint", "model.lambda_vq=-1"]),
    ],
    ids=str,
)
def test_a_stage_that_does_not_fit_the_model_is_rejected_before_data_is_read(override, words):
    settings = groups(override)
    settings["data"] = {"_target_": "tests.unread.Unread"}
    with pytest.raises(UserError) as caught:
        checks.check_before_reading(TrainSettings.read(settings["train"]), settings)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_check_before_data_is_read_draws_no_random_number():
    settings = groups()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    checks.check_before_reading(TrainSettings.read(settings["train"]), settings)
    assert torch.equal(torch.rand(1), expected)


def test_an_outline_has_the_parts_of_the_task_and_no_weights():
    settings = groups()["model"]
    outline = ParTokenTask.outline(train=groups()["train"], **{k: v for k, v in settings.items() if k != "_target_"})
    assert {parameter.device.type for parameter in outline.parameters()} == {"meta"}
    assert {"network.encoder", "network.codebook", "network.head"} <= {name for name, _ in outline.named_modules()}


def test_k_means_reads_as_many_batches_as_asked(monkeypatch):
    read = []

    class Network:
        class settings:
            codebook_size = 4

        def init_codebook(self, batches):
            read.extend(batches)
            return len(read)

    class Batch:
        def inputs(self):
            return {"coords": 1}

    class Model:
        network = Network()

        class trainer:
            class precision_plugin:
                forward_context = staticmethod(torch.no_grad)

    CodebookStart(None, "start", epochs=1, kmeans_batches=2).prepare(Model(), iter([Batch()] * 5))
    assert read == [{"coords": 1}] * 2


PRETRAINED = (
    "model.seq_in=true",
    "train.stages.pretrain.epochs=2",
    "+train.stages.labels={epochs:2,weights_from:best,model:{frozen_encoder:true}}",
    "data.epochs_per_pass=1",
)


def pretraining(*overrides):
    return groups(*PRETRAINED, *overrides, experiment="pretrain")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder, the summary and the settings of a run that pretrains, and then trains on a frozen encoder."""
    folder = tmp_path_factory.mktemp("pretrained")
    cache = tmp_path_factory.mktemp("cache")
    settings = pretraining(f"data.cache_dir={cache}")
    summary = carry_out(settings, folder)
    check_outcome(summary)
    return folder, summary, settings


def of_encoder(checkpoint):
    state = read_checkpoint(checkpoint)["state_dict"]
    return {
        name: value for name, value in state.items() if name.startswith(("network.encoder", "network.residue_type"))
    }


def test_the_stage_after_the_pretraining_has_its_encoder(pretrained):
    folder, summary, _ = pretrained
    best, after = (of_encoder(folder / "checkpoints" / file) for file in ("pretrain/best.ckpt", "labels/last.ckpt"))
    assert best.keys() == after.keys() and len(best) > 10
    assert all(torch.equal(after[name], value) for name, value in best.items())
    assert [part["monitor"]["name"] for part in summary["stages"]] == ["val_loss", "val_macro_f1"]


def test_the_head_of_the_pretraining_is_dropped(pretrained):
    folder, _, _ = pretrained
    names = [read_checkpoint(folder / f"checkpoints/{name}/best.ckpt")["state_dict"] for name in ("pretrain", "labels")]
    assert ["network.predict.0.weight" in state for state in names] == [True, False]
    assert ["network.head.classify.0.weight" in state for state in names] == [False, True]


def test_chains_without_a_label_join_the_pretraining_alone():
    stage, labels = TrainSettings.read(pretraining()["train"]).run_stages()
    data = {"_target_": "partoken.protein.catalog.embedded", "label_column": "ec_top", "min_class_size": 20}
    read = [instantiate(stage.groups({"model": {}, "data": data})["data"], "data") for stage in (stage, labels)]
    counts = [sum(len(part.dataset(split)) for split in ("train", "val", "test")) for part in read]
    assert counts == [905, 677]


def test_a_frozen_encoder_trains_the_same_with_and_without_the_file(pretrained, tmp_path, monkeypatch):
    folder, _, settings = pretrained
    monkeypatch.setattr(ParTokenTask, "_embed_data", lambda task: None)
    carry_out(settings, tmp_path)
    tables = [read_table(path / "metrics.csv") for path in (folder, tmp_path)]
    losses = [[float(row["train_loss"]) for row in table] for table in tables]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_run_killed_after_the_pretraining_goes_on_with_the_labels(pretrained, tmp_path):
    folder, summary, settings = pretrained
    last = folder / "checkpoints/pretrain/last.ckpt"
    resumed = {**settings, "train": {**settings["train"], "resume_from": str(last)}}
    again = carry_out(resumed, tmp_path)
    assert again["test"] == summary["test"]
    assert (tmp_path / "lr.csv").read_bytes() == (folder / "lr.csv").read_bytes()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stages.pretrain.mask_fraction=0", ["train.stages.pretrain.mask_fraction=0"]),
        ("+train.stages.pretrain.mask_fractions=0.2", ["mask_fraction", "Did you mean mask_fraction?"]),
        ("model.coordinate_noise=0.1", ["stage labels", "model.frozen_encoder=false"]),
        (
            "+train.stages.labels.model.num_layers=2",
            ["train.stages.labels.weights_from", "num_layers: 1 there, 2 here"],
        ),
        ("+train.stages.pretrain.monitor=val_macro_f1", ["train.stages.pretrain.monitor", "val_loss"]),
    ],
    ids=str,
)
def test_a_pretraining_that_cannot_work_is_refused_before_data_is_read(override, words):
    with pytest.raises(UserError) as caught:
        settings = pretraining(override)
        settings["data"] = {"_target_": "tests.unread.Unread"}
        checks.check_before_reading(TrainSettings.read(settings["train"]), settings)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_of_another_run_is_checked_before_data_is_read(pretrained, layers, caplog):
    folder, _, _ = pretrained
    given = folder / "checkpoints/pretrain/best.ckpt"
    model = ("model.seq_in=true", f"model.num_layers={layers}")
    settings = groups(f"train.weights_from={given}", "train.stages=null", *model)
    settings["data"] = {"_target_": "tests.unread.Unread"}
    train = TrainSettings.read(settings["train"])
    if layers == 1:
        checks.check_before_reading(train, settings)
        assert not caplog.text
        return
    with pytest.raises(UserError, match=r"train\.weights_from: .*best\.ckpt: .*model\.num_layers: 1 there, 2 here"):
        checks.check_before_reading(train, settings)
