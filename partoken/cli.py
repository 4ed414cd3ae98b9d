"""The `partoken` command; it imports torch only if the command line is valid."""

import argparse
import importlib.util
import io
import itertools
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partoken.errors import UserError, check_text, print_error
from partoken.system.files import explain_full_disk
from partoken.system.process import discard_output, prepare_process, process_age, say_interrupted
from partoken.system.shipped import weights_names
from partoken.system.targets import trust
from partoken.system.user_files import check_current_folder
from partoken.version import __version__

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["cost", "lr_range", "main", "present_sweep", "preview", "train"]

log = logging.getLogger(__name__)

EPILOG = """\
partoken COMMAND --help lists the options of a command.
Completion of keys and options in this shell: eval "$(partoken train --shell-completion install=bash)"
"""

KNOWN_SITES = "known residues: columns id and residues, or positions; embedded: those of the chains that ship"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; a user's mistake gives 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PASSED_ON:
        return PASSED_ON[words[0]](words[1:])
    if words and words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    parser = argparse.ArgumentParser(
        "partoken", description="Structure classifiers that explain themselves, and radar translated to optical images."
    )
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train, validate and test a model: OVERRIDES and Hydra's options")
    commands.add_parser("preview", help="show the learning rates of a run before anything is trained: OVERRIDES")
    commands.add_parser("cost", help="measure a few steps of a run, and say what all of it would cost: OVERRIDES")
    commands.add_parser("lr-range", help="try learning rates from low to high, and suggest one: OVERRIDES")
    _add_inspect(commands.add_parser("inspect", help="show what is read of structure files, and why others are not"))
    _add_predict(commands.add_parser("predict", help="classify structures, or translate radar, with a trained model"))
    _add_explain(commands.add_parser("explain", help="check whether the explanations of a run are true"))
    _add_report(commands.add_parser("report", help="write a page on the chains, tokens and answers of a run"))
    _add_sweep(commands.add_parser("sweep", help="show the table of a sweep, and write it as CSV files and a page"))
    return _run(parser.parse_args(words))


def _run(options: argparse.Namespace) -> int:
    """Runs what `options.run` names, and returns the exit status."""
    prepare_process()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names that are not UTF-8
    try:
        check_current_folder()
        with explain_full_disk(getattr(options, "out", None) or tempfile.gettempdir()):
            options.run(options)
        sys.stdout.flush()  # a reader that has ended is noticed here, not at the exit
    except KeyboardInterrupt:
        return say_interrupted()
    except BrokenPipeError:
        return discard_output()
    except (UserError, OSError) as error:
        return print_error(error)
    return 0


def train(arguments: Sequence[str]) -> int:
    """Trains, validates and tests a model: `partoken train` and `run_partoken.py`.

    Arguments:
        arguments: overrides (`key=value`, `group=option`) and Hydra's own options (`-m`, `--cfg job`, `--help`).

    Returns:
        The exit status, 2 for a user's mistake.
    """
    if any(COST_OVERRIDE.fullmatch(word) for word in arguments):
        return cost(arguments)
    try:
        sweeps = _is_sweep(arguments)
    except UserError as error:
        return print_error(error)
    if sweeps:
        from partoken.sweep.runner import run_sweep

        return run_sweep(arguments, train, present_sweep)
    from partoken.config import launch

    return launch(_job, arguments)


def preview(arguments: Sequence[str]) -> int:
    """Shows the schedule of a run: `partoken preview` and `python -m partoken.schedule`; returns the exit status."""
    from partoken.preview import main

    return main(arguments, program="partoken preview")


def _is_sweep(arguments: Sequence[str]) -> bool:
    """Returns whether a command line runs a sweep, from a folder that exists."""
    from partoken.sweep.expand import is_sweep

    check_current_folder()
    return is_sweep(arguments)


def cost(arguments: Sequence[str]) -> int:
    """Prints what a run, or with `-m` a sweep, would cost: `partoken cost` and `run_partoken.py cost=true`.

    Arguments:
        arguments: as for `train`.

    Returns:
        The exit status, 2 for a user's mistake.
    """
    try:
        sweeps = _is_sweep(arguments)
    except UserError as error:
        return print_error(error)
    if sweeps:
        return _run(argparse.Namespace(run=_cost_of_sweep, arguments=arguments))
    from partoken.config import launch

    with tempfile.TemporaryDirectory(prefix="partoken-") as folder:  # Hydra makes a run folder for every job
        return launch(_cost_job, [*arguments, f"hydra.run.dir='{folder}'"])


def lr_range(arguments: Sequence[str]) -> int:
    """Tries learning rates from low to high: `partoken lr-range`; returns the exit status, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        "partoken lr-range",
        description="Trains some steps with a rate that rises, suggests a rate, and leaves a table and a picture only. "
        "train.resume_from=CHECKPOINT gives the weights at the beginning.",
    )
    parser.add_argument("overrides", nargs="*", help="as for partoken train: key=value, group=option")
    parser.add_argument("--min", type=float, default=1e-6, metavar="RATE", help="rate of the first step; default 1e-6")
    parser.add_argument("--max", type=float, default=1.0, metavar="RATE", help="rate of the last step; default 1")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="optimizer steps; default 100")
    parser.add_argument("--stage", metavar="NAME", help="stage to test; default: that of the checkpoint, or the first")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/lr_range"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="a folder with more YAML files")
    options = parser.parse_intermixed_args(arguments)
    options.run = _lr_range
    return _run(options)


COST_OVERRIDE = re.compile(r"\+{0,2}cost=(true|yes|on|1)", re.IGNORECASE)

COMMANDS = ("train", "preview", "cost", "lr-range", "inspect", "predict", "explain", "report", "sweep")
PASSED_ON = {"train": train, "preview": preview, "cost": cost, "lr-range": lr_range}
"""Commands that parse their arguments themselves."""


def _job(cfg: "DictConfig") -> float:
    """Carries out one run and presents its folder."""
    from partoken.composition import plain
    from partoken.config import check_config

    check_config(cfg)
    if cfg.get("cost"):
        raise UserError(
            f"cost={cfg.cost}: a file sets it; set cost: false there, and give cost=true on the command line"
        )
    # torch, Lightning and matplotlib are imported only when a run is certain
    from partoken.report import config_tree, present
    from partoken.training.engine import check_outcome, run

    if cfg.print_config:
        log.info("configuration\n%s", "\n".join(config_tree(plain(cfg))))
    outcome = run(cfg, present)
    check_outcome(outcome.summary)
    return outcome.objective


def _cost_job(cfg: "DictConfig") -> None:
    """Prints what a run would cost."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from partoken.config import check_config

    check_config(cfg)
    from partoken.report import present
    from partoken.training.probes.cost import estimate, measure
    from partoken.training.probes.cost_report import run_lines

    _check_not_resumed(cfg, "cost")
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    folder = str(HydraConfig.get().runtime.output_dir)
    measured = measure(settings, run_folder=folder, before=process_age(), present=present)
    print("\n".join(run_lines(settings, estimate(settings, measured))), flush=True)


def _check_not_resumed(cfg: "DictConfig", command: str) -> None:
    """Rejects `resume` for a command that has no run folder."""
    if cfg.resume is not None:
        raise UserError(f"resume={cfg.resume}: {command} has no run folder; set train.resume_from=CHECKPOINT")


def _cost_of_sweep(options: argparse.Namespace) -> None:
    """Prints what each job of a sweep would cost; the jobs are measured with the threads that they would have."""

    from partoken.sweep.expand import expand
    from partoken.sweep.local import use_threads

    sweep = expand(options.arguments)
    use_threads(sweep.threads or max(1, len(os.sched_getaffinity(0)) // sweep.n_jobs))
    from partoken.report import present
    from partoken.training.probes.cost_report import sweep_lines

    jobs: dict[str, Any] = {}
    for number, job in enumerate(sweep.jobs):
        label = f"{number}: {' '.join(word for word in job.overrides if not COST_OVERRIDE.fullmatch(word))}"
        if job.composed is None:
            print(f"{label}  would fail: {job.error}")
            continue
        jobs[label] = job.groups
    if sweep.search is not None:
        print(f"a search chooses its {sweep.search.trials} jobs while it runs; these are the two ends of its values:")
    for line in sweep_lines(jobs, present=present):
        print(line, flush=True)


def _lr_range(options: argparse.Namespace) -> None:
    from omegaconf import OmegaConf

    from partoken.config import compose

    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out}: is a file; name a folder for the table and the picture")
    cfg = compose(options.overrides, options.config_dir)
    _check_not_resumed(cfg, "lr-range")
    from partoken.report.plots import plot_range
    from partoken.training.probes.lr_range import RangeTest, lines, range_test
    from partoken.training.probes.range_curve import write_curve

    test = RangeTest(low=options.min, high=options.max, steps=options.steps)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    curve, suggested = range_test(settings, test, stage=options.stage)
    options.out.mkdir(parents=True, exist_ok=True)
    table, picture = options.out / "lr_range.csv", options.out / "lr_range.png"
    write_curve(curve, table)
    plot_range(table, picture, curve.marks)
    added = ["--config-dir", str(options.config_dir)] if options.config_dir else []
    print("\n".join(lines(curve, test, suggested, [*added, *options.overrides])))
    print(f"{table}\n{picture}", flush=True)


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


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `partoken inspect`."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="structure files, folders, tar archives, globs")
    parser.add_argument("--out", metavar="FILE.csv", help="a CSV file for the whole table, with the whole sequences")
    parser.add_argument("--min-length", type=int, metavar="N", help="residues with N, CA and C of a chain; default 10")
    parser.add_argument(
        "--min-plddt",
        type=float,
        metavar="P",
        help="predicted structures: residues of lower confidence, 0 to 100, are missing",
    )
    parser.add_argument("--max-file-mb", type=float, metavar="MB", help="largest size of a file, unpacked; default 512")
    parser.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from partoken.protein.inspection import inspect_files

    names = ("min_length", "min_plddt", "max_file_mb")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    for line in inspect_files(options.paths, options.out, **given):
        print(line)


def _add_predict(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `partoken predict`."""
    parser.add_argument(
        "checkpoint",
        help="checkpoints/best.ckpt in a run folder, which decides what is predicted; or the name of weights that ship "
        f"with partoken: {', '.join(weights_names()) or 'none in this installation'}",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files, folders, tar archives, globs: structures, or radar images"
    )
    parser.add_argument("--out", required=True, help="structures: a CSV file, with --explain a folder; radar: a folder")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    parser.add_argument(
        "--allow-targets", action="append", default=[], metavar="PACKAGE", help="of yours, which the checkpoint needs"
    )
    structures = parser.add_argument_group("structures")
    structures.add_argument(
        "--residue-features", metavar="FILE", help="NPZ file or folder, for a model that was trained with such features"
    )
    structures.add_argument(
        "--max-file-mb", type=float, metavar="MB", help="largest size of a file, unpacked; default 512"
    )
    structures.add_argument(
        "--explain",
        action="store_true",
        default=None,
        help="write a folder with the importance of each residue",
    )
    structures.add_argument(
        "--importance", metavar="METHOD", help="how --explain measures it; default: what is best for the network"
    )
    radar = parser.add_argument_group("radar images")
    radar.add_argument("--month", type=int, help="1 to 12, for images that do not state theirs")
    radar.add_argument("--biome", type=int, help="0 to 15, for images that do not state theirs")
    radar.add_argument("--s1-units", choices=("db", "linear"), help="units of the radar; default: as in the training")
    radar.add_argument("--window", type=int, metavar="PIXELS", help="side of the windows of a large image; default 512")
    parser.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from partoken.system.checkpoint import read_checkpoint
    from partoken.system.shipped import find_weights

    check_text("--out", options.out)
    trust(options.allow_targets)
    checkpoint = str(find_weights(options.checkpoint))
    names = ("residue_features", "max_file_mb", "explain", "importance", "month", "biome", "s1_units", "window")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    predict = _prediction(checkpoint, read_checkpoint(checkpoint))
    for line in predict(checkpoint, options.paths, options.out, options.device, **given):
        print(line)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `partoken explain`."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run folder, a checkpoint, or weights that ship; several: seeds of one"
    )
    parser.add_argument("--sites", metavar="FILE.csv", help=KNOWN_SITES)
    parser.add_argument("--structures", nargs="+", default=[], metavar="PATH", help="chains to check, not the run's")
    parser.add_argument("--out", metavar="DIR", help="folder for the tables; default: explain in the run folder")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    parser.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> None:
    from partoken.protein.explanation_checks.command import explain_runs

    check_text("--out", options.out, optional=True)
    for line in explain_runs(options.runs, options.sites, options.structures, options.out, options.device):
        print(line)


def _add_report(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `partoken report`."""
    parser.add_argument("given", metavar="RUN", help="a run folder, a checkpoint, or the name of weights that ship")
    parser.add_argument(
        "--structures", nargs="+", default=[], metavar="PATH", help="further chains; needed without a run folder"
    )
    parser.add_argument("--sites", metavar="FILE.csv", help=KNOWN_SITES)
    parser.add_argument("--out", metavar="DIR", help="folder for the page and its tables; default: report in the run's")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from partoken.protein.facts.report import report_run

    check_text("--out", options.out, optional=True)
    for line in report_run(options.given, options.structures, options.sites, options.out, options.device):
        print(line)


def present_sweep(folder: Path) -> None:
    """Prints the table of a sweep, and writes `sweep.csv`, `sweep_groups.csv` and `sweep.html` into its folder.

    Arguments:
        folder: of a sweep, or any folder with run folders.

    Raises:
        UserError: the folder does not exist, has no jobs, or its `sweep.json` cannot be used.
        OSError: a file cannot be written.
    """
    from partoken.report.sweep import write_page
    from partoken.sweep.content import page_content
    from partoken.sweep.record import LOCK
    from partoken.sweep.table import read_sweep, write_tables
    from partoken.sweep.terminal import format_sweep
    from partoken.system.locks import file_lock

    table = read_sweep(folder)
    print("\n".join(format_sweep(table)))
    page = folder / "sweep.html"
    with file_lock(folder / LOCK):  # the sweep itself may write the same files now
        written = write_tables(table)
        write_page(page_content(table), page)
    print(f"written: {', '.join(map(str, [*written, page]))}")


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `partoken sweep`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of a sweep, or a folder with run folders")
    parser.set_defaults(run=lambda options: present_sweep(options.folder))


def _prediction(path: str, checkpoint: Mapping[str, Any]) -> Callable[..., Iterable[str]]:
    """Returns the function that predicts with a checkpoint, which the checkpoint names.

    Raises:
        UserError: it names none, or one outside this package.
    """
    name = checkpoint.get("partoken_predict", "partoken.protein.predict")  # older checkpoints name none
    if name is None:
        raise UserError(f"{path}: `partoken predict` does not know how to predict with this model")
    if not isinstance(name, str) or not name.startswith("partoken."):
        raise UserError(f"{path} names {name} to predict with: must be a module of partoken")
    if importlib.util.find_spec(name) is None:
        raise UserError(f"{path} names {name} to predict with, which this version of partoken does not have")
    predict: Callable[..., Iterable[str]] = importlib.import_module(name).predict_files
    return predict


if __name__ == "__main__":
    sys.exit(main())
