"""Stage 2 of Axion-Sat, from stage 1 to a better image: `python -m partoken.satellite.train_stage2`."""

import sys
from collections.abc import Sequence

from partoken.satellite.flags import start

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Starts the run that the flags describe; returns 2 after a user's mistake, and otherwise not at all."""
    return start(2, arguments)


if __name__ == "__main__":
    sys.exit(main())
