"""The `partoken` command; it imports torch only if the command line is valid."""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from partoken.errors import UserError
from partoken.system.process import prepare_process
from partoken.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["main", "preview", "train"]

EPILOG = """\
partoken COMMAND --help lists the options of a command.
Completion of keys and options in this shell: eval "$(partoken train --shell-completion install=bash)"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; a user's mistake gives 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PASSED_ON:
        return PASSED_ON[words[0]](words[1:])
    if words and words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    parser = argparse.ArgumentParser("partoken", description="Protein structure classifiers that explain themselves.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train, validate and test a model: OVERRIDES and Hydra's options")
    commands.add_parser("preview", help="show the learning rates of a run before anything is trained: OVERRIDES")
    predict = commands.add_parser("predict", help="classify structures with a trained model")
    predict.add_argument("checkpoint", help="checkpoints/best.ckpt in a run folder")
    predict.add_argument("paths", nargs="+", metavar="PATH", help="structure files, folders, globs")
    predict.add_argument("--out", required=True, metavar="FILE.csv", help="table of predictions, one row per chain")
    predict.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    predict.set_defaults(run=_predict)
    options = parser.parse_args(words)
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


def train(arguments: Sequence[str]) -> int:
    """Trains, validates and tests a model: `partoken train` and `run_partoken.py`.

    Arguments:
        arguments: overrides (`key=value`, `group=option`) and Hydra's own options (`-m`, `--cfg job`, `--help`).

    Returns:
        The exit status, 2 for a user's mistake.
    """
    from partoken.config import launch

    return launch(_job, arguments)


def preview(arguments: Sequence[str]) -> int:
    """Shows the schedule of a run: `partoken preview` and `python -m partoken.schedule`; returns the exit status."""
    from partoken.schedule.__main__ import main

    return main(arguments, program="partoken preview")


COMMANDS = ("train", "preview", "predict")
PASSED_ON = {"train": train, "preview": preview}
"""Commands that parse their arguments themselves."""


def _job(cfg: "DictConfig") -> float:
    """Carries out one run and presents its folder."""
    from partoken.config import check_config, log_failed_job

    with log_failed_job():
        check_config(cfg)
        # torch, Lightning and matplotlib are imported only when a run is certain
        from partoken.report import present
        from partoken.training.engine import check_outcome, run

        outcome = run(cfg)
        if outcome.is_main_process:
            present(outcome.folder)
        check_outcome(outcome.summary)
    return outcome.objective


def _complete(arguments: Sequence[str]) -> int:
    """Answers the shell, which asks `partoken -sc query=SHELL` with the command line in the environment."""
    program, *words = os.environ.get("COMP_LINE", "").split(" ")
    words = [word for word in words[:-1] if word] + words[-1:]
    if len(words) == 1:
        print("\n".join(command for command in COMMANDS if command.startswith(words[0])))
    elif words and words[0] in PASSED_ON:
        os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
        pairs = itertools.pairwise(words[:-1])
        added = [word for flag, value in pairs if flag in ("-cd", "--config-dir") for word in (flag, value)]
        return train([*arguments, *added])
    return 0  # the shell completes the names of files


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
