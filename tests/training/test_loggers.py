"""The loggers of a run as its stages use them."""

from pytorch_lightning.loggers import Logger

from partoken.training.loggers import stage_loggers
from partoken.training.stages import Position


class Recorded(Logger):
    """Keeps what it is told."""

    name, version, save_dir = "recorded", "1", "folder"

    def __init__(self):
        super().__init__()
        self.calls = []
        self.experiment = self.calls

    def log_metrics(self, metrics, step=None):
        self.calls.append((metrics, step))

    def log_hyperparams(self, params):
        self.calls.append(params)

    def finalize(self, status):
        self.calls.append(status)

    def save(self):
        self.calls.append("saved")


def test_steps_and_epochs_count_from_the_beginning_of_the_run():
    logger = Recorded()
    (own,) = stage_loggers([logger], Position(number=1, num_stages=2, first_step=20, first_epoch=3))
    own.log_metrics({"loss": 0.5, "epoch": 1}, step=4)
    own.log_metrics({"loss": 0.25})
    assert logger.calls == [({"loss": 0.5, "epoch": 4}, 24), ({"loss": 0.25}, None)]


def test_a_stage_neither_closes_the_logger_nor_logs_other_settings():
    logger = Recorded()
    (own,) = stage_loggers([logger], Position())
    own.log_hyperparams({"lr": 1})
    own.finalize("success")
    assert logger.calls == ["saved"]
    assert (own.name, own.version, own.save_dir, own.experiment) == ("recorded", "1", "folder", logger.calls)
