"""The page of a report as a file: nothing loaded, everything escaped, small, equal for equal facts."""

import base64
import hashlib
import json
import random
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from partoken.protein.page.writer import MAX_BYTES, SCRIPTS, pack, write_page
from tests.protein.page.made import EVIL, made_facts

FOLDER = resources.files("partoken.protein.page")


class Elements(HTMLParser):
    """Collects elements with their attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name == "script":
            self.scripts.append("")
        self._inside = name == "script"

    def handle_endtag(self, name):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.scripts[-1] += text


@pytest.fixture(scope="module")
def evil_page(tmp_path_factory):
    """The page of facts in which every text of a user ends a script and begins another one."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(made_facts(f"</script>{EVIL}<!--"), path)
    return path.read_text(encoding="utf-8")


def test_texts_of_users_end_no_script_and_begin_none(evil_page):
    elements = Elements(evil_page)
    assert [name for name, _ in elements.found].count("script") == 3
    assert EVIL not in evil_page and "<!--" not in evil_page
    facts = json.loads(elements.scripts[0])
    assert facts["chains"][1]["id"] == f"</script>{EVIL}<!--", "the text itself is kept"


def test_the_page_loads_nothing_and_runs_its_own_scripts_only(evil_page):
    elements = Elements(evil_page)
    assert not {"link", "img", "iframe", "object", "base"} & {name for name, _ in elements.found}
    assert all("src" not in attributes and "href" not in attributes for _, attributes in elements.found)
    [policy] = [attributes["content"] for _, attributes in elements.found if "http-equiv" in attributes]
    allowed = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in elements.scripts[1:]}
    assert "default-src 'none'" in policy
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == allowed
    assert "unsafe-eval" not in policy and "script-src 'unsafe-inline'" not in policy


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_html_from_texts(name):
    script = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|fetch\(|XMLHttp|import\(", script
    )


def test_every_script_of_the_folder_is_in_the_page():
    names = {path.name for path in FOLDER.iterdir() if path.name.endswith(".js")}
    assert names == {*SCRIPTS, "3Dmol-min.js"}


def test_the_viewer_is_the_one_that_the_notice_names():
    digest = hashlib.sha256((FOLDER / "3Dmol-min.js").read_bytes()).hexdigest()
    assert digest == "bcf422137a34b4e206413a8a83a67c24a1ace84e282bf3b164f6bda6aeb42a20"
    assert "University of Pittsburgh" in (FOLDER / "3Dmol-LICENSE.txt").read_text(encoding="utf-8")


def test_the_size_that_is_returned_is_that_of_the_file(tmp_path):
    size = write_page(made_facts(), tmp_path / "page.html")
    assert size == (tmp_path / "page.html").stat().st_size < 700_000


def test_a_chain_adds_as_many_bytes_as_it_has_when_packed(tmp_path):
    few, many = made_facts(), made_facts()
    detail = few["details"]["a_A"] | {"structure": random.Random(0).randbytes(50_000).hex()}
    many["details"]["d"] = detail
    grown = write_page(many, tmp_path / "many.html") - write_page(few, tmp_path / "few.html")
    assert grown - len(pack(detail)) == len(',"d":""')
    assert len(pack(detail)) < MAX_BYTES


def test_equal_facts_make_equal_pages(tmp_path):
    for name in ("one", "other"):
        write_page(made_facts(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_number_that_json_does_not_have_is_refused_and_leaves_no_file(tmp_path):
    facts = made_facts()
    facts["details"]["a_A"]["importance"][0] = float("nan")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_page(facts, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
