"""The command: what it prints, what it refuses, and what it does not load."""

import subprocess
import sys

import pytest

from partoken import preview
from partoken.schedule import Plan, WarmupCosine, plot

COSINE = "train.use_cosine_schedule=true"


def run(capsys, *arguments):
    status = preview.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_preview_shows_the_plan_of_the_overrides(capsys):
    status, out, err = run(capsys, COSINE, "train.epochs=50", "train.warmup_epochs=5", "train.lr=1e-3")
    assert (status, err) == (0, "")
    assert out.startswith(
        "schedule by epoch: warm-up 5 epochs (train.warmup_epochs=5) to 1.00e-03, then cosine to 0.00e+00 at epoch 50\n"
    )
    assert "| 5     | peak           | 1.00e-03 | 100 %       |" in out
    assert "| 49    | last epoch     | 1.22e-06 | 0.122 %     |" in out
    assert "█" in out and "advice: the first epoch runs at 1e-06" in out


def test_the_preview_counts_the_partial_window_as_a_step(capsys):
    step = (COSINE, "train.schedule_interval=step", "train.warmup_steps=2", "train.epochs=3")
    status, out, _ = run(capsys, *step, "trainer.accumulate_grad_batches=4", "--batches-per-epoch", "10")
    assert status == 0
    assert "at step 9; not used: train.warmup_epochs=5" in out
    assert "| 9    | 3     | end            | 0.00e+00 |" in out


class Batches:
    """Data that knows how many batches it has on each device, and nothing else."""

    def __init__(self, batch_size, num_workers, seed, **_):
        self.batches = 80 // batch_size

    def num_train_batches(self, world_size):
        return self.batches // world_size


class Endless(Batches):
    """Data that does not know how many batches it has."""

    def num_train_batches(self, world_size):
        return None


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ((), 20),
        (("trainer.limit_train_batches=7",), 14),
        (("trainer.limit_train_batches=70",), 20),
        (("trainer.limit_train_batches=0.55",), 10),
        (("trainer.overfit_batches=3", "trainer.limit_train_batches=7"), 6),
        (("trainer.devices=2",), 10),
        (("train.batch_size=4", "trainer.accumulate_grad_batches=3"), 14),
        (("trainer.max_steps=11",), 11),
    ],
)
def test_the_preview_asks_the_data_for_batches_and_limits_them_as_the_trainer_does(capsys, limits, steps):
    step = (COSINE, "train.schedule_interval=step", "train.epochs=2", "train.warmup_steps=1", "train.batch_size=8")
    status, out, err = run(capsys, *step, f"data._target_={__name__}.Batches", *limits)
    assert (status, err) == (0, "") and f"at step {steps};" in out


def test_data_that_cannot_count_or_be_read_is_named(capsys):
    step = (COSINE, "train.schedule_interval=step")
    status, _, err = run(capsys, *step, f"data._target_={__name__}.Endless")
    assert status == 2 and "trainer.max_steps" in err
    status, _, err = run(capsys, *step, "data=folder", "data.root=nowhere", "data.labels=nowhere.csv")
    assert status == 2 and "nowhere" in err and "--batches-per-epoch" in err


def test_settings_are_checked_as_in_a_run_but_not_the_machine_and_the_data(capsys):
    elsewhere = ("trainer=gpu", "trainer.devices=64", "data=folder", "data.root=nowhere", "data.labels=nowhere.csv")
    assert run(capsys, "model.num_layers=2", *elsewhere)[0] == 0
    status, out, err = run(capsys, "model.num_layers=0", *elsewhere)
    assert (status, out) == (2, "") and err == "error: model.num_layers=0: must be a whole number of 1 or more\n"


def test_a_scheduler_of_torch_is_accepted_as_in_a_run(capsys):
    chosen = "train.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 3}"
    status, out, err = run(capsys, chosen)
    assert (status, err) == (0, "") and "StepLR" in out and "lr.csv" in out


def test_max_steps_may_end_an_endless_run(capsys):
    endless = (COSINE, "trainer.max_epochs=-1", "train.schedule_interval=step", "trainer.max_steps=70")
    status, out, _ = run(capsys, *endless, "train.warmup_steps=7", "--batches-per-epoch", "10")
    assert status == 0 and "at step 70" in out
    status, _, err = run(capsys, *endless[:3], "--batches-per-epoch", "10")
    assert status == 2 and "trainer.max_steps" in err


def test_the_preview_says_how_the_rate_is_scaled(capsys):
    scaling = ("train.lr_scaling=linear", "train.lr_scaling_base_batch=32", "train.batch_size=8")
    _, out, _ = run(capsys, COSINE, *scaling, "trainer.accumulate_grad_batches=2", "trainer.devices=4")
    assert "becomes 2.00e-03 for the effective batch of 64" in out and "to 2.00e-03, then cosine" in out


def test_a_constant_rate_needs_no_plot(capsys):
    status, out, _ = run(capsys)
    assert status == 0 and out.startswith("schedule by epoch: constant 1.00e-03") and "█" not in out


STAGES = "train.stages={warm: {epochs: 10, warmup_epochs: 1}, joint: {epochs: 8, lr: 1e-4, warmup_epochs: 0}}"


def test_stages_are_shown_by_name_in_one_table_one_curve_and_one_picture(capsys, tmp_path):
    status, out, _ = run(capsys, COSINE, STAGES, "--png", str(tmp_path / "plan.png"))
    assert status == 0
    assert out.startswith("schedule by epoch, 2 stages:\n  warm: warm-up 1 epoch (train.stages.warm.warmup_epochs=1)")
    assert "  joint: warm-up 0 epochs (train.stages.joint.warmup_epochs=0) to 1.00e-04" in out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert ["warm", "10", "end", "0.00e+00", "0 %"] in rows
    assert ["joint", "10", "peak", "1.00e-04", "100 %"] in rows
    assert ["joint", "18", "end", "0.00e+00", "0 %"] in rows
    (marks,) = [line for line in out.splitlines() if line.strip().startswith("|warm")]
    assert marks.index("|joint") - marks.index("|warm") == round(64 * 10 / 18)
    assert "advice: the rate jumps from 2.45e-05" not in out and "advice: the rate jumps from" in out
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]


def test_a_stage_of_an_experiment_is_overridden_by_its_name(capsys, tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ntrain:\n  stages:\n    warm: {epochs: 10}\n    joint: {epochs: 8, lr: 1.0e-4}\n"
    (tmp_path / "experiment/two.yaml").write_text(text)
    options = ("--config-dir", str(tmp_path), "experiment=two", COSINE, "train.warmup_epochs=1")
    status, out, _ = run(capsys, *options, "train.stages.joint.epochs=5")
    assert status == 0 and "at epoch 5" in out
    status, _, err = run(capsys, *options, "train.stages.jont.epochs=5")
    assert status == 2 and "Did you mean train.stages.joint.epochs?" in err
    status, _, err = run(capsys, *options, "train.stages.joint.epochs=1")
    assert status == 2 and "stage joint: warm-up takes 1 epoch" in err


def test_joints_without_a_jump_have_no_advice(capsys):
    smooth = "train.stages=[{epochs: 3, use_cosine_schedule: false}, {epochs: 8, warmup_epochs: 0}]"
    _, out, _ = run(capsys, COSINE, smooth)
    assert "jumps" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((COSINE, "train.epochs=3", "train.warmup_epochs=5"), ["train.warmup_epochs=5", "3 epochs"]),
        ((COSINE, "train.min_lr=1"), ["train.min_lr=1"]),
        (("train.schedule_interval=epochs",), ["epoch or step", "Did you mean epoch?"]),
        (("train.use_cosine_schedul=true",), ["Did you mean train.use_cosine_schedule?"]),
        (("train.scheduler={_target_: torch.optim.lr_scheduler.StepLr}",), ["StepLr", "Did you mean StepLR?"]),
        (("train.stages=[{epoch: 4},{epochs: 2}]",), ["train.stages[0].epoch", "Did you mean epochs?"]),
        (("train.stages=[]",), ["train.stages=[]", "list of stages"]),
        (("train.optimizer=adamm",), ["train.optimizer=adamm", "adamw"]),
        (("trainer.max_epochs=many",), ["trainer.max_epochs='many'"]),
        (("+trainer.max_step=3",), ["trainer.max_step", "Did you mean max_steps?"]),
        ((COSINE, "train.schedule_interval=step", "trainer.limit_train_batches=0"), ["limit_train_batches=0"]),
    ],
)
def test_a_user_error_is_one_message_and_status_2(capsys, arguments, words):
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == "" and err.startswith("error: ")
    for word in words:
        assert word in err


def test_the_documents_key_points_have_the_numbers_of_the_formula(capsys):
    _, out, _ = run(capsys, "--table", "keypoints")
    for cells in (
        ("0", "start", "0.00e+00", "0 %"),
        ("500", "mid warm-up", "5.00e-04", "50 %"),
        ("1,000", "peak", "1.00e-03", "100 %"),
        ("2,500", "quarter", "9.33e-04", "93.3 %"),
        ("5,000", "half", "5.87e-04", "58.7 %"),
        ("7,500", "three quarters", "1.79e-04", "17.9 %"),
        ("10,000", "end", "1.00e-06", "0.1 %"),
    ):
        assert cells in [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in out.splitlines()]


def test_the_documents_scenarios_have_the_steps_that_are_taken(capsys):
    _, out, _ = run(capsys, "--table", "scenarios")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    assert [row[4:6] for row in rows] == [["5,000", "500 (10 %)"], ["5,000", "500 (10 %)"], ["2,500", "125 (5 %)"]]


def test_the_gallery_has_the_documents_pictures(capsys, tmp_path):
    _, out, _ = run(capsys, "--gallery", str(tmp_path / "reports"))
    names = {"10pct_warmup", "20pct_warmup", "comparison", "families"}
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {f"lr_schedule_{name}.png" for name in names}
    assert all(path.stat().st_size > 10_000 for path in (tmp_path / "reports").iterdir())
    assert len(out.splitlines()) == 4


def test_the_applied_rates_are_compared_with_the_plan(tmp_path):
    plan = Plan(interval="epoch", curve=WarmupCosine(1, 4, 1e-6), lr=0.1)
    bases = {0: 0.1, 1: 0.3}
    rows = [
        {"step": str(step), "epoch": str(step // 3), "group": str(group), "lr": repr(plan.rate(step // 3, base))}
        for step in range(12)
        for group, base in bases.items()
    ]
    path = tmp_path / "applied.png"
    assert plot.plot_applied(rows, plan, path, bases) == 0
    assert path.stat().st_size > 10_000
    rows[7]["lr"] = "0.5"
    assert plot.plot_applied(rows, plan, path, bases) == pytest.approx(0.5 - plan.rate(1, 0.3))


def test_a_preview_by_epoch_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys; from partoken.preview import main; main(['train.use_cosine_schedule=true']); "
        "assert not {'torch', 'matplotlib', 'pytorch_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


BY_STEP = ("train.schedule_interval=step", "train.epochs=10", "--batches-per-epoch", "10")
PRESETS = {
    "cosine": ["linear", "cosine"],
    "infinite": ["linear", "cosine", "constant", "exponential"],
    "inverse_sqrt": ["linear", "inverse_sqrt"],
    "linear_to_zero": ["linear", "linear"],
    "one_cycle": ["cosine", "cosine"],
    "restarts": ["linear", "cosine", "cosine", "cosine"],
    "wsd": ["linear", "constant", "1-sqrt"],
}


def test_every_preset_is_shown_with_its_segments_and_compared_by_its_area(capsys, tmp_path):
    picture, table = tmp_path / "all.png", tmp_path / "all.csv"
    outputs = ("--png", str(picture), "--csv", str(table))
    status, out, err = run(capsys, *BY_STEP, "--compare", ",".join(["none", *PRESETS]), *outputs)
    assert (status, err) == (0, "")
    for name, shapes in PRESETS.items():
        [headline] = [line for line in out.splitlines() if line.startswith(f"{name}: ")]
        assert [part.split()[0] for part in headline.split(": ", 1)[1].split("; ")[0].split(", ")] == shapes
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == ["none", *PRESETS] and rows[2][1:4] == ["100", "1.000e-01", "100.0 %"]
    header, *lines = table.read_text().splitlines()
    assert header.split(",") == ["step", "none", *PRESETS] and len(lines) == 100
    for place, row in enumerate(rows[2:], 1):
        total = sum(float(line.split(",")[place]) for line in lines)
        assert float(row[2]) == pytest.approx(total, rel=1e-3)
    assert picture.stat().st_size > 10_000


def test_the_keys_of_a_preset_change_its_curve(capsys, tmp_path):
    keys = ("schedule=wsd", "schedule.decay=50%", "schedule.warmup=0", "schedule.shape=linear", "schedule.end=0.5")
    status, out, _ = run(capsys, *BY_STEP, *keys, "--csv", str(tmp_path / "rates.csv"))
    assert status == 0
    assert "constant 50 steps at 1.00e-03, linear 50 steps to 5.00e-04 at step 100\n" in out
    rates = [float(line.split(",")[1]) for line in (tmp_path / "rates.csv").read_text().splitlines()[1:]]
    assert rates == [pytest.approx(1e-3 * min(1, 1 - 0.5 * (step - 50) / 50)) for step in range(100)]


def test_the_preset_cosine_is_warm_up_and_cosine_to_every_digit(capsys, tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    own = (COSINE, "train.warmup_epochs=null", "train.min_lr=1e-5")
    run(capsys, *BY_STEP, *own, "--csv", str(paths[0]))
    run(capsys, *BY_STEP, *own, "schedule=cosine", "schedule.warmup=10%", "--csv", str(paths[1]))
    assert paths[0].read_text() == paths[1].read_text() != ""


def test_each_stage_follows_the_preset_over_its_own_length_or_a_list_of_its_own(capsys):
    own = "schedule: {segments: [{length: rest, shape: linear, to: 0}]}"
    stages = f"train.stages=[{{epochs: 10}}, {{epochs: 5, {own}}}]"
    status, out, err = run(capsys, "schedule=wsd", "train.schedule_interval=epoch", stages)
    assert (status, err) == (0, "")
    assert "  1: linear 1 epoch to 1.00e-03, constant 7 epochs" in out
    assert "  2: linear 5 epochs to 0.00e+00 at epoch 5" in out


GROUPS = "train.groups={encoder: {match: network.encoder.*, factor: 0.1, warmup_epochs: 2, layer_decay: 0.8}}"


def test_the_preview_shows_the_curve_of_each_group(capsys, tmp_path):
    picture = tmp_path / "plan.png"
    status, out, err = run(capsys, COSINE, "train.warmup_epochs=1", GROUPS, "--png", str(picture))
    assert (status, err) == (0, "")
    title = "group encoder, schedule by epoch: warm-up 2 epochs (train.groups.encoder.warmup_epochs=2) to 1.00e-04"
    plan, own = out.split(title)
    assert "| 1     | peak           | 1.00e-03 | 100 %       |" in plan
    assert "| 2     | peak           | 1.00e-04 | 100 %       |" in own
    assert "train.groups.encoder.layer_decay=0.8: the rates above are those of the highest layer" in own
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_preview_of_stages_shows_a_group_over_the_whole_run(capsys):
    stages = (
        "train.stages={first: {epochs: 2, lr: 0.2}, second: {epochs: 3, groups: {a: {match: network.head, lr: 0.01}}}}"
    )
    status, out, _ = run(capsys, stages)
    assert status == 0
    lines = out.split("group a, schedule by epoch, 2 stages:\n")[1].splitlines()
    assert lines[0].startswith("  first: constant 2.00e-01") and lines[1].startswith("  second: constant 1.00e-02")


def test_a_scheduler_of_torch_has_the_peak_of_each_group(capsys):
    scheduler = "train.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}"
    status, out, _ = run(capsys, scheduler, "train.groups={a: {match: network.head, factor: 0.5}}")
    assert (status, out.splitlines()[-1]) == (0, "group a: 5.00e-04 in place of 1.00e-03")


def test_a_warm_up_of_a_group_that_is_longer_than_the_run_is_refused(capsys):
    status, _, err = run(
        capsys, COSINE, "train.warmup_epochs=1", "train.groups={a: {match: network.head, warmup_epochs: 12}}"
    )
    assert status == 2
    assert "(train.groups.a.warmup_epochs=12) of a run of 10 epochs" in err
    assert "set train.groups.a.warmup_epochs below 10, or train longer (train.epochs)" in err


def test_a_minimum_above_the_peak_of_a_group_is_refused(capsys):
    status, _, err = run(capsys, COSINE, "train.min_lr=5e-4", "train.groups={a: {match: network.head, factor: 0.1}}")
    assert status == 2
    assert "train.min_lr=0.0005 is above train.lr x train.groups.a.factor=0.0001: the rate would rise" in err
