"""The page of a sweep: one file, nothing loaded, everything escaped, points where they belong."""

import itertools
import re
from html.parser import HTMLParser

import pytest

from partoken.cli import main
from partoken.report.svg import Scale, value_scale
from partoken.report.sweep import write_page
from partoken.report.sweep_charts import curve_chart, key_chart, parallel_chart
from partoken.sweep.content import page_content
from partoken.sweep.table import read_sweep
from tests.sweep.made import write_sweep

RATES, SEEDS = (0.001, 0.01, 0.1), (1, 2)
EVIL = "</script><script>alert('1')</script>&\"'"


class Elements(HTMLParser):
    """Collects elements, and checks that they are closed in order."""

    VOID = ("meta", "wbr")

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.found.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        self.text.append(text)

    def named(self, name):
        return [attributes for found, attributes in self.found if found == name]


def made(folder, *, change=None, extra=None):
    jobs = []
    for i, (lr, seed, cosine) in enumerate(itertools.product(RATES, SEEDS, (True, False))):
        keys = {"train.lr": lr, "train.use_cosine_schedule": cosine, "train.seed": seed, **(extra or {})}
        value = 0.5 + lr + 0.01 * seed + 0.1 * cosine
        files = {"best": value, "test": {"accuracy": value}, "curve": [0.1, value, 0.2]}
        jobs.append((keys, (change or {}).get(i, files)))
    return read_sweep(write_sweep(folder, jobs))


def page(table):
    write_page(page_content(table), table.folder / "sweep.html")
    return (table.folder / "sweep.html").read_text()


def points(svg):
    """Returns the place of the point of each job."""
    found = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)".*?data-job="(\d+)"', svg)
    return {int(number): (float(x), float(y)) for x, y, number in found}


def test_the_page_is_well_formed_and_has_every_section(tmp_path):
    elements = Elements(page(made(tmp_path)))
    headings = [text for text in elements.text if text.strip()]
    sections = ["Groups", "Metric against each key", "Importance of each key", "Parallel coordinates", "Curves", "Jobs"]
    assert [text for text in headings if text in sections] == sections
    rows = [attributes for attributes in elements.named("tr") if "data-job" in attributes]
    assert len(rows) == 12 and [row["class"] for row in rows].count("best") == 1


def test_the_page_loads_nothing(tmp_path):
    text = page(made(tmp_path))
    elements = Elements(text)
    assert not {"link", "img", "iframe", "object"} & {name for name, _ in elements.found}
    assert all("src" not in attributes for _, attributes in elements.found)
    assert all(not a["href"].startswith(("http", "//", "/")) for a in elements.named("a"))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", text)
    assert any("default-src 'none'" in meta.get("content", "") for meta in elements.named("meta"))


def test_texts_of_users_are_escaped_everywhere(tmp_path):
    jobs = [
        ({"train.lr": 0.1 * i, f"model.{EVIL}": f"{EVIL}{i % 2}", "train.seed": i}, {"best": 0.1 * i, "curve": [0.1]})
        for i in range(1, 12)
    ]
    jobs.append(({"train.lr": 0.0, "train.seed": 0}, {"state": "failed", "reason": EVIL}))
    text = page(read_sweep(write_sweep(tmp_path, jobs, metric="val_<i>")))
    elements = Elements(text)
    assert len(elements.named("script")) == 1
    assert "alert('1')</script>" not in text and "val_<i>" not in text
    assert any("alert('1')" in part for part in elements.text), "it is shown as text"


def test_points_stand_at_the_logarithm_of_a_key_that_spans_decades(tmp_path):
    content = page_content(made(tmp_path))
    [key] = [key for key in content["keys"] if key["name"] == "train.lr"]
    svg, legend = key_chart(content, key)
    place, job = points(svg), {job["number"]: job for job in content["jobs"]}
    at = {job[number]["numbers"]["train.lr"]: x for number, (x, _) in place.items()}
    assert at[0.01] - at[0.001] == pytest.approx(at[0.1] - at[0.01], abs=0.2)
    ordered = sorted(place, key=lambda number: -place[number][1])
    assert [job[number]["value"] for number in ordered] == sorted(job[number]["value"] for number in ordered)
    assert [label for _, label in legend] == ["use_cosine_schedule=true", "use_cosine_schedule=false"]
    assert len(place) == 12


def test_the_bars_of_a_key_stand_at_the_mean_of_their_points(tmp_path):
    content = page_content(made(tmp_path))
    [key] = [key for key in content["keys"] if key["name"] == "train.use_cosine_schedule"]
    svg, legend = key_chart(content, key)
    bars = re.findall(r'<line x1="([\d.]+)" x2="[\d.]+" y1="([\d.]+)" y2="[\d.]+" stroke="(#\w+)" class="mean"', svg)
    assert len(bars) == 6 and len(legend) == 3, "one for each rate, without and with the schedule"
    heights = points(svg)
    color = {color: label for color, label in legend}
    for x, y, own in bars:
        group = [
            heights[job["number"]]
            for job in content["jobs"]
            if color[own] == f"lr={job['values']['train.lr']}" and abs(heights[job["number"]][0] - float(x) - 7) < 20
        ]
        assert len(group) == 2 and float(y) == pytest.approx(sum(height for _, height in group) / 2, abs=0.2)


def test_failed_and_diverged_jobs_are_crosses_and_do_not_widen_the_axis(tmp_path):
    table = read_sweep(
        write_sweep(
            tmp_path,
            [
                ({"train.lr": 1.0}, {"best": 0.5}),
                ({"train.lr": 2.0}, {"best": 0.6}),
                ({"train.lr": 1e30}, {"state": "diverged", "reason": "x"}),
            ],
        )
    )
    content = page_content(table)
    svg, _ = key_chart(content, content["keys"][0])
    place = points(svg)
    assert place[1][0] - place[0][0] > 200
    assert svg.count('class="cross"') == 1 and "job 2: diverged" in svg
    assert "diverged, failed" in parallel_chart(content)


def test_a_key_that_all_finished_jobs_share_has_no_chart_and_is_named(tmp_path):
    jobs = [({"train.lr": i, "train.wd": 0}, {"best": 0.1 * i}) for i in (1, 2)]
    jobs.append(({"train.lr": 1, "train.wd": 5}, {"state": "failed", "reason": "x"}))
    text = page(read_sweep(write_sweep(tmp_path, jobs)))
    assert "All finished jobs have the same train.wd." in text


def test_curves_that_leave_the_picture_are_cut_off_and_dashed():
    lines = [
        {"number": 0, "group": 0, "is_worst": False, "points": [[1, 0.5], [2, 0.25]]},
        {"number": 1, "group": 1, "is_worst": True, "points": [[1, 0.5], [2, 1e30]]},
    ]
    svg = curve_chart(lines, "train_loss", "epoch")
    assert svg.count("line dashed") == 1
    assert all(0 <= float(y) <= 300 for y in re.findall(r"[ML][\d.]+ (-?[\d.e+]+)", svg))


@pytest.mark.parametrize(
    "files",
    [None, {"state": "failed", "reason": "x"}, {"best": 0.5}, {"state": "running", "curve": [0.5]}],
    ids=["waiting", "failed", "equal values", "killed"],
)
def test_a_sweep_without_a_spread_of_values_has_a_page_with_all_jobs(files, tmp_path):
    jobs = [({"train.lr": i, "train.seed": i}, files) for i in (1, 2, 3)]
    text = page(read_sweep(write_sweep(tmp_path, jobs)))
    assert Elements(text).open == []
    assert "3 jobs" in text
    assert "NaN" not in text and ">nan<" not in text


def test_a_sweep_of_one_job_has_a_page_with_its_value(tmp_path):
    text = page(read_sweep(write_sweep(tmp_path, [({"train.lr": 1}, {"best": 0.5, "curve": [0.5]})])))
    assert Elements(text).open == []
    assert "1 job " in text and "0.5" in text


def test_shares_and_confounded_keys_are_stated(tmp_path):
    jobs = [({"train.lr": i % 2, "train.wd": i % 2, "train.seed": i}, {"best": float(i)}) for i in range(8)]
    text = page(read_sweep(write_sweep(tmp_path, jobs)))
    assert "train.lr and train.wd change together" in text and "their shares cannot be told apart" in text


def test_ticks_are_round_numbers_within_the_scale():
    for low, high in ((0.1, 0.9), (-3, 1234), (1e-7, 3e-7)):
        scale = value_scale([low, high], 0, 100)
        ticks = [number for number, _ in scale.ticks()]
        assert 2 <= len(ticks) <= 8 and all(scale.low <= number <= scale.high for number in ticks)
    labels = [label for _, label in Scale(1e-5, 1e5, 0, 100, is_log=True).ticks()]
    assert labels == ["1e-05", "0.001", "0.1", "10", "1000", "100000"]


def test_the_command_prints_the_table_and_writes_its_files(tmp_path, capsys):
    made(tmp_path)
    assert main(["sweep", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "12 jobs (12 finished)" in printed and str(tmp_path / "sweep.html") in printed
    written = {"sweep.json", "sweep.csv", "sweep_groups.csv", "sweep.html"}
    assert {path.name for path in tmp_path.glob("sweep*")} == written


def test_the_command_refuses_a_folder_without_runs_in_one_message(tmp_path, capsys):
    assert main(["sweep", str(tmp_path)]) == 2
    assert "has neither sweep.json nor run folders" in capsys.readouterr().err
