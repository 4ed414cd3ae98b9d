"""The range test: rates that rise, a suggestion for a known problem, and nothing left behind."""

import shutil
import tempfile

import pytest
import torch

from partoken.composition import plain_group
from partoken.config import compose
from partoken.errors import UserError
from partoken.system.tables import read_table
from partoken.training.engine import carry_out
from partoken.training.probes.lr_range import RangeTest, RisingRate, lines, range_test
from partoken.training.probes.range_curve import analyse
from tests.satellite.made_tiles import write_scenes
from tests.training.quadratic import Quadratic
from tests.training.runs import settings
from tests.training.toy import ToyModule

QUADRATIC = {"_target_": "tests.training.quadratic.Quadratic"}
TWO = {"_target_": "tests.training.adversarial.Adversarial"}
SHORT = RangeTest(low=1e-4, high=1e-2, steps=10)
GROUPS = ("train", "trainer", "model", "data")
PROTEIN = ["model=published", "data.limit=24", "train.batch_size=4", "model.node_h_dim=[16,4]", "model.num_layers=1"]
PROTEIN += ["model.num_neighbors=8", "model.max_clusters=4", "model.codebook_size=16"]


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    """Lets the tests see what is left in the current folder and in the temporary one."""
    for name in ("current", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "current")
    yield
    assert list((tmp_path / "current").iterdir()) == list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def steps(monkeypatch):
    """Returns a list of every optimizer step: name of the optimizer, and the rates of its groups."""
    taken = []
    set_rate = RisingRate._set_rate

    def remember(self, scheduled):
        set_rate(self, scheduled)
        taken.append((scheduled.name, [group["lr"] for group in scheduled.optimizer.param_groups]))

    monkeypatch.setattr(RisingRate, "_set_rate", remember)
    return taken


@pytest.mark.parametrize("curvature", [1.0, 100.0])
def test_the_suggestion_for_a_quadratic_is_among_its_best_rates(curvature, tmp_path):
    """Momentum b on curvature c converges at the rate sqrt(b), its best, between (1 -+ sqrt(b))^2 / c."""
    given = settings(model={**QUADRATIC, "curvature": curvature}, trainer={"gradient_clip_val": None})
    curve, suggested = range_test(given, RangeTest(low=1e-6, high=1e2, steps=120))
    least, most = ((1 + sign * 0.9**0.5) ** 2 / curvature for sign in (-1, 1))
    assert least < suggested["train.lr"] == curve.suggestion < most / 2
    assert most / 2 < curve.divergence < 2 * most
    final = {}
    for factor in (0.003, 1, 20):
        folder = tmp_path / str(factor)
        folder.mkdir()
        rate = factor * suggested["train.lr"]
        plan = {"use_cosine_schedule": False, "warmup_steps": None, "epochs": 8, "lr": rate}
        train = {**given["train"], **plan}
        trainer = {**given["trainer"], "max_epochs": 8}
        try:
            final[factor] = carry_out({**given, "train": train, "trainer": trainer}, folder)["test"]["loss"]
        except UserError:
            final[factor] = float("inf")  # it has diverged
    assert final[1] < 0.1 * min(final[0.003], final[20])


def test_rates_rise_at_each_optimizer_step_and_accumulation_is_kept(steps, monkeypatch):
    batches = []
    original = ToyModule.training_step
    monkeypatch.setattr(
        ToyModule, "training_step", lambda self, batch, i: batches.append(i) or original(self, batch, i)
    )
    curve, _ = range_test(settings(trainer={"accumulate_grad_batches": 3}), SHORT)
    expected = [1e-4 * 100 ** (step / 9) for step in range(10)]
    assert [rates[0] for _, rates in steps] == pytest.approx(expected)
    assert curve.rates == pytest.approx(expected)
    assert len(batches) == 3 * 7 + 3  # an epoch has windows of 3, 3 and 1 batches; the tenth step is one of 3


def test_several_optimizers_keep_the_ratio_of_their_rates(steps):
    given = settings(model=TWO, lr=0.1, optimizers={"discriminator": {"lr": 0.02}})
    curve, suggested = range_test(given, RangeTest(low=1e-3, high=100, steps=30))
    for name, ratio in (("generator", 1), ("discriminator", 0.2)):
        rates = [rates for other, rates in steps if other == name]
        assert [rate / ratio for group in rates for rate in group[:1]] == pytest.approx(curve.rates)
        assert all(rate == group[0] for group in rates for rate in group)
    assert suggested["train.optimizers.discriminator.lr"] == pytest.approx(0.2 * suggested["train.lr"])


def test_groups_keep_the_ratio_of_their_rates(steps):
    groups = {"a": {"match": "network.0", "lr": 0.4}, "b": {"match": "network.3", "factor": 0.5}}
    _, suggested = range_test(settings(lr=0.1, groups=groups, use_cosine_schedule=True), RangeTest(high=100, steps=30))
    for _, (default, first, _, last, _) in steps:
        assert (first, last) == pytest.approx((4 * default, 0.5 * default))
    assert suggested == {
        "train.lr": suggested["train.lr"],
        "train.groups.a.lr": pytest.approx(4 * suggested["train.lr"]),
    }


def test_a_scaled_rate_is_suggested_before_its_scaling(steps):
    given = settings(lr=0.1, lr_scaling="linear", lr_scaling_base_batch=8, batch_size=2)  # a rate of 0.025
    curve, suggested = range_test(given, SHORT)
    assert [rates[0] for _, rates in steps] == pytest.approx(curve.rates)
    assert suggested["train.lr"] == pytest.approx(4 * curve.suggestion)


def test_frozen_parts_stay_as_they_are(monkeypatch):
    states = []
    record = RisingRate.on_train_batch_end

    def remember(self, trainer, module, *rest):
        states.append({name: value.clone() for name, value in module.state_dict().items()})
        record(self, trainer, module, *rest)

    monkeypatch.setattr(RisingRate, "on_train_batch_end", remember)
    range_test(settings(freeze=["network.0"]), SHORT)
    moved = {name for name, value in states[0].items() if not torch.equal(value, states[-1][name])}
    assert moved and not any(name.startswith("network.0.") for name in moved)


def test_a_checkpoint_gives_the_weights_and_a_later_training_is_the_same(tmp_path, monkeypatch):
    run, again = tmp_path / "run", tmp_path / "again"
    run.mkdir(), again.mkdir()
    carry_out(settings(), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    checkpoint = run / "checkpoints/last.ckpt"
    given = settings(resume_from=str(checkpoint))
    loaded = []
    monkeypatch.setattr(ToyModule, "load_weights", lambda self, checkpoint: loaded.append(checkpoint["state_dict"]))
    range_test(given, SHORT)
    monkeypatch.undo()
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(loaded[0][name], saved[name]) for name in saved)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    carry_out(settings(), again)
    tables = [read_table(folder / "metrics.csv") for folder in (run, again)]
    losses = [[(row["train_loss"], row["val_loss"]) for row in table] for table in tables]
    assert losses[0] == losses[1]
    assert (run / "lr.csv").read_bytes() == (again / "lr.csv").read_bytes()
    shutil.rmtree(run)


def test_a_trained_network_begins_with_a_lower_loss(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    given = settings(model=QUADRATIC, epochs=9)
    carry_out(given, folder)
    trained = {**given, "train": {**given["train"], "resume_from": str(folder / "checkpoints/best.ckpt")}}
    fresh, resumed = (range_test(each, SHORT)[0].losses[0] for each in (given, trained))
    assert fresh == 2.0 and resumed < 0.2


STAGES = {"first": {"epochs": 2, "lr": 0.5}, "second": {"epochs": 2, "freeze_last": ["network.0"]}}
STAGES["second"] |= {"freeze_last_epochs": 1}


@pytest.mark.parametrize(
    ("stage", "key"), [(None, "train.stages.first.lr"), ("second", "train.stages.second.lr")], ids=["first", "second"]
)
def test_a_stage_is_tested_alone(stage, key):
    _, suggested = range_test(settings(stages=STAGES, warmup_steps=0), SHORT, stage=stage)
    assert list(suggested) == [key]


def test_the_stage_of_the_checkpoint_is_tested(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    given = settings(stages=STAGES, warmup_steps=0)
    carry_out(given, folder)
    given["train"]["resume_from"] = str(folder / "checkpoints/second/best.ckpt")
    assert list(range_test(given, SHORT)[1]) == ["train.stages.second.lr"]


def test_a_loss_that_is_not_finite_ends_the_test():
    given = settings(model={**QUADRATIC, "floor": 1.0}, trainer={"gradient_clip_val": None})
    curve, _ = range_test(given, RangeTest(low=1e-3, high=1e30, steps=60))
    assert len(curve.rates) < 60 and curve.divergence < 100


def test_a_task_without_a_training_loss_is_told(monkeypatch):
    monkeypatch.setattr(Quadratic, "training_step", lambda self, batch, i: self.loss())
    with pytest.raises(UserError, match="Quadratic logs no train_loss"):
        range_test(settings(model=QUADRATIC), SHORT)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 0}, "--min=0: must be a number above 0"),
        ({"low": 1e-2, "high": 1e-3}, r"--max=0.001 must be above --min=0.01"),
        ({"steps": 3}, "--steps=3: must be a whole number of 10 or more"),
    ],
    ids=str,
)
def test_impossible_ranges_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        RangeTest(**given)


def test_an_unknown_stage_is_refused():
    with pytest.raises(UserError, match=r"--stage=secnd: no such stage, choose from first, second.* mean second\?"):
        range_test(settings(stages=STAGES, warmup_steps=0), SHORT, stage="secnd")
    with pytest.raises(UserError, match=r"--stage=second: no such stage, the run has no train\.stages"):
        range_test(settings(), SHORT, stage="second")


def test_the_next_command_replaces_the_rate():
    curve = analyse([1e-3, 1e-2, 1e-1], [2.0, 1.0, float("inf")])
    text = "\n".join(lines(curve, SHORT, {"train.lr": 0.0123}, ["train.lr=1", "data.classes=[1,2]"]))
    assert "next: partoken train 'data.classes=[1,2]' train.lr=0.012" in text
    assert "a tenth of where it diverges" in text


def test_proteins_are_tested():
    cfg = compose(PROTEIN)
    curve, suggested = range_test({name: plain_group(cfg, name) for name in cfg if name in GROUPS}, SHORT)
    assert len(curve.losses) == 10 and list(suggested) in ([], ["train.lr"])


def test_tiles_are_tested_with_two_optimizers(tmp_path):
    root = write_scenes(tmp_path / "tiles", north=4, south=2, east=2)
    words = ["experiment=axion_stage1", "data=tiles", f"data.root={root}", "model.channels=[6,8]", "model.depths=[1,1]"]
    cfg = compose([*words, "trainer.accumulate_grad_batches=2"])
    curve, _ = range_test({name: plain_group(cfg, name) for name in cfg if name in GROUPS}, SHORT)
    assert len(curve.losses) == 10
