"""The import rules in pyproject.toml reject an import in a forbidden direction, wherever it is written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the import linter is a development tool: make lint installs it")

ROOT = Path(__file__).parents[1]
IN_A_FUNCTION = "\n\ndef added():\n    {}\n"
FOR_TYPES_ONLY = "\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {}\n"


def lint_with(folder: Path, file: str, added: str) -> tuple[int, str]:
    """Adds text to one file of a copy of the package; returns the linter's exit status and output."""
    shutil.copytree(ROOT / "partoken", folder / "partoken", ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with open(folder / "partoken" / file, "a") as module:
        module.write(added)
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "imported"),
    [
        ("errors.py", "from partoken.system.files import write_json"),
        ("system/tables.py", "from partoken.config import compose"),
        ("config.py", "from partoken.training.engine import run"),
        ("schedule/plan.py", "from partoken.system.files import write_json"),
        ("schedule/plot.py", "from partoken.config import compose"),
        ("training/engine.py", "from partoken.report import present"),
        ("training/engine.py", "from partoken.protein.task import ParTokenTask"),
        ("report/run.py", "from partoken.training.domain import Task"),
        ("report/run.py", "from partoken.config import compose"),
        ("protein/task.py", "from partoken.schedule.plan import Plan"),
        ("protein/task.py", "from partoken.protein.sources.reading import read_file"),
        ("protein/catalog.py", "from partoken.protein.model.partoken import ParToken"),
        ("protein/chains/store.py", "from partoken.protein.sources.reading import read_file"),
        ("protein/dataset/splits.py", "from partoken.protein.sources.reading import read_file"),
        ("protein/sources/reading.py", "from partoken.training.resume import ResumableLoader"),
        ("protein/model/head.py", "from partoken.protein.chains.cache import cached"),
        ("protein/model/head.py", "import pytorch_lightning"),
        ("schedule/lr.py", "import pytorch_lightning"),
    ],
    ids=lambda value: value.removeprefix("from ").removeprefix("import ").split()[0],
)
def test_an_import_in_a_forbidden_direction_inside_a_function_is_an_error(file, imported, tmp_path):
    status, output = lint_with(tmp_path, file, IN_A_FUNCTION.format(imported))
    assert status == 1
    assert "BROKEN" in output


def test_a_forbidden_import_under_type_checking_is_an_error(tmp_path):
    status, output = lint_with(tmp_path, "system/tables.py", FOR_TYPES_ONLY.format("from partoken import load"))
    assert status == 1
    assert "partoken.protein" in output, "the package root imports the prediction of a domain"


def test_a_cycle_inside_a_room_is_an_error(tmp_path):
    status, output = lint_with(
        tmp_path, "system/files.py", IN_A_FUNCTION.format("from partoken.system.tables import read_table")
    )
    assert status == 1
    assert "No import cycles BROKEN" in output


def test_a_room_without_a_place_in_the_layers_is_an_error(tmp_path):
    status, output = lint_with(tmp_path, "utils.py", "")
    assert status == 1
    assert "utils" in output


def test_the_package_itself_follows_the_rules(tmp_path):
    status, output = lint_with(tmp_path, "errors.py", "")
    assert status == 0, output
