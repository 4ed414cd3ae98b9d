"""What the manual says of keys, messages and links agrees with the code."""

import functools
import inspect
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "docs").is_dir():
    pytest.skip("the manual is not here", allow_module_level=True)

from docs.hooks import commands as manual  # noqa: E402
from docs.hooks import loads, reference  # noqa: E402

CONF = reference.CONF
GROUPS = ("train", "data", "model", "trainer")
GENERATED = [
    "train/default",
    "model/partoken",
    "model/axion_stage1",
    "model/axion_stage2",
    *(f"data/{file.stem}" for file in sorted((CONF / "data").glob("*.yaml"))),
]


def keys(name):
    return [key for key in yaml.safe_load((CONF / f"{name}.yaml").read_text()) if key != "_target_"]


@pytest.mark.parametrize("name", GENERATED)
def test_the_configuration_page_explains_every_key(name):
    assert f"<!-- generated: settings {name} -->" in (ROOT / "docs/configuration.md").read_text()
    group = name.split("/")[0]
    rows = [line.split(" | ") for line in reference.settings_table(name).splitlines()[2:]]
    assert [key.strip("| `") for key, _, _ in rows] == [f"{group}.{key}" for key in keys(name)]
    assert [key for key, _, meaning in rows if len(meaning.strip(" |")) < 10] == []


def test_constants_and_values_of_python_are_spelt_out():
    table = reference.settings_table("train/default")
    assert "One of `adam`, `adamw`, `sgd`." in table
    assert not {"None:", "True:", "False:", "STAGE_KEYS"} & set(re.findall(r"\w+:?", table))


def test_every_option_that_the_sources_share_is_explained():
    assert "`data.epochs_per_pass`" in reference.options_table()
    assert reference.options_table().count("\n") == 1 + len(reference.DataOptions.__dataclass_fields__)


def test_every_group_of_the_configuration_is_in_the_manual():
    page = (ROOT / "docs/configuration.md").read_text()
    assert [folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in page] == []


@pytest.mark.parametrize("page", manual.PAGES, ids=lambda page: page.stem)
def test_every_key_that_a_page_names_exists(page):
    files = [f"{file.parent.name}/{file.stem}" for file in CONF.glob("*/*.yaml")]
    known = {f"{file.split('/')[0]}.{key}" for file in files for key in keys(file)}
    known |= {f"trainer.{name}" for name in inspect.signature(pl.Trainer.__init__).parameters}
    code = re.findall(r"`([^`\n]+)`", page.read_text())
    named = {key for text in code for key in re.findall(rf"(?<![\w./])((?:{'|'.join(GROUPS)})\.[a-z]\w*)", text)}
    assert named - known - {"train.warmup_epoch"} == set()


def test_the_defaults_in_the_table_of_the_schedule_are_those_of_the_configuration():
    defaults = yaml.safe_load((CONF / "train/default.yaml").read_text())
    rows = re.findall(r"^\| `train\.(\w+)` \| `([^`]+)` \|", (ROOT / "docs/schedule.md").read_text(), re.MULTILINE)
    assert len(rows) == 8
    assert {key: yaml.safe_load(value) for key, value in rows} == {key: defaults[key] for key, _ in rows}


def test_every_message_is_in_the_list_of_one_family():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    places = [place for line in re.findall(r"<!-- generated: messages (.*) -->", page) for place in line.split()]
    for module in reference.modules_with_messages():
        families = [place for place in places if module == place or module.startswith(f"{place}/")]
        assert len(families) == 1, f"list partoken/{module} in one family of docs/troubleshooting.md"


def test_the_architecture_page_shows_the_import_rules_of_the_project():
    page, project = ((ROOT / name).read_text() for name in ("docs/architecture.md", "pyproject.toml"))
    assert f"Contracts: {project.count('[[tool.importlinter.contracts]]')} kept, 0 broken." in page
    assert all(rule in project for rule in re.findall(r"^(.*) KEPT$", page, re.MULTILINE))


def test_a_message_is_shown_with_a_word_for_each_value():
    assert "KEY=VALUE: must be true or false" in list(reference.messages("errors.py"))


@functools.cache
def all_messages():
    """Returns every message of the code, as one text."""
    modules = sorted(reference.modules_with_messages())
    messages = [message for module in modules for message in reference.messages(module)]
    return " ".join(messages) + (ROOT / "partoken/system/skipped.py").read_text()


@pytest.mark.parametrize(
    "sentence",
    [row[0] for row in re.findall(r"^\| ([^|`]+) \|([^|]*)\|$", (ROOT / "docs/troubleshooting.md").read_text(), re.M)],
)
def test_every_message_with_an_advice_is_in_the_code(sentence):
    if sentence == "if the message says":
        return
    for part in sentence.split(", "):
        assert part.split(" N ")[0].strip() in all_messages()


@pytest.mark.parametrize("page", [*manual.PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.stem)
def test_every_link_and_picture_exists(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and "." not in anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("b.html", '<link rel="stylesheet" href="//fonts.example/f.css">', ["//fonts.example/f.css"]),
        ("c.html", '<img src="https://img.example/i.png">', ["https://img.example/i.png"]),
        ("d.html", '<a href="https://example.org">to follow</a><img src="assets/i.png">', []),
        ("e.css", "a { src: url('https://fonts.example/f.woff2') }", ["https://fonts.example/f.woff2"]),
        ("f.css", "a { src: url(assets/f.woff2) }", []),
    ],
)
def test_a_page_that_loads_something_from_the_network_is_found(tmp_path, name, text, found):
    (tmp_path / name).write_text(text)
    assert loads.external_loads(tmp_path / name) == found
