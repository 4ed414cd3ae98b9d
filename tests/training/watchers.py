"""Callbacks as a user would write them."""

import pytorch_lightning as pl


class CountsBatches(pl.Callback):
    """Counts training batches, also over a resume, and writes the number into a file after the training."""

    def __init__(self, path, every=1):
        if every < 1:
            raise ValueError(f"every={every} must be 1 or more")
        self.path = path
        self.batches = 0

    def on_train_batch_end(self, *_):
        self.batches += 1

    def on_train_end(self, *_):
        with open(self.path, "a") as file:
            print(self.batches, file=file)

    def state_dict(self):
        return {"batches": self.batches}

    def load_state_dict(self, state_dict):
        self.batches = state_dict["batches"]


def not_a_callback():
    return "text"
