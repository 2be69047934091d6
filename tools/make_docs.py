"""Make the parts of the documentation that come from a run: ``python tools/make_docs.py runs/NAME``.

Copies the run's results to ``docs/example/``, writes its table into the README, and takes the
picture of its page with Chromium. Without a folder only the table is written again.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from senet.insight.results_rows import rows
from senet.report.page import write_page
from senet.report.results_json import read_results
from senet.report.table import as_markdown, notes

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "docs" / "example" / "results.json"
PICTURE = ROOT / "docs" / "images" / "report.png"
BEGIN, END = "<!-- results: made by tools/make_docs.py -->", "<!-- end of results -->"


def readme_with_results(readme: str, results: Path = EXAMPLE) -> str:
    """Return the README with the table of ``results`` between its marks."""
    comparison = read_results(results)
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    table = [as_markdown(rows(comparison)).strip(), "", comparison.verdict.sentence, "", *notes(comparison)]
    return "\n".join([before + BEGIN, "", *table, "", END + after])


def take_picture(page: Path, picture: Path) -> None:
    """Save the first screen of a page as a PNG, with Debian's or any other Chromium."""
    from playwright.sync_api import sync_playwright

    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1200, "height": 1420}, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=picture)
        browser.close()


def main() -> None:
    """Copy, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    if folder is not None:
        EXAMPLE.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "results.json", EXAMPLE)
    with tempfile.TemporaryDirectory() as temporary:
        page = Path(temporary) / "report.html"
        write_page(read_results(EXAMPLE), page)
        take_picture(page, PICTURE)
    README.write_text(readme_with_results(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
