"""Grids of images from the arrays of any domain: weather maps of an invented one."""

import json

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from partoken.report.panels import COLORS, plot_panels
from partoken.training.domain import Task

PANELS = {
    "title": "Forecasts",
    "file": "maps.npz",
    "rows": ["best: 3 mm\nnorth_of_the_island_20170613", "worst"],
    "columns": [
        {"name": "rain", "array": "rain", "limits": [0, 10], "colors": "sequential", "label": "mm per hour"},
        {"name": "seen", "array": "seen"},
        {"name": "error", "array": "error", "limits": [-5, 5], "colors": "diverging", "label": "mm"},
    ],
}


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    rain = random.uniform(0, 12, (2, 8, 12))
    rain[0, 0, 0] = np.nan
    np.savez(tmp_path / "maps.npz", rain=rain, seen=random.uniform(size=(2, 8, 12, 3)), error=rain - 5)
    return tmp_path


@pytest.fixture
def drawn(folder, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *given, **more: (figures.append(f), save(f, *given, **more)))
    plot_panels(PANELS, folder, folder / "maps.png")
    return figures[0]


def test_every_row_and_column_has_an_image_and_columns_of_numbers_a_bar(drawn, folder):
    images = [axes for axes in drawn.axes if axes.images]
    assert len(images) == 6
    bars = [axes.get_xlabel() for axes in drawn.axes if not axes.images]
    assert bars == ["mm per hour", "mm"]
    assert [axes.get_title() for axes in images if axes.get_title()] == ["rain", "seen", "error"]
    assert images[0].get_ylabel() == "best: 3 mm\nnorth_of_the_island_\n20170613"
    assert image.imread(folder / "maps.png").shape[1] > 500


def test_all_rows_of_a_column_share_its_limits_and_its_colours(drawn):
    shown = [axes.images[0] for axes in drawn.axes if axes.images and axes.get_title() != "seen"]
    first = [item for item in shown if item.get_cmap().name == COLORS["sequential"]]
    assert len(first) >= 2 and {item.get_clim() for item in first} == {(0, 10)}


def test_images_of_a_row_are_beside_each_other(drawn):
    boxes = [axes.get_position() for axes in drawn.axes if axes.images]
    assert len({round(box.y0, 3) for box in boxes}) == 2


def test_missing_values_are_neither_low_nor_high(folder):
    plot_panels({**PANELS, "columns": PANELS["columns"][:1]}, folder, folder / "a.png")
    picture = image.imread(folder / "a.png")[..., :3]
    assert (np.abs(picture - 0.82).max(-1) < 0.01).any(), "the colour of missing values is in the picture"


def test_the_contract_describes_what_the_report_reads():
    text = Task.summary.__doc__
    keys = {key for column in PANELS["columns"] for key in column} | set(PANELS)
    assert all(f'"{key}"' in text or f"`{key}`" in text for key in keys)
    assert all(f'"{name}"' in text for name in COLORS)
    assert json.loads(json.dumps(PANELS)) == PANELS
