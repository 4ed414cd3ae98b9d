"""The report of a finished run of an invented domain: rain forecasts of radar tiles."""

import json
import logging

import numpy as np
import pytest

from partoken.report.run import format_summary, present

SUMMARY = {
    "test": {"rain_skill": 0.8, "bias": 12345.6, "drift": 2e-5, "loss": None},
    "baselines": {
        "always dry": {"rain_skill": 0.5, "drift": 0.0, "loss": None},
        "yesterday's weather": {"rain_skill": 0.65},
    },
    "facts": {"clouds": "7 of 10 clouds tracked", "longest rain of all": "3 h"},
    "schedule": {"verdict": "planned = applied at 2 steps"},
    "tiles_per_second": 1234.6,
    "seconds": 61.7,
    "best_checkpoint": "run/best.ckpt",
    "best_epoch": 4,
    "epochs": 6,
    "run_folder": "run",
}
MATRIX = {
    "title": "Test tiles",
    "rows": "observed",
    "columns": "forecast",
    "labels": ["dry", "rain"],
    "values": [[5, 1], [0, 3]],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,train_loss,val_loss,val_rain_skill\n0,3,4,0.2\n1,2,3,0.5\n")
    (tmp_path / "lr.csv").write_text("step,epoch,group,lr\n0,0,0,0.1\n1,1,0,0.1\n")
    return tmp_path


def drawn(folder, **changes):
    """Presents the run folder with a changed summary and returns the names of its plots."""
    (folder / "summary.json").write_text(json.dumps({**SUMMARY, **changes}))
    present(folder)
    return {path.name for path in (folder / "plots").iterdir()}


def test_every_score_is_beside_every_baseline():
    header, skill, bias, drift, loss = format_summary(SUMMARY)[:5]
    assert header.split("  ")[0] == "test"
    assert header.endswith("model   always dry   yesterday's weather")
    assert skill.split() == ["rain", "skill", "0.800", "0.500", "0.650"]
    assert bias.split() == ["bias", "12,345.600"], "no baseline has it"
    assert drift.split() == ["drift", "2.00e-05", "0.000"]
    assert loss.split() == ["loss", "-", "-"], "a score that is not finite"


def test_the_summary_ends_with_the_pictures_and_the_command_that_uses_the_model():
    assert format_summary(SUMMARY)[-1].split() == ["pictures", "run/plots"], "this domain has no prediction"
    *_, pictures, last = format_summary({**SUMMARY, "predict_module": "weather.predict"})
    assert pictures.split() == ["pictures", "run/plots"]
    assert last.split(maxsplit=1) == ["next", "partoken predict run/best.ckpt FILES --out OUT"]
    options = {"predict_module": "weather.predict", "predict_options": ["--winds FILE"]}
    assert format_summary({**SUMMARY, **options})[-1].endswith("run/best.ckpt FILES --winds FILE --out OUT")


def test_a_task_that_has_a_page_names_the_command_that_writes_it():
    assert format_summary({**SUMMARY, "has_page": True})[-1].split() == ["page", "partoken", "report", "run"]


def test_the_columns_are_aligned():
    header, skill = format_summary(SUMMARY)[:2]
    assert skill.index("0.800") + 5 == header.index("model") + 5
    assert skill.index("0.500") + 5 == header.index("always dry") + len("always dry")
    assert len(skill) == len(header)


def test_a_long_metric_name_keeps_the_columns_aligned():
    header, score = format_summary({"test": {"skill_of_the_second_hour_of_rain": 0.25}})
    assert len(header) == len(score)


def test_without_baselines_the_table_has_the_model_alone():
    lines = format_summary({"test": {"rain_skill": 0.8}})
    assert [line.split() for line in lines] == [["test", "model"], ["rain", "skill", "0.800"]]


def test_facts_of_the_domain_come_first_and_those_of_the_folder_last():
    names = [line.split("  ")[0] for line in format_summary(SUMMARY)[5:]]
    assert names == ["clouds", "longest rain of all", "schedule", "speed", "best checkpoint", "run folder", "pictures"]


def test_facts_of_the_run_are_in_the_units_of_the_domain():
    text = "\n".join(format_summary(SUMMARY))
    assert "1,235 tiles a second in training, 62 s in all" in text
    assert "run/best.ckpt (epoch 5 of 6, tested)" in text, "best_epoch counts from 0"
    assert "planned = applied" in text


def test_a_missing_fact_has_no_line():
    text = "\n".join(format_summary({**SUMMARY, "schedule": {}, "facts": {"clouds": ""}}))
    assert "schedule" not in text
    assert "clouds" not in text


def test_every_matrix_becomes_a_plot_under_its_own_name(folder):
    plots = drawn(folder, matrices={"rain": MATRIX, "second_hour": MATRIX})
    assert plots == {"learning_rate.png", "losses.png", "rain.png", "second_hour.png"}


def test_a_run_without_matrices_has_the_other_plots(folder):
    assert drawn(folder) == {"learning_rate.png", "losses.png"}


def test_a_run_can_be_presented_again(folder):
    assert drawn(folder) == drawn(folder)


def test_a_plan_in_the_summary_is_drawn_beside_the_rates(folder):
    from partoken.schedule.plan import Plan

    plan = Plan(interval="epoch", curve=None, lr=0.1, total_epochs=2, total_steps=2)
    without = drawn(folder)
    picture = (folder / "plots/learning_rate.png").read_bytes()
    assert drawn(folder, schedule={"plan": plan.fingerprint(), "verdict": "planned = applied"}) == without
    assert (folder / "plots/learning_rate.png").read_bytes() != picture


def test_the_epoch_line_of_the_summary_chooses_the_scores(folder):
    drawn(folder)
    picture = (folder / "plots/losses.png").read_bytes()
    drawn(folder, epoch_line=["train_loss", "val_loss"])
    assert (folder / "plots/losses.png").read_bytes() != picture


def test_the_summary_is_logged(folder, caplog):
    with caplog.at_level(logging.INFO):
        drawn(folder)
    assert caplog.messages == format_summary(SUMMARY)


STAGE = {"monitor": {"name": "val_rain_skill", "best": 0.7}, "test": {"rain_skill": 0.6, "loss": 0.4}, "seconds": 12.4}
STAGES = [
    {**STAGE, "name": "alone", "first_epoch": 0, "epochs": 1},
    {**STAGE, "name": "together", "first_epoch": 1, "epochs": 3, "monitor": {"name": "val_bias", "best": 2.0}},
]


def test_each_stage_has_a_line_with_its_epochs_and_scores():
    header, first, second = format_summary({**SUMMARY, "stages": STAGES})[:3]
    assert header.split("   ")[0] == "stage" and header.rstrip().endswith("seconds")
    assert "best val_bias" in header and "test rain skill" in header and "loss" not in header
    assert first.split() == ["alone", "1", "-", "0.600", "12"], "it monitors another metric"
    assert second.split() == ["together", "2-4", "2.000", "0.600", "12"]


def test_the_plots_mark_the_stages(folder, monkeypatch):
    marked = []
    monkeypatch.setattr("partoken.report.plots.mark_stages", lambda axes, starts: marked.append(starts))
    rows = "epoch,stage,train_loss\n0,alone,3\n1,together,2\n2,together,2\n"
    (folder / "metrics.csv").write_text(rows)
    drawn(folder)
    assert marked == [{"alone": 0.5, "together": 1.5}]


def test_panels_in_the_summary_become_a_plot_from_the_file_that_they_name(folder):
    np.savez(folder / "maps.npz", rain=np.ones((1, 4, 4)))
    column = {"name": "rain", "array": "rain", "limits": [0, 2], "colors": "grey", "label": "mm"}
    panels = {"title": "Maps", "file": "maps.npz", "rows": ["today"], "columns": [column]}
    assert drawn(folder, panels={"maps": panels}) == {"learning_rate.png", "losses.png", "maps.png"}


def test_the_scores_of_a_part_are_in_its_line_only():
    scores = {"accuracy": 0.5, "fold_accuracy": 0.6, "site_fmax": 0.25, "loss": 1.5}
    tables = {"label": {"fold": {"accuracy": 0.6, "chains": 30}, "site": {"chains": 7}}}
    lines = format_summary({"test": scores, "tables": tables})
    assert [line.split() for line in lines] == [
        ["test", "model"],
        ["accuracy", "0.500"],
        ["loss", "1.500"],
        ["label", "accuracy", "chains"],
        ["fold", "0.600", "30"],
        ["site", "7"],
    ]
