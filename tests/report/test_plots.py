"""Pictures of a run."""

from partoken.report import plots


def test_epochs_are_counted_as_in_the_log(tmp_path, monkeypatch):
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,train_loss,val_loss,val_accuracy\n0,3,4,\n1,2,3,0.5\n2,1,2,0.6\n")
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    plots.plot_losses(table, tmp_path / "losses.png", best_epoch=1)
    losses, scores = drawn[0].axes
    training, validation, best = losses.get_lines()
    assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2, 3]
    assert list(scores.get_lines()[0].get_xdata()) == [2, 3]
    assert set(best.get_xdata()) == {2}, "epoch 1 of the summary is the second"
