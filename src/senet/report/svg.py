"""A matplotlib figure as inline SVG whose colours and letters follow the page around it.

Figures are drawn in the colours named here, each of which stands for a CSS variable of the page.
That is how one drawing serves both the light and the dark page.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK = "#010102"
MUTED = "#010103"
LINE = "#010104"
PLAIN = "#010105"
SE = "#010106"
SURFACE = "#010107"

_VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", PLAIN: "plain", SE: "se", SURFACE: "surface"}

# A fixed salt makes the same figure the same text, so that a page can be compared with an older one.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "senet",
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "lines.linewidth": 1.5,
}

PIXELS_PER_INCH = 72


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` × ``height`` CSS pixels; draw inside `drawing`."""
    return Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), layout="constrained")


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Give figures drawn inside this context the page's look."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The reader's browser brings the letters; those matplotlib lacks only blur its layout.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """Return ``figure`` as an SVG element.

    Args:
        figure: drawn in this module's colours.
        name: unique on the page; letters and hyphens.
        title: what the picture shows, read aloud first.
        description: what it says, for readers who cannot see it.
    """
    stream = io.StringIO()
    with drawing():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    view_box = _first(r'viewBox="([^"]+)"', text)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # matplotlib's style sheet would style the whole page; style.css holds its two rules instead.
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = _unique_ids(body, name)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    # The page's own letters are used; sizes stay. matplotlib's versions word this in two ways.
    body = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r"\n\s*", "\n", body)
    return (
        f'<svg class="plot" viewBox="{view_box}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{body}</svg>'
    )


def _unique_ids(body: str, name: str) -> str:
    """Keep only the ids something refers to, and make them unique among the page's figures."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]+)"', renamed, body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    return re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', body)


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"matplotlib's SVG has no {pattern}"
    return match[1]
