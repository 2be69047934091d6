"""Everything a reader gets of a comparison, written into its run folder."""

from __future__ import annotations

from pathlib import Path

from senet.checks import require_type
from senet.files import user_path
from senet.insight.results import Comparison
from senet.report.page import write_page
from senet.report.results_json import write_results

RESULTS_NAME = "results.json"
PAGE_NAME = "report.html"


def write_report(comparison: Comparison, folder: str | Path) -> Path:
    """Write ``results.json`` and ``report.html`` into ``folder`` and return the page's path.

    Raises:
        SenetError: the folder cannot be written; nothing is left half-written.
    """
    require_type("comparison", comparison, Comparison, "what senet.compare or senet.collect returned")
    require_type("folder", folder, (str, Path), "a folder")
    folder = user_path(folder)
    write_results(comparison, folder / RESULTS_NAME)
    page = folder / PAGE_NAME
    write_page(comparison, page)
    return page
