"""What the sub-package imports and offers."""

import ast
from pathlib import Path

import partoken.schedule

FILES = sorted(Path(partoken.schedule.__file__).parent.glob("*.py"))


def test_schedule_imports_only_errors_of_the_package():
    imported = set()
    for file in FILES:
        if file.name != "__main__.py":  # the command also composes the configuration
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom):
                    imported.add(node.module)
    own = {name for name in imported if name.startswith("partoken") and not name.startswith("partoken.schedule")}
    assert own == {"partoken.errors"}


def test_every_public_name_exists():
    assert all(hasattr(partoken.schedule, name) for name in partoken.schedule.__all__)
    assert not hasattr(partoken.schedule, "something_else")
