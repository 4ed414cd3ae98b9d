"""The `partoken` command; it imports torch only if the command line is valid."""

import argparse
import sys
from collections.abc import Sequence

from partoken.errors import UserError
from partoken.system.process import prepare_process
from partoken.version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; a user's mistake gives 2."""
    parser = argparse.ArgumentParser("partoken", description="Protein structure classifiers that explain themselves.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="classify structures with a trained model")
    predict.add_argument("checkpoint", help="checkpoints/best.ckpt in a run folder")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="structure files, folders, globs")
    predict.add_argument("--out", required=True, metavar="FILE.csv", help="table of predictions, one row per chain")
    predict.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    predict.set_defaults(run=_predict)
    options = parser.parse_args(arguments)
    prepare_process()
    try:
        options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _predict(options: argparse.Namespace) -> None:
    from pathlib import Path

    from partoken.protein.predict import Predictor, skipped_beside

    predictor = Predictor(options.checkpoint, options.device)
    rows = predictor.write(options.paths, options.out, progress=True)
    print(f"{rows} chains classified, see {options.out}")
    if predictor.skipped:
        print(f"{len(predictor.skipped)} files or chains skipped, see {skipped_beside(Path(options.out))}")


if __name__ == "__main__":
    sys.exit(main())
