"""What a person looks at after a run."""

from partoken.report.run import present

__all__ = ["present"]
