"""Writes the page of a report: one HTML file that needs neither a network nor a server."""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from partoken.system.files import atomic_write

__all__ = ["MAX_BYTES", "pack", "write_page"]

MAX_BYTES = 10_000_000
"""A page is smaller than this; whoever chooses its chains sees to it."""
VIEWER = "3Dmol-min.js"
SCRIPTS = (
    "dom.js",
    "table.js",
    "colors.js",
    "help.js",
    "charts.js",
    "details.js",
    "viewer.js",
    "strip.js",
    "chains.js",
    "answer.js",
    "chain.js",
    "dictionary.js",
    "token.js",
    "model.js",
    "start.js",
)


def write_page(facts: Mapping[str, Any], path: Path) -> int:
    """Writes the page, completely or not at all.

    Arguments:
        facts: Plain values, without NaN and infinity, which JSON does not have. Texts are not escaped.

            - `about`: `title`, `checkpoint`, `learned`, `written` (the time), `version`, `method`, `method_text`, and
              `chosen` (how the chains that have a page were chosen, or None).
            - `labels`: `name`, `classes`, `multi_label`.
            - `chains`: `id`, `file`, `split`, `length`, `answers` (by label: `label`, `confidence`, `truth`, `right`),
              `tokens`, `has_page`.
            - `details`, by id: `chain`, `sequence`, `numbers`, `names`, `structure` (text, with the importance in
              percent of the largest as B factor), `format` (`pdb` or `cif`), `importance` and `substructure` of each
              residue (0 for none), `probabilities` (by label and class), `sites` (positions from 0, or None), and
              `substructures`: `number` (from 1), `token`, `size`, `importance`, `residues` (positions from 0), `first`,
              `last`, `helix`, `strand`, `coil`, `without` (the probabilities without it), `num_sites`.
            - `dictionary`: `token`, `count`, `chains`, `share`, `dead`, `classes` (`label`, `class`, `count`,
              `expected`, `enrichment`, `p`, `q`), `typical` and `weakest` (`chain`, `substructure`, `closeness`),
              `helix`, `strand`, `coil`, `size_mean`, `conserved` (a text, or `offset`, `residue`, `share`),
              `recurrence` (`aligned`, `tried`, `rmsd_median` in angstrom).
            - `model`: `scores`, `confusion`, `calibration`, `substructures`, `right_and_wrong`, `checks`. A missing
              part is left out.
        path: The HTML file; its folder exists.

    Returns:
        The size of the page in bytes.

    Raises:
        ValueError: a number is NaN or infinite.
        OSError: the file cannot be written.
    """
    scripts = [_read(VIEWER), "\n".join(map(_read, SCRIPTS))]
    island = _json({**facts, "details": {name: pack(detail) for name, detail in facts["details"].items()}})
    page = (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(facts['about']['title'])}</title>\n"
        f"<style>\n{_read('page.css')}</style></head>\n"
        '<body><main id="view"><p>This page needs JavaScript.</p></main>'
        '<div id="tip" role="tooltip" hidden></div>\n'
        f'<script type="application/json" id="facts">{island}</script>\n'
        + "\n".join(f"<script>{script}</script>" for script in scripts)
        + "\n</body></html>\n"
    )
    with atomic_write(path) as file:
        file.write(page)
    return len(page.encode())


def pack(detail: Mapping[str, Any]) -> str:
    """Returns what the page holds of a single chain: compressed JSON in base64, a quarter of its text.

    The length is what the chain adds to the page, in bytes.

    Raises:
        ValueError: a number is NaN or infinite.

    Example:
        >>> len(pack({"sequence": "A" * 1000})) < 100
        True
    """
    # Without a time, so that equal facts make equal pages.
    return base64.b64encode(gzip.compress(_json(detail).encode(), mtime=0)).decode()


def _json(value: Any) -> str:
    """Returns JSON in ASCII that can stand in a script element: no text can end the element or open a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _policy(scripts: list[str]) -> str:
    """Returns the Content-Security-Policy: the page loads nothing, and runs no other script than its own."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _read(name: str) -> str:
    return (resources.files("partoken.protein.page") / name).read_text(encoding="utf-8")
