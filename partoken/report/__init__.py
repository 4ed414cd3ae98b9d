"""The report of a finished run, from its run folder alone, and the configuration as text."""

from partoken.report.run import present
from partoken.report.tree import config_tree

__all__ = ["config_tree", "present"]
