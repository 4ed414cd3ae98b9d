"""A run of several stages that is stopped anywhere continues with the numbers of an uninterrupted run."""

import json
import shutil
from dataclasses import dataclass

import pytest
import pytorch_lightning as pl
import torch

from partoken.errors import UserError
from partoken.system.checkpoint import read_checkpoint
from partoken.system.tables import read_table
from partoken.training import stage_run
from partoken.training.engine import carry_out, check_outcome
from partoken.training.stages import TrainStage
from tests.training.runs import settings
from tests.training.toy import ToyModule

PREPARED = []


class WeightedToy(ToyModule):
    """The toy with a term of the loss that has a weight."""

    def __init__(self, **options):
        super().__init__(**options)
        self.loss_weights = {"size": 0.1}

    def _loss(self, batch):
        return super()._loss(batch) + self.loss_weights["size"] * self.network[0].weight.square().mean()


@dataclass(frozen=True)
class NoisyStart(TrainStage):
    """A kind of stage of its own: it adds noise to the weights before its first step."""

    noise: float = 0.01

    def prepare(self, model, batches):
        x, _ = next(iter(batches))
        PREPARED.append(x.clone())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(self.noise * torch.randn_like(parameter))


STAGES = {
    "warm": {"epochs": 2},
    "noisy": {
        "_target_": "tests.training.test_continuing.NoisyStart",
        "epochs": 1,
        "noise": 0.1,
        "freeze": ["network.0"],
        "weights_from": "best",
    },
    "joint": {"epochs": 3, "lr": 0.05, "ramp_epochs": 2, "freeze_last": ["network.2"], "freeze_last_epochs": 1},
}
BATCHES = 7


def staged(stages=STAGES, **train):
    changed = {"stages": stages, "warmup_steps": 1, **train}
    return settings(model={"_target_": "tests.training.test_continuing.WeightedToy"}, **changed)


class SaveEverywhere(pl.Callback):
    """Saves a checkpoint after every batch of the run."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        number = module.run_epoch * BATCHES + batch_idx
        trainer.save_checkpoint(self.folder / "checkpoints" / f"after{number}.ckpt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with a checkpoint after every batch."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "stopping_callbacks", lambda train: [SaveEverywhere(folder)])
        summary = carry_out(staged(), folder)
    check_outcome(summary)
    return folder, summary


def assert_same(folder, summary, whole):
    expected_folder, expected = whole
    ours, theirs = (read_checkpoint(path / "checkpoints/last.ckpt")["state_dict"] for path in (folder, expected_folder))
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert (folder / "lr.csv").read_text() == (expected_folder / "lr.csv").read_text()
    columns = ("epoch", "step", "stage", "lr", "val_loss")  # Lightning averages train_loss over the batches it has seen
    ours, theirs = (read_table(path / "metrics.csv") for path in (folder, expected_folder))
    assert [[row[name] for name in columns] for row in ours] == [[row[name] for name in columns] for row in theirs]
    assert summary["test"] == expected["test"]
    assert [part["test"] for part in summary["stages"]] == [part["test"] for part in expected["stages"]]
    assert [part["best_epoch"] for part in summary["stages"]] == [part["best_epoch"] for part in expected["stages"]]


def test_the_summary_has_a_part_for_each_stage_and_the_schedule_of_the_whole_run(whole):
    folder, summary = whole
    parts = summary["stages"]
    assert [(part["name"], part["first_epoch"], part["epochs"]) for part in parts] == [
        ("warm", 0, 2),
        ("noisy", 2, 1),
        ("joint", 3, 3),
    ]
    assert summary["epochs"] == 6
    schedule = summary["schedule"]
    assert schedule["verdict"] == "planned = applied at 42 steps of 3 stages, largest deviation 0.0e+00"
    assert [plan["stage"] for plan in schedule["plan"]["stages"]] == ["warm", "noisy", "joint"]
    rows = read_table(folder / "lr.csv")
    assert [int(row["step"]) for row in rows if row["group"] == "0"] == list(range(42))
    assert [int(row["epoch"]) for row in rows if row["group"] == "0"] == [step // BATCHES for step in range(42)]
    stages = [row["stage"] for row in read_table(folder / "metrics.csv")]
    assert stages == ["warm"] * 2 + ["noisy"] + ["joint"] * 3


def test_every_finished_stage_keeps_its_checkpoints_and_the_last_ones_are_those_of_the_run(whole):
    folder, _ = whole
    for name in STAGES:
        part = json.loads((folder / "checkpoints" / name / "summary.json").read_text())
        assert part["name"] == name
        for file in ("best.ckpt", "last.ckpt"):
            assert (folder / "checkpoints" / name / file).is_file()
    for file in ("best.ckpt", "last.ckpt"):
        run, joint = folder / "checkpoints" / file, folder / "checkpoints/joint" / file
        assert run.read_bytes() == joint.read_bytes()


# The last batch of a stage, the first of the next one, and batches within each stage.
@pytest.mark.parametrize("batch", [3, 13, 14, 17, 20, 21, 24, 29, 36])
def test_a_run_stopped_after_any_batch_continues_with_the_same_numbers(tmp_path, whole, batch):
    checkpoint = whole[0] / "checkpoints" / f"after{batch}.ckpt"
    summary = carry_out(staged(resume_from=str(checkpoint)), tmp_path)
    check_outcome(summary)
    assert_same(tmp_path, summary, whole)


@pytest.mark.parametrize("stage", ["warm", "noisy"])
def test_a_finished_stage_is_not_trained_again(tmp_path, whole, stage):
    PREPARED.clear()
    checkpoint = whole[0] / "checkpoints" / stage / "last.ckpt"
    summary = carry_out(staged(resume_from=str(checkpoint)), tmp_path)
    assert_same(tmp_path, summary, whole)
    assert len(PREPARED) == (stage == "warm")


def test_the_folder_of_a_resumed_run_can_be_resumed_before_its_first_epoch_ends(tmp_path, whole):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    source = whole[0] / "checkpoints/noisy/last.ckpt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "stopping_callbacks", lambda train: [StopIn("joint", 3)])
        with pytest.raises(RuntimeError, match="power cut"):
            carry_out(staged(resume_from=str(source)), first)
    summary = carry_out(staged(resume_from=str(first / "checkpoints/last.ckpt")), second)
    assert_same(second, summary, whole)


def test_a_run_continues_in_its_own_folder(tmp_path, whole):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_run, "stopping_callbacks", lambda train: [StopIn("joint", 4)])
        with pytest.raises(RuntimeError, match="power cut"):
            carry_out(staged(), tmp_path)
    assert not (tmp_path / "summary.json").exists()
    summary = carry_out(staged(resume_from=str(tmp_path / "checkpoints/last.ckpt")), tmp_path)
    assert_same(tmp_path, summary, whole)


class StopIn(pl.Callback):
    """Ends the run within an epoch of a stage."""

    def __init__(self, stage, epoch):
        self.stage, self.epoch = stage, epoch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.stage.name == self.stage and module.run_epoch == self.epoch and batch_idx == 3:
            raise RuntimeError("power cut")


def changed(stage, **values):
    return {**STAGES, stage: {**STAGES[stage], **values}}


def test_a_changed_last_stage_begins_again_after_the_stage_before(tmp_path, whole):
    PREPARED.clear()
    source = whole[0] / "checkpoints/last.ckpt"
    (tmp_path / "longer").mkdir()
    summary = carry_out(staged(changed("joint", epochs=4), resume_from=str(source)), tmp_path / "longer")
    assert PREPARED == []
    assert [part["epochs"] for part in summary["stages"]] == [2, 1, 4]
    (tmp_path / "fresh").mkdir()
    fresh = carry_out(staged(changed("joint", epochs=4)), tmp_path / "fresh")
    assert_same(tmp_path / "longer", summary, (tmp_path / "fresh", fresh))


def test_a_further_stage_follows_a_finished_run(tmp_path, whole):
    stages = {**STAGES, "rest": {"epochs": 1, "weights_from": "warm.best"}}
    summary = carry_out(staged(stages, resume_from=str(whole[0] / "checkpoints/last.ckpt")), tmp_path)
    assert [part["name"] for part in summary["stages"]] == ["warm", "noisy", "joint", "rest"]
    assert summary["schedule"]["steps"] == summary["schedule"]["planned_steps"] == 49


@pytest.mark.parametrize(
    ("stages", "train", "words"),
    [
        (changed("warm", lr=0.2), {}, ["stage warm is finished", "lr was 0.1 and is 0.2"]),
        (changed("warm", epochs=3), {}, ["stage warm is finished", "epochs was 2 and is 3"]),
        (changed("warm", model={"dropout": 0.1}), {}, ["stage warm", "model.dropout was None and is 0.1"]),
        (changed("noisy", noise=0.2), {}, ["stage noisy is finished", "noise was 0.1 and is 0.2"]),
        (STAGES, {"seed": 3}, ["stage warm is finished", "seed was 0 and is 3"]),
        ({"warm": STAGES["warm"], "joint": STAGES["joint"]}, {}, ["stages warm, noisy, joint", "stages warm, joint"]),
        (None, {}, ["stages warm, noisy, joint", "this run has no stages"]),
        (STAGES, {}, ["nothing is left to train", "train.stages.joint.epochs"]),
    ],
    ids=["rate", "epochs", "model", "key of a kind", "seed", "stage left out", "no stages", "nothing changed"],
)
def test_what_cannot_continue_is_refused_by_stage_and_key(tmp_path, whole, stages, train, words):
    source = whole[0] / "checkpoints/last.ckpt"
    with pytest.raises(UserError) as caught:
        carry_out(staged(stages, resume_from=str(source), **train), tmp_path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "train.resume_from" in str(caught.value)


def test_a_run_whose_finished_stage_is_lost_is_refused(tmp_path, whole):
    lonely = tmp_path / "alone.ckpt"
    lonely.write_bytes((whole[0] / "checkpoints/after24.ckpt").read_bytes())
    with pytest.raises(UserError, match="results of its finished stage warm are not there"):
        carry_out(staged(resume_from=str(lonely)), tmp_path)


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # Lightning says so, and it is meant here
def test_a_stage_shorter_than_an_epoch_has_its_last_checkpoint_as_its_best(tmp_path):
    """It ends before its first validation, so no checkpoint of it is the best one."""
    stages = {"long": {"epochs": 1}, "short": {"steps": 3}, "next": {"steps": 9, "weights_from": "best"}}
    summary = carry_out(staged(stages), tmp_path)
    check_outcome(summary)
    assert [part["schedule"]["steps"] for part in summary["stages"]] == [7, 3, 9]
    assert [part["first_epoch"] for part in summary["stages"]] == [0, 1, 2]
    folder = tmp_path / "checkpoints/short"
    assert (folder / "best.ckpt").read_bytes() == (folder / "last.ckpt").read_bytes()


def test_a_resume_in_another_folder_keeps_the_best_checkpoint_of_the_epochs_before(tmp_path):
    """The rate of the later epochs is so high that the first epoch is the best one."""
    chosen = {"use_cosine_schedule": False, "warmup_steps": None}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = carry_out(settings(epochs=1, **chosen), tmp_path / "first")
    source = str(tmp_path / "first/checkpoints/last.ckpt")
    later = settings(epochs=3, resume_from=source, lr=1.0, on_schedule_change="extend", **chosen)
    second = carry_out(later, tmp_path / "second")
    assert second["best_epoch"] == first["best_epoch"] == 0
    assert second["monitor"] == first["monitor"]
    assert second["best_checkpoint"] == str(tmp_path / "second/checkpoints/best.ckpt")


@pytest.mark.parametrize("stage", ["noisy", "joint"])
def test_a_run_killed_between_the_training_and_the_test_of_a_stage_goes_on_with_the_test(tmp_path, whole, stage):
    """The stage's last checkpoint is at its end, and the stage has not left its results yet."""
    run, resumed = tmp_path / "run", tmp_path / "resumed"
    shutil.copytree(whole[0], run)
    resumed.mkdir()
    (run / "summary.json").unlink()
    shutil.copyfile(run / "checkpoints" / stage / "last.ckpt", run / "checkpoints/last.ckpt")
    shutil.copyfile(run / "checkpoints" / stage / "best.ckpt", run / "checkpoints/best.ckpt")
    for name in list(STAGES)[list(STAGES).index(stage) :]:
        shutil.rmtree(run / "checkpoints" / name)
    summary = carry_out(staged(resume_from=str(run / "checkpoints/last.ckpt")), resumed)
    check_outcome(summary)
    assert_same(resumed, summary, whole)
