"""A toy task whose parts take a known time of a clock that only it moves, for the tests."""

from tests.training.toy import ToyModule


class Clock:
    """A clock that a task moves."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


CLOCK = Clock()
STEP, VALIDATION, TEST = 2.0, 1.0, 0.5
"""Seconds of a batch."""
START, FIRST_STEP, EPOCH_END, VALIDATION_START = 50.0, 7.0, 3.0, 4.0
"""Seconds beside the batches."""


class Clocked(ToyModule):
    """Moves `CLOCK`."""

    def on_fit_start(self):
        CLOCK.now += START

    def training_step(self, batch, batch_idx):
        CLOCK.now += STEP + (0 if self.trainer.fit_loop.total_batch_idx else FIRST_STEP)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        CLOCK.now += EPOCH_END

    def on_validation_start(self):
        CLOCK.now += VALIDATION_START

    def validation_step(self, batch, batch_idx):
        CLOCK.now += VALIDATION
        super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        CLOCK.now += TEST
        super().test_step(batch, batch_idx)
