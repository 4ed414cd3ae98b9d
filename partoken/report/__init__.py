"""The report of a finished run, from its run folder alone."""

from partoken.report.run import present

__all__ = ["present"]
