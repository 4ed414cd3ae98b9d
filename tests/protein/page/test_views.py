"""The page of a report in a real browser: views, links, the 3D structure, and no complaint of the browser."""

import re

import pytest

from partoken.protein.page.writer import write_page
from tests.protein.page.chromium import find_chromium, start_chromium
from tests.protein.page.made import EVIL, LENGTH, made_facts

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium on this machine")

DRAWN = """(selector => {
  const shown = document.querySelector(selector);
  const copy = Object.assign(document.createElement("canvas"), {width: shown.width, height: shown.height});
  const brush = copy.getContext("2d");
  brush.drawImage(shown, 0, 0);
  const data = brush.getImageData(0, 0, copy.width, copy.height).data;
  let count = 0;
  for (let i = 0; i < data.length; i += 4) if (data.slice(i, i + 4).some((value, k) => value !== data[k])) count += 1;
  return count;
})"""
"""Number of pixels of a canvas that differ from its first one."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser that shows the page in a small window."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(made_facts(EVIL), path)
    with start_chromium() as browser:
        browser.open(path, width=420, height=400)
        browser.run("document.styleSheets[0].insertRule('.stage { height: 160px !important }')")  # small is drawn fast
        yield browser
        assert set(browser.requests) - {"about:blank"} == {path.as_uri()[:100]}, "nothing else was asked for"


@pytest.fixture(scope="module")
def visited(browser):
    """What each view has in a window as narrow as a telephone."""
    browser.run("globalThis.alert = () => { throw new Error('called') }")
    browser.resize(390, 400)
    found = {}
    for view in ("index", f"chain/{EVIL.replace('/', '%2F')}", "chain/c_A", "dictionary", "token/1", "model"):
        go(browser, view)
        found[view] = {
            "text": text(browser, "body"),
            "scripts": browser.run("document.querySelectorAll('script').length"),
            "width": browser.run("document.documentElement.scrollWidth"),
        }
    browser.resize(420, 400)
    return found


@pytest.fixture
def page(browser):
    """The same browser; the test fails if the page complained."""
    yield browser
    problems = browser.problems[:]
    browser.problems.clear()
    assert problems == []


def go(page, view):
    """Shows a view, and waits until it is drawn."""
    page.run(f"history.replaceState(null, '', {'#' + view!r}), go()")


def stay(page, view):
    """Shows a view unless it is shown."""
    if page.run("location.hash") != f"#{view}":
        go(page, view)


def text(page, selector="main"):
    return page.run(f"document.querySelector({selector!r}).innerText")


def rows(page):
    return page.run("[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].innerText)")


def choose(page, name, value):
    """Changes the field of a name."""
    page.run(
        "(() => { const field = [...document.querySelectorAll('.field')].find((one) => "
        f"one.querySelector('span').textContent === '{name}').querySelector('select, input');"
        f"field.value = {value!r}; field.dispatchEvent(new Event('input'));"
        " field.dispatchEvent(new Event('change')); })()"
    )


def test_the_index_filters_searches_and_sorts(page):
    go(page, "index")
    assert rows(page) == ["a_A", EVIL, "c_A"]
    choose(page, "answer", "wrong")
    assert rows(page) == [EVIL]
    choose(page, "answer", "")
    choose(page, "search", "c_a")
    assert rows(page) == ["c_A"]
    choose(page, "search", "")
    page.click("th .sort")
    assert rows(page) == [EVIL, "a_A", "c_A"]
    page.click("th .sort")
    assert rows(page) == ["c_A", "a_A", EVIL]


def test_a_name_with_a_script_stays_text_in_every_view(page, visited):
    assert [view for view, found in visited.items() if EVIL not in found["text"] or found["scripts"] != 3] == []


def test_no_view_is_wider_than_a_telephone(page, visited):
    assert {view: found["width"] for view, found in visited.items()} == dict.fromkeys(visited, 390)


def test_a_click_on_a_chain_draws_its_structure(page):
    go(page, "index")
    page.click("tbody a[href='#chain/a_A']")
    page.wait("document.querySelector('.stage canvas')")
    assert text(page, "h1") == "a_A"
    assert page.run(f"{DRAWN}('.stage canvas')") > 1000


def test_colour_by_substructure_changes_the_picture_and_the_legend(page):
    stay(page, "chain/a_A")
    before = page.run("document.querySelector('.stage canvas').toDataURL()")
    page.click(".toggle button:last-child")
    assert page.run("document.querySelector('.stage canvas').toDataURL()") != before
    assert text(page, ".legend").split() == ["1", "2", "known", "site"]


@pytest.mark.parametrize("name", [EVIL, "a_A"], ids=["mmcif", "pdb"])
def test_atoms_belong_to_the_residues_of_their_number_and_insertion_code(page, name):
    stay(page, f"chain/{name.replace('/', '%2F')}")
    assert page.run("[...large.places].filter((place) => place < 0).length") == 1, "the water"
    assert page.run("[...new Set(large.places)].filter((place) => place >= 0)") == list(range(LENGTH))
    heights = page.run("[...Array(30).keys()].map((place) => large.centers.get(place).z)")
    assert heights == pytest.approx([1.5 * place for place in range(LENGTH)], abs=0.01)


def test_a_residue_of_the_sequence_is_named_as_in_the_file_and_marked_in_the_structure(page):
    stay(page, "chain/a_A")
    page.click(".strip [data-place='21']")
    expected = "GLY 17B · importance 32.0 %, rank 2 of 30 · substructure 2, token 2 · known site"
    assert text(page, ".said") == expected
    assert page.run("Boolean(large.ball)")


def test_arrow_keys_move_along_the_sequence(page):
    go(page, "chain/a_A")
    page.run("document.querySelector('.strip').focus()")
    for _ in range(3):
        page.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert text(page, ".said").startswith("HIS 0 ")


def test_a_structure_under_the_pointer_names_its_residue(page):
    stay(page, "chain/a_A")
    x, y = page.run(
        "(() => { document.querySelector('.stage').scrollIntoView({block: 'center'});"
        " const at = large.viewer.modelToScreen(large.centers.get(7));"
        " return [at.x - scrollX, at.y - scrollY] })()"
    )
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x - 1, y=y)
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("!document.querySelector('.said').innerText.startsWith('Point')")
    assert re.match(r"[A-Z]{3} -?\d+", text(page, ".said"))


def test_a_substructure_shows_what_the_answer_would_be_without_it(page):
    stay(page, "chain/a_A")
    assert "90 %" in text(page, ".panel") and "→" not in text(page, ".panel")
    page.click("button[data-part='1']")
    assert "90 % → 30 %" in text(page, ".panel") and "10 % → 70 %" in text(page, ".panel")
    page.click("button[data-part='2']")
    assert "→" not in text(page, ".panel"), "it is not known for this one"


def test_the_downloads_have_the_columns_of_explained_residues(page):
    lines = page.run("detailOf('a_A').then(residueTable)").splitlines()
    assert lines[0] == "id,chain,number,insertion_code,residue,position,importance,substructure,site"
    assert lines[1] == "a_A,A,-2,,GLY,0,0.0100000,1,0"
    assert lines[22] == "a_A,A,17,B,GLY,21,0.320000,2,1"
    assert page.run("quoted('a,\"b')") == '"a,""b"'


def test_the_dictionary_leads_to_pictures_of_typical_and_weakest_substructures(page):
    go(page, "dictionary")
    assert "Dead tokens: 1 of 3" in text(page)
    assert "recurs in 50 % of 6 pairs, by chance 25 %" in text(page, ".card")
    page.click(".card[href='#token/1']")
    page.wait("document.querySelectorAll('.example canvas').length === 3")
    page.wait("[...document.querySelectorAll('.example canvas')].every((canvas) => canvas.width !== 300)")
    for place in (0, 1, 2):
        page.run(f"document.querySelectorAll('.example canvas')[{place}].id = 'picture{place}'")
        assert page.run(f"{DRAWN}('#picture{place}')") > 100
    assert "by chance 25 %" in text(page) and "H at -2" in text(page)


def test_the_model_has_its_scores_and_checks(page):
    go(page, "model")
    headings = page.run("[...document.querySelectorAll('h2')].map((one) => one.firstChild.textContent)")
    assert headings[:4] == ["Right answers, beside simple ones", "Confusion", "Calibration", "Substructures"]
    assert headings[-1] == EVIL


def test_a_change_to_dark_paints_the_structure_again(page):
    stay(page, "chain/a_A")
    page.run("globalThis.before = document.querySelector('.stage canvas').toDataURL()")
    page.use_dark(True)
    page.wait("document.querySelector('.stage canvas').toDataURL() !== before")
    page.use_dark(False)
    page.wait("document.querySelector('.stage canvas').toDataURL() === before")


def test_an_unknown_name_in_the_address_says_so(page):
    go(page, "chain/%zz")
    assert "No chain has this name" in text(page)
    go(page, "token/9")
    assert "no such token" in text(page)
    go(page, "constructor")
    assert text(page, "h1") == "Chains"
