"""Pictures of a report for the manual: what a headless Chromium shows of its views.

    partoken report pretrained --structures partoken/protein/embedded/chains.npz --sites embedded --out my_report
    python -m benchmarks.page_pictures my_report/index.html

Writes `docs/assets/report/*.png`, with 256 colours each. Needs Chromium and Pillow.
"""

import argparse
from pathlib import Path

from PIL import Image

from tests.protein.page.chromium import Chromium, start_chromium

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "assets" / "report"
COLORS = 256

VIEWS = {
    "index": "#index",
    "found": "#chain/1ah7_A",
    "missed": "#chain/1vr7_B",
    "dictionary": "#dictionary",
    "token": "#token/194",
    "model": "#model",
}
"""Name of each picture, and the view that it shows."""
HEIGHTS = {"found": 1560, "missed": 1800}
DARK = {"model"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="index.html of the report")
    page = parser.parse_args().page.resolve()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with start_chromium() as browser:
        for name, view in VIEWS.items():
            browser.open(page, view, width=1280, height=HEIGHTS.get(name, 760), dark=name in DARK)
            if name == "dictionary":
                browser.run("browse.order = 'enrichment'; go()")
            if name == "token":
                browser.wait("[...document.querySelectorAll('.example canvas')].every((one) => one.width !== 300)")
            _save(browser, FOLDER / f"{name}.png")


def _save(browser: Chromium, path: Path) -> None:
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    browser.screenshot(path)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
