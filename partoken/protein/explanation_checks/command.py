"""`partoken explain`: checks whether the explanations of a run are true, and writes tables."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from partoken.errors import UserError
from partoken.protein.explanation_checks.check_tables import describe_sites, make_tables
from partoken.protein.explanation_checks.checks import RunChecks, check_run, compare_runs
from partoken.protein.explanation_checks.sites import read_sites
from partoken.protein.explanation_checks.tables import format_table
from partoken.protein.model.importance import METHODS, default_method
from partoken.protein.run_chains import RunChains, open_run
from partoken.system.files import write_json
from partoken.system.tables import write_table
from partoken.version import __version__

__all__ = ["explain_runs"]

CHAINS, TABLES = "explain.csv", "explain.json"
"""Files that the command writes: a row for each chain, and all tables."""


def explain_runs(
    runs: Sequence[str | os.PathLike[str]],
    sites: str | os.PathLike[str] | None = None,
    structures: Sequence[str | os.PathLike[str]] = (),
    out: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> Iterator[str]:
    """Checks the explanations of a run, and yields lines for the user.

    Arguments:
        runs: A run folder, a checkpoint or the name of weights that ship; with several, the first is described and
            means over all are shown.
        sites: CSV file with known residues or `embedded`, see `read_sites`; None: they are not scored.
        structures: Files with chains to check in the place of those of the run; needed without a run folder.
        out: Folder for the tables; None: `explain` in the folder of the first run.
        device: As for `Predictor`.

    Raises:
        UserError: as for `open_run`, `read_sites` and `check_run`; or there is no folder for the tables.
    """
    known = None if sites is None else read_sites(sites)
    if out is not None:
        _check_out(Path(out))
    opened = [open_run(given, structures, device) for given in runs]
    target = _target(opened[0], runs[0], out)
    checked = [check_run(run, known, sites or "") for run in opened]
    compare_runs(checked[0], checked[1:])
    tables = make_tables(checked)
    about = _describe(checked, runs, sites)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / TABLES, {"about": about, "checks": [table.plain() for table in tables]})
    _write_chains(target / CHAINS, checked[0])
    yield from describe_sites(checked, sites)
    yield f"importance of residues: {about['method']}, {about['method_text']}"
    for run in opened[:1]:
        if run.skipped:
            yield f"{len(run.skipped)} structures skipped, the first: {run.skipped[0].file}: {run.skipped[0].reason}"
    for table in tables:
        yield ""
        yield from format_table(table)
    yield ""
    yield f"written: {target / CHAINS}, {target / TABLES}"


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file, and explain writes two files; name a folder")


def _target(run: RunChains, given: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> Path:
    """Returns the folder for the tables."""
    if out is not None:
        return Path(out)
    if run.folder is None:
        raise UserError(f"{given} lies in no run folder, so the tables need a place; name a folder with --out DIR")
    return run.folder / "explain"


def _describe(
    checked: Sequence[RunChecks], runs: Sequence[str | os.PathLike[str]], sites: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Returns what was checked, for `explain.json`."""
    method = default_method(checked[0].run.predictor.network)
    found = checked[0].sites
    return {
        "version": __version__,
        "runs": [os.fspath(run) for run in runs],
        "checkpoints": [os.fspath(one.run.checkpoint) for one in checked],
        "method": method,
        "method_text": METHODS[method],
        "chains": len(checked[0].chains),
        "sites": None if sites is None else os.fspath(sites),
        "sites_not_found": [] if found is None else list(found.missing),
    }


def _write_chains(path: Path, checked: RunChecks) -> None:
    """Writes a row for each chain of the first run."""
    chains = checked.measured.chains
    columns = list(dict.fromkeys(name for cells in chains.values() for name in cells))
    write_table(path, ["id", *columns], ({"id": name, **cells} for name, cells in chains.items()))
