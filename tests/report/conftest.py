"""One headless browser for the folder's tests, and one page at a time in it."""

from __future__ import annotations

import os
import shutil

import pytest

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
_INSTALL = "install them with: pip install playwright, and apt-get install chromium"


@pytest.fixture(scope="session")
def browser():
    """Return headless Chromium, or skip; with SENET_REQUIRE_BROWSER=1 (as in CI) fail instead."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without_browser("playwright is not installed")
    if chromium is None:
        _without_browser("Chromium is not installed")
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield instance
        instance.close()


def _without_browser(reason: str) -> None:
    message = f"The page cannot be looked at because {reason}; {_INSTALL}."
    if os.environ.get("SENET_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)
