"""The loggers of a run: which ones there are, what each receives, and why their failures do not stop the run."""

from partoken.training.loggers.run_loggers import RunLoggers, StageLogger, open_loggers
from partoken.training.loggers.targets import check_loggers

__all__ = ["RunLoggers", "StageLogger", "check_loggers", "open_loggers"]
