"""Converts a BigEarthNet folder, version 1 or 2, to tiles: `python -m partoken.satellite.convert SOURCE OUT`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from partoken.errors import UserError, check_number, print_error
from partoken.satellite.convert.folder import Conversion, convert_folder

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for a user error."""
    options = _parser().parse_args(arguments)
    try:
        check_number("--limit", options.limit, minimum=1, whole=True, optional=True)
        check_number("--workers", options.workers, minimum=0, whole=True, optional=True)
        conversion = Conversion(options.s2_offset, options.cloudy, options.keep_splits)
        summary = convert_folder(options.source, options.out, conversion, limit=options.limit, workers=options.workers)
    except (UserError, OSError) as error:
        return print_error(error)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    print("\n".join(summary.lines()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m partoken.satellite.convert",
        description="Converts a BigEarthNet folder, version 1 or 2, to tiles. Run it again to continue.",
    )
    parser.add_argument("source", type=Path, help="folder with the radar and optical patches, at any depth")
    parser.add_argument("out", type=Path, help="folder of the tiles, for data=tiles data.root=OUT")
    parser.add_argument(
        "--s2-offset",
        type=int,
        choices=(0, 1000),
        default=0,
        help="optical offset of products whose XML and folder names do not state it (default 0, right for BigEarthNet)",
    )
    parser.add_argument("--cloudy", action="store_true", help="keep patches that metadata.csv flags as cloudy or snowy")
    parser.add_argument(
        "--keep-splits", action="store_true", help="write the splits of metadata.csv into the tiles; they divide scenes"
    )
    parser.add_argument("--limit", type=int, help="largest number of patches to convert (default all)")
    parser.add_argument("--workers", type=int, help="number of processes (default all cores)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
