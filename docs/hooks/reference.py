"""Text of the manual that is made from the code: the tables of settings and the lists of error messages.

Needs neither MkDocs nor torch, so that the tests check it too.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from partoken.protein.dataset.options import DataOptions
from partoken.protein.model.settings import LossSettings, NetworkSettings
from partoken.satellite.model.settings import RefinerSettings, Stage1Losses, Stage2Losses, TranslatorSettings
from partoken.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"

SETTINGS: dict[str, tuple[type, ...]] = {
    "train/default": (TrainSettings,),
    "model/partoken": (NetworkSettings, LossSettings),
    "model/axion_stage1": (TranslatorSettings, Stage1Losses),
    "model/axion_stage2": (RefinerSettings, Stage2Losses),
}
ERRORS = ("UserError", "ScheduleError", "BadTile")


def settings_table(name: str) -> str:
    """Returns a table of the keys of `conf/NAME.yaml`: default, and what the code or the file says of it."""
    group, documented = name.split("/")[0], _documentation(SETTINGS.get(name, ()))
    comments = _comments(CONF / f"{name}.yaml")
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, value in yaml.safe_load((CONF / f"{name}.yaml").read_text()).items():
        if key == "_target_":
            continue
        comment = comments.get(key, "")
        meaning = _as_typed(documented[key]) + _choices(comment, documented[key]) if key in documented else comment
        lines.append(f"| `{group}.{key}` | `{_yaml(value)}` | {_cell(meaning)} |")
    return "\n".join(lines)


def options_table() -> str:
    """Returns a table of the options that every source of data has, with what the code says of them."""
    lines = ["| key | meaning |", "|---|---|"]
    for key, meaning in _documentation((DataOptions,)).items():
        lines.append(f"| `data.{key}` | {_cell(_as_typed(meaning))} |")
    return "\n".join(lines)


def yaml_file(name: str) -> str:
    """Returns a file of `conf/` as a block of code."""
    return f"```yaml\n{(CONF / f'{name}.yaml').read_text().rstrip()}\n```"


def message_list(*places: str) -> str:
    """Returns the error messages of modules or folders of `partoken/`, one on a line."""
    found = [message for place in places for message in messages(place)]
    return "\n".join(f"- `{message}`" for message in dict.fromkeys(found))


def messages(place: str) -> Iterator[str]:
    """Yields the messages of every user error that a module or folder raises; a value is a word in capitals."""
    path = ROOT / "partoken" / place
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                text = "".join(_words(node.args[0])).strip()
                # a message that only passes another one on has no words of its own
                if re.search(r"[a-z]{3}", text):
                    yield " ".join(text.replace("`", "").split())


def modules_with_messages() -> set[str]:
    """Returns the modules of `partoken/` that raise user errors with words of their own."""
    files = (ROOT / "partoken").rglob("*.py")
    names = (file.relative_to(ROOT / "partoken").as_posix() for file in files)
    return {name for name in names if any(messages(name))}


def _words(node: ast.expr) -> Iterator[str]:
    """Yields the text of a message, with a word in capitals for each value in it."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _words(part)
    elif isinstance(node, ast.FormattedValue):
        yield _placeholder(node.value)
    elif isinstance(node, ast.BinOp):
        yield from _words(node.left)
        yield from _words(node.right)
    else:
        yield _placeholder(node)


def _placeholder(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == "did_you_mean":
            return " Did you mean NAME?"
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("key", "assignment") and node.args:
            return f"train.{ast.literal_eval(node.args[0])}" if isinstance(node.args[0], ast.Constant) else "KEY"
        if isinstance(node.func, ast.Name) and node.func.id == "len":
            return "N"
        return "..."
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value).strip("_").upper()
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else "..."
    return name.strip("_").upper()


def _documentation(kinds: tuple[type, ...]) -> dict[str, str]:
    """Returns what stands below each field of dataclasses, base classes included."""
    found: dict[str, str] = {}
    for kind in kinds:
        written: dict[str, str] = {}
        for base in reversed(kind.__mro__[:-1]):
            written |= _field_docstrings(base)
        found |= {item.name: written[item.name] for item in fields(kind) if item.name in written}  # type: ignore[arg-type]
    return found


def _field_docstrings(kind: type) -> dict[str, str]:
    [definition] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for item, after in zip(definition.body, definition.body[1:], strict=False):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and is_text:
            found[item.target.id] = _spell_out(inspect.cleandoc(after.value.value), kind)
    return found


def _spell_out(text: str, kind: type) -> str:
    """Replaces the names of constants, such as `OPTIMIZERS`, by their values."""
    module = inspect.getmodule(kind)

    def values(match: re.Match[str]) -> str:
        found = getattr(module, match[1], None)
        return ", ".join(f"`{value}`" for value in found) if isinstance(found, tuple) else match[0]

    return re.sub(r"`([A-Z_]+)`", values, text)


def _comments(path: Path) -> dict[str, str]:
    lines = re.findall(r"^(\w+):[^#\n]*#\s*(.+)$", path.read_text(), re.MULTILINE)
    return dict(lines)


def _as_typed(text: str) -> str:
    """Writes the values of Python as they are typed on a command line."""
    return re.sub(r"\b(None|True|False)\b", lambda match: {"None": "null"}.get(match[1], match[1].lower()), text)


def _choices(comment: str, said: str) -> str:
    """Returns the choices with which a comment begins, as a sentence, unless all of them are said already."""
    listed = re.match(r"[\w-]+(?: \| [\w-]+)+", comment)
    words = listed[0].split(" | ") if listed else []
    if all(word in said for word in words):
        return ""
    return f" Choose {', '.join(f'`{word}`' for word in words)}."


def _yaml(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
