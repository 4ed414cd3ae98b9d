"""Plots of a run, drawn from its tables and from a matrix of any domain."""

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from partoken.report.plots import MAX_COUNTS, MAX_LABELS, plot_losses, plot_matrix, plot_range, plot_rates

TABLE = """epoch,train_loss,val_loss,val_rain_skill,val_loss_per_tile,val_tiles
0,3,4,,0.1,12
1,2,3,0.5,0.2,14
2,1,nan,0.6,0.3,13
"""


@pytest.fixture
def figures(monkeypatch):
    """Returns the list that every saved figure is appended to."""
    saved = []
    save = Figure.savefig

    def remember(figure, *arguments, **options):
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    return path


def matrix(labels):
    values = [[7 if i == j else 1 for j in range(len(labels))] for i in range(len(labels))]
    return {"title": "Test tiles", "rows": "observed", "columns": "forecast", "labels": labels, "values": values}


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_epochs_are_counted_from_one_as_in_the_log(metrics, tmp_path, figures):
    plot_losses(metrics, tmp_path / "losses.png", best_epoch=1)
    losses, scores = figures[0].axes
    training, validation, best = losses.get_lines()
    assert list(training.get_xdata()) == [1, 2, 3]
    assert list(validation.get_xdata()) == [1, 2], "a value that is not finite is left out"
    assert list(scores.get_lines()[0].get_xdata()) == [2, 3]
    assert set(best.get_xdata()) == {2}, "best_epoch counts from 0"


def test_no_line_joins_the_losses_or_the_scores_of_two_stages(metrics, tmp_path, figures):
    metrics.write_text("epoch,stage,train_loss,val_skill\n0,a,3,0.1\n1,a,2,0.2\n2,b,9,0.7\n3,b,8,0.8\n4,c,1,0.9\n")
    plot_losses(metrics, tmp_path / "losses.png")
    for axes, label in zip(figures[0].axes, ("training loss", "skill"), strict=True):
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) and line.get_linestyle() != ":"]
        assert [list(line.get_xdata()) for line in drawn] == [[1, 2], [3, 4], [5]]
        assert [line.get_label() for line in drawn] == [label, "_nolegend_", "_nolegend_"]
        assert drawn[-1].get_marker() != "None", "a stage of one epoch can be seen"


@pytest.mark.parametrize(("best", "side"), [(0, "left"), (2, "right")])
def test_the_word_best_stays_inside_the_axes(metrics, tmp_path, figures, best, side):
    plot_losses(metrics, tmp_path / "losses.png", best_epoch=best)
    (word,) = (text for text in figures[0].axes[0].texts if text.get_text().strip() == "best")
    assert word.get_ha() == side


def test_without_an_epoch_line_the_scores_are_the_validation_columns_between_0_and_1(metrics, tmp_path, figures):
    plot_losses(metrics, tmp_path / "losses.png")
    _, scores = figures[0].axes
    assert set(lines(scores)) == {"rain skill"}
    assert scores.get_ylim() == (0, 1)


def test_the_epoch_line_chooses_the_scores_and_its_losses_are_not_scores(metrics, tmp_path, figures):
    names = ["train_loss", "val_loss", "val_loss_per_tile", "val_tiles", "val_missing"]
    plot_losses(metrics, tmp_path / "losses.png", epoch_line=names)
    _, scores = figures[0].axes
    assert set(lines(scores)) == {"tiles"}
    assert scores.get_ylim()[1] > 12, "a score outside [0, 1] gets an axis that shows it"


def test_without_scores_there_is_one_axis(metrics, tmp_path, figures):
    plot_losses(metrics, tmp_path / "losses.png", epoch_line=["train_loss", "val_loss"])
    assert len(figures[0].axes) == 1


@pytest.mark.parametrize("text", ["epoch,train_loss\n", "epoch,train_loss\n0,1.5\n"], ids=["no epoch", "one epoch"])
def test_a_short_table_is_drawn(text, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    plot_losses(tmp_path / "metrics.csv", tmp_path / "losses.png")
    assert (tmp_path / "losses.png").stat().st_size > 0


def test_a_matrix_has_its_own_title_axes_labels_and_counts(tmp_path, figures):
    plot_matrix(matrix(["dry", "drizzle"]), tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert (axes.get_title(), axes.get_ylabel(), axes.get_xlabel()) == ("Test tiles", "observed", "forecast")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["dry", "drizzle"]
    assert [text.get_text() for text in axes.texts] == ["7", "1", "1", "7"]


def test_a_row_is_shaded_by_its_own_total(tmp_path, figures):
    uneven = {**matrix(["dry", "rain"]), "values": [[90, 10], [0, 0]]}
    plot_matrix(uneven, tmp_path / "matrix.png")
    shading = figures[0].axes[0].images[0].get_array()
    assert shading.tolist() == [[0.9, 0.1], [0, 0]], "an empty row has no shade"


def test_long_labels_are_wrapped_and_do_not_overlap(tmp_path, figures):
    names = ["few scattered showers", "persistent heavy rain", "snow turning into rain", "dry"]
    plot_matrix(matrix(names), tmp_path / "matrix.png")
    figure = figures[0]
    figure.draw_without_rendering()  # savefig has drawn it at another resolution
    ticks = figure.axes[0].get_yticklabels()
    assert "\n" in ticks[0].get_text()
    boxes = [tick.get_window_extent() for tick in ticks]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    width, height = figure.bbox.width, figure.bbox.height
    for tick in (*ticks, *figure.axes[0].get_xticklabels()):
        box = tick.get_window_extent()
        assert 0 <= box.x0 and box.x1 <= width and 0 <= box.y0 and box.y1 <= height, "the label is inside the picture"


def test_a_large_matrix_leaves_out_counts_then_labels(tmp_path, figures):
    plot_matrix(matrix([f"station {i}" for i in range(MAX_COUNTS + 1)]), tmp_path / "a.png")
    plot_matrix(matrix([f"station {i}" for i in range(MAX_LABELS + 1)]), tmp_path / "b.png")
    some, many = (figure.axes[0] for figure in figures)
    assert not some.texts and len(some.get_yticklabels()) == MAX_COUNTS + 1
    assert not many.texts and "station 0" not in [tick.get_text() for tick in many.get_yticklabels()]


def test_parameter_groups_with_the_same_rates_share_a_line(tmp_path, figures):
    rows = [f"{step},0,{group},{lr}" for step in range(3) for group, lr in ((0, 0.1), (1, 0.1), (10, 0.2))]
    (tmp_path / "lr.csv").write_text("\n".join(["step,epoch,group,lr", *rows]))
    plot_rates(tmp_path / "lr.csv", tmp_path / "rates.png")
    assert set(lines(figures[0].axes[0])) == {"groups 0, 1", "group 10"}
    assert image.imread(tmp_path / "rates.png").size > 0


def test_a_range_test_shows_its_marks_and_not_the_explosion(tmp_path, figures):
    rows = ["step,lr,loss,smoothed", "0,0.001,2.0,2.0", "1,0.01,1.0,1.0", "2,0.1,900.0,900.0", "3,1.0,,"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    plot_range(tmp_path / "table.csv", tmp_path / "plot.png", {"suggestion": 0.01, "divergence": 0.1})
    [figure] = figures
    [axes] = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylim() == (0.0, 3.5)  # a fall of 1 below the minimum of 1, and 2.5 above it
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [0.01, 0.1]
    assert "suggestion: 1.0e-02" in [text.get_text() for text in figure.legends[0].get_texts()]
