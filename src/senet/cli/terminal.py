"""The one way to the terminal: nothing in a name is obeyed, nothing is too narrow to be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console as rich_console
from rich.console import ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from senet.text import printable

# COLUMNS may say anything, and a window be a few columns wide.
LEAST_WIDTH = 20
_USUAL_WIDTH = 80


class Console(rich_console.Console):
    """A console of rich that shows control characters instead of sending them to the terminal."""

    def __init__(self, **settings: Any) -> None:
        # A class may be called :cat:, which rich would draw.
        super().__init__(**{"highlight": False, "emoji": False, **settings})
        if self.width < LEAST_WIDTH and "width" not in settings:
            self.width = LEAST_WIDTH if self.width else _USUAL_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is drawn, whatever it is made of, with its control characters escaped."""
        for segment in super().render(renderable, options):
            if segment.control is None:
                yield Segment(printable(segment.text, lines=True), segment.style)
            else:
                yield segment


def plain(text: object) -> str:
    """Return ``text`` for `Console.print`, in one line and with nothing in it taken for markup."""
    return escape(printable(text))
