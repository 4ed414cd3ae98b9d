"""The commands of the manual: they parse, and they print what the manual shows."""

import csv
import re
import shlex
from importlib import resources
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from partoken import preview
from partoken.cli import main as partoken
from partoken.config import compose
from partoken.protein.chains.store import ChainStore
from partoken.protein.sources.arrays import read_arrays
from partoken.satellite.flags import translate
from partoken.sweep.space import dimension
from tests.protein.structures import pdb_text

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "docs").is_dir():
    pytest.skip("the manual is not here", allow_module_level=True)

from docs.hooks import commands as manual  # noqa: E402

EXAMPLES = list(manual.examples())
COMMANDS = list(dict.fromkeys(command for _, command in manual.commands()))
FAST = [example for example in EXAMPLES if example.is_fast]
FLAGS = re.compile(r"python -m partoken\.satellite\.train_stage([12])(.*)")
RUNS = [
    words
    for words in COMMANDS
    if re.search(r"(run_partoken\.py|partoken (train|cost|lr-range)|partoken\.schedule)( |$)", words)
]

SMALL = "debug=fast"

OTHER = {
    "pip install",
    "python3 -m venv",
    "source .venv/bin/activate",
    "tensorboard --logdir",
    "mlflow ui",
    "wandb sync",
    "eval",
}
"""First words of commands that belong to other programs."""


@pytest.mark.parametrize("example", FAST, ids=lambda example: example.command[:80])
def test_a_fast_command_prints_what_the_manual_shows(example, capfd, monkeypatch):
    module, words = example.command.split()[:3], shlex.split(example.command)[3:]
    if module == ["python", "-m", "partoken.schedule"]:
        monkeypatch.chdir(ROOT)
        preview.main(words)
        printed = "".join(capfd.readouterr())
        shown = "\n".join(line.rstrip() for line in printed.rstrip("\n").splitlines())
    else:
        shown = manual.run(example.command)
    assert shown == example.output, f"python docs/hooks/commands.py updates {example.page.name}"


@pytest.mark.parametrize("command", [c for c in RUNS if c not in {example.command for example in FAST}])
def test_every_run_of_the_manual_composes(command):
    jobs = list(_jobs(shlex.split(command)))
    assert jobs
    assert all(compose(overrides, with_hydra=True).train.epochs >= 1 for overrides in jobs)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if FLAGS.match(c) and c not in {example.command for example in FAST}]
)
def test_every_run_with_flags_composes(command):
    stage, words = FLAGS.match(command).groups()
    overrides = translate(int(stage), shlex.split(words))
    assert compose([word for word in overrides if not word.startswith("hydra.")]).train.epochs >= 1


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in RUNS and not FLAGS.match(c)])
def test_every_other_command_names_files_options_and_targets_that_exist(command):
    words = shlex.split(command.removeprefix("OMP_NUM_THREADS=1 "))
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:2]) <= set(targets)
    elif words[:2] in (["partoken", "predict"], ["partoken", "--version"]):
        assert "--out" in words or "--help" in words or len(words) == 2
    elif words[:2] == ["partoken", "inspect"]:
        assert {word for word in words if word.startswith("--")} <= {"--out", "--min-plddt", "--min-length"}
    elif words[:2] in (["partoken", "explain"], ["partoken", "report"]):
        assert {word for word in words if word.startswith("--")} <= {"--sites", "--structures", "--out"}
    elif words[:2] == ["partoken", "preview"]:  # of a checkpoint that the manual names
        compose(words[2:])
    elif words[:2] == ["partoken", "sweep"]:
        assert len(words) <= 3
    elif words[:3] == ["python", "-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[3:] if "/" in word)
    elif words[0] in ("python", "bash", ".ci/run"):
        source = _script(words).read_text()
        own = words[: words.index("--")] if "--" in words else words
        assert [word for word in own if word.startswith("--") and f'"{word}"' not in source] == []
        if "--" in words:
            compose(words[words.index("--") + 1 :])
    else:
        start = " ".join(words).removeprefix(".venv/bin/")
        assert any(start.startswith(other) for other in OTHER) or start.startswith("python run_partoken.py"), command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the manual assumes it: a finished run of the main job, and structures that are new to it."""
    folder = tmp_path_factory.mktemp("manual")
    run = folder / "outputs/DAY/TIME"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(folder / "fonts"))  # empty, as on a machine on which nothing has drawn yet
        (folder / "log").write_text(manual.run(f"python run_partoken.py hydra.run.dir={run} {SMALL}"))
    store = ChainStore.of(read_arrays(resources.files("partoken.protein.embedded") / "chains.npz"))
    (folder / "new_structures").mkdir()
    for chain in store.read([1, 2, 3]):
        (folder / f"new_structures/{chain.id}.pdb").write_text(pdb_text(chain))
    (folder / "new_structures/notes.pdb").write_text("not a structure\n")
    return folder


def test_the_log_of_the_manual_has_the_lines_of_a_run(folder):
    excerpt, whole = [example.output for example in EXAMPLES if example.command == "make train"]
    assert set(excerpt.splitlines()) - set(whole.splitlines()) == {"..."}
    assert _kinds(whole) - _kinds((folder / "log").read_text()) == set()


def test_the_first_run_on_a_machine_begins_with_its_folder(folder):
    assert "run folder" in (folder / "log").read_text().splitlines()[0]


def test_the_tree_of_the_manual_has_the_files_of_a_run(folder):
    [tree] = [b for b in manual.blocks(ROOT / "docs/run-folder.md", "text") if "summary.json" in b]
    shown = {line.split()[-1] if " " * 3 not in line else line.split("── ")[1].split()[0] for line in _leaves(tree)}
    run = folder / "outputs/DAY/TIME"
    assert shown == {path.name for path in run.rglob("*") if path.is_file()}


def test_the_prediction_of_the_manual_prints_what_it_shows(folder, monkeypatch, capsys):
    [example] = [e for e in EXAMPLES if e.command.startswith("partoken predict outputs") and e.output]
    monkeypatch.chdir(folder)
    assert partoken(shlex.split(example.command)[1:]) == 0
    assert capsys.readouterr().out.strip() == example.output
    page = (ROOT / "docs/predict.md").read_text()
    with open(folder / "predictions.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert [c for c in columns if f"`{c}`" not in page and not c.startswith("p_")] == []
    assert (folder / "predictions.skipped.csv").read_text() in page


def test_the_inspection_of_the_manual_prints_what_it_shows(folder, monkeypatch, capsys):
    [example] = [e for e in EXAMPLES if e.command.startswith("partoken inspect new_structures")]
    monkeypatch.chdir(folder)
    assert partoken(shlex.split(example.command)[1:]) == 0
    assert capsys.readouterr().out.strip() == example.output
    page = (ROOT / "docs/inspect.md").read_text()
    with open(folder / "read.csv", newline="") as file:
        assert [column for column in next(csv.reader(file)) if f"`{column}`" not in page] == []


@pytest.mark.parametrize(
    ("page", "code"),
    [(page, code) for page in manual.PAGES for code in manual.blocks(page, "python")],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_every_block_of_python_runs(folder, monkeypatch, capsys, page, code):
    monkeypatch.chdir(folder)
    names = {"coords": [np.zeros((3, 4, 3))], "sequences": ["AAA"], "names": ["a"]}
    exec(compile(code, str(page), "exec"), names)
    printed = capsys.readouterr().out
    if page.name == "pytorch.md":
        assert printed in manual.blocks(page, "text")


def _script(words: list[str]) -> Path:
    """Returns the file that a command runs."""
    if words[1:2] != ["-m"]:
        return ROOT / words[1 if len(words) > 1 else 0]
    module = ROOT / words[2].replace(".", "/")
    return module / "__main__.py" if module.is_dir() else module.with_suffix(".py")


def _jobs(words: list[str]) -> list[list[str]]:
    """Returns the overrides of the only job of a command line, or of the first and the last one."""
    overrides = [word for word in words if re.match(r"[+~]*[\w./@]+=|~", word) and "OMP_NUM" not in word]
    if "-m" not in words or "partoken.schedule" in words:
        return [overrides]
    choices = [_values(word) for word in overrides]
    jobs = [list(job) for job in product(*choices)]
    return [jobs[0], jobs[-1]]


def _values(override: str) -> list[str]:
    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_discrete_sweep():
        return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]
    if parsed.is_sweep_override():
        values = dimension(parsed)
        return [values.word(end) for end in values.ends()]
    return [override]


def _kinds(log: str) -> set[str]:
    """Returns what the lines of a log are about: their words up to the first value."""
    texts = re.findall(r"^\d\d:\d\d:\d\d INFO (.*)$", log, re.MULTILINE)
    return {re.split(r": |  (?=\S)|\d", text.strip())[0].strip() for text in texts}


def _leaves(tree: str) -> list[str]:
    return [line for line in tree.splitlines() if "── " in line and not line.split("── ")[1].split()[0].endswith("/")]
