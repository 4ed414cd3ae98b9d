"""A logger that keeps what it is told, and can fail."""

from typing import ClassVar

from pytorch_lightning.loggers import Logger


class Recorded(Logger):
    name, version, save_dir = "recorded", "1", "folder"
    created: ClassVar = []

    def __init__(self, fails=()):
        super().__init__()
        self.fails = fails
        self.calls = []
        self.experiment = self.calls
        Recorded.created.append(self)

    def told(self, method):
        """Returns the arguments of each call of a method."""
        return [arguments for name, *arguments in self.calls if name == method]

    def metric(self, name):
        """Returns the values of a metric by step."""
        return {step: metrics[name] for metrics, step in self.told("log_metrics") if name in metrics}

    def _keep(self, method, *arguments):
        self.calls.append((method, *arguments))
        if method in self.fails:
            raise RuntimeError(f"no connection in {method}")

    def log_metrics(self, metrics, step=None):
        self._keep("log_metrics", metrics, step)

    def log_hyperparams(self, params):
        self._keep("log_hyperparams", params)

    def log_image(self, key, images):
        self._keep("log_image", key, images)

    def after_save_checkpoint(self, checkpoint_callback):
        self._keep("after_save_checkpoint")

    def save(self):
        self._keep("save")

    def finalize(self, status):
        self._keep("finalize", status)


class NoStart(Recorded):
    def __init__(self):
        raise OSError("the server does not answer")
