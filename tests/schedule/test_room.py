"""What the sub-package promises of itself: one formula, no arrow into the rest of the package, and a size."""

import ast
from pathlib import Path

import partoken.schedule

FILES = sorted(Path(partoken.schedule.__file__).parent.glob("*.py"))


def test_the_formula_stands_in_one_place():
    assert [file.name for file in FILES if "cos(" in _code(file)] == ["curve.py"]
    assert _code(FILES[[f.name for f in FILES].index("curve.py")]).count("cos(") == 1


def test_knows_torch_and_nothing_else_of_the_package():
    imported = set()
    for file in FILES:
        if file.name != "__main__.py":  # the command also composes the configuration
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom):
                    imported.add(node.module)
    own = {name for name in imported if name.startswith("partoken") and not name.startswith("partoken.schedule")}
    assert own == set()


def test_has_under_500_lines_without_docstrings():
    assert sum(len(_code(file).splitlines()) for file in FILES) < 500


def test_offers_what_it_names():
    assert all(hasattr(partoken.schedule, name) for name in partoken.schedule.__all__)
    assert not hasattr(partoken.schedule, "something_else")


def _code(file: Path) -> str:
    """Returns the lines of a file that are neither blank nor of a docstring."""
    text = file.read_text()
    said = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said.update(range(node.lineno, node.end_lineno + 1))
    return "\n".join(line for i, line in enumerate(text.splitlines(), 1) if line.strip() and i not in said)
