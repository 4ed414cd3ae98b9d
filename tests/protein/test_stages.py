"""Kinds of stages of protein runs, and the experiment with three stages, each on a few real chains."""

import pytest
import torch

from partoken.config import compose, plain_group
from partoken.errors import UserError
from partoken.protein.stages import CodebookStart
from partoken.protein.task import ParTokenTask
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training import checks
from partoken.training.engine import carry_out, check_outcome
from partoken.training.settings import TrainSettings

TINY = (
    "data.limit=30",
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


def groups(*overrides):
    cfg = compose(["experiment=multistage", *TINY, *overrides])
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
    settings["data"] = {"_target_": "no.data.is.Read"}
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
