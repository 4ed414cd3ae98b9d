"""Stage 1 of Axion-Sat, radar to optical: `python -m partoken.satellite.train_stage1`."""

import sys
from collections.abc import Sequence

from partoken.satellite.flags import start

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Starts the run that the flags describe; returns 2 after a user's mistake, and otherwise not at all."""
    return start(1, arguments)


if __name__ == "__main__":
    sys.exit(main())
