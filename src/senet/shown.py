"""Results that show themselves: a short table at the prompt and in notebooks, and rows for a data frame.

A result says once, in `Shown.table`, what it has to say. ``repr`` is the short form of that table,
``_repr_html_`` the same for notebooks, and reports that print every line of theirs take `Table.text`.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from unicodedata import combining, east_asian_width

from senet.text import counted, printable, shortened

MOST_LINES = 12
WIDTH = 100
_MOST_OF_WARNINGS, _MOST_OF_TITLE, _MOST_OF_NOTES = 3, 3, 3
# A cell shows at least this many characters of a name.
_NARROWEST = 3
_GAP = "  "

Line = tuple[str, ...]
Rows = list[dict[str, str | int | float | bool | None]]
"""One flat dictionary for each row, all with the same keys: what ``pandas.DataFrame`` takes."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a result has to say, as text.

    Attributes:
        warnings: sentences that have to be read before any number.
        title: sentences above the table.
        head: names of the columns, or nothing where they need none.
        lines: cells of each line.
        numbers: which columns hold numbers; they are aligned on the right.
        last: how many of the last lines stay where lines are left out.
        notes: sentences below the table.
    """

    warnings: tuple[str, ...] = ()
    title: tuple[str, ...] = ()
    head: Line
    lines: Sequence[Line]
    numbers: tuple[int, ...] = ()
    last: int = 0
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return all of it, however long and wide."""
        above, below = self.warnings + self.title, self.notes
        lines = aligned(self._headed(self.lines), numbers=self.numbers)
        return "\n".join([*map(printable, above), *lines, *map(printable, below)])

    def short(self) -> str:
        """Return at most `MOST_LINES` lines of at most `WIDTH` characters."""
        above, below = self._sentences()
        first, hidden, last = self._chosen()
        lines = aligned(self._headed([*first, *last]), numbers=self.numbers, width=WIDTH)
        if hidden:
            lines.insert(len(lines) - len(last), f"… {hidden:,} more")
        return "\n".join([*above, *lines, *below])

    def html(self) -> str:
        """Return the short table as HTML, its sentences whole and everything escaped."""
        first, hidden, last = self._chosen()
        more = f'<tr><td colspan="{len(self.lines[0])}">… {hidden:,} more</td></tr>' if hidden else ""
        body = "".join([*map(self._html_line, first), more, *map(self._html_line, last)])
        head = "".join(f"<th{self._style(at)}>{_html(cell)}</th>" for at, cell in enumerate(self.head))
        head = f"<thead><tr>{head}</tr></thead>" if head else ""
        table = f"<table>{head}<tbody>{body}</tbody></table>" if self.lines else ""
        warnings = "".join(f"<p><strong>{_html(each)}</strong></p>" for each in self.warnings)
        return f"<div>{warnings}{_paragraphs(self.title)}{table}{_paragraphs(self.notes)}</div>"

    def _headed(self, lines: Sequence[Line]) -> list[Line]:
        return [self.head, *lines] if self.head and lines else list(lines)

    def _sentences(self) -> tuple[list[str], list[str]]:
        """Return what stands above and below the short table."""
        above = _wrapped(self.warnings, _MOST_OF_WARNINGS) + _wrapped(self.title, _MOST_OF_TITLE)
        return above, _wrapped(self.notes, _MOST_OF_NOTES)

    def _chosen(self) -> tuple[list[Line], int, list[Line]]:
        """Return the first lines of the short table, how many are left out, and the last ones."""
        lines, (above, below) = list(self.lines), self._sentences()
        # One line is the head, and one says how many are left out.
        kept = MOST_LINES - len(above) - len(below) - 2
        if len(lines) <= kept + 1:
            return lines, 0, []
        last = min(self.last, kept)
        return lines[: kept - last], len(lines) - kept, lines[len(lines) - last :]

    def _html_line(self, line: Line) -> str:
        cells = "".join(f"<td{self._style(at)}>{_html(cell)}</td>" for at, cell in enumerate(line))
        return f"<tr>{cells}</tr>"

    def _style(self, column: int) -> str:
        return f' style="text-align: {"right" if column in self.numbers else "left"}"'


class Shown(ABC):
    """A result that shows itself. A dataclass of this kind is declared with ``repr=False``."""

    @abstractmethod
    def to_rows(self) -> Rows:
        """Return flat dictionaries of plain values, for ``pandas.DataFrame(result.to_rows())``."""

    @abstractmethod
    def table(self) -> Table:
        """Return what is shown."""

    def __repr__(self) -> str:
        """Return a short table."""
        return self.table().short()

    def _repr_html_(self) -> str:
        """Return the short table for a notebook."""
        return self.table().html()


def skipped(unreadable: Sequence[object]) -> tuple[str, ...]:
    """Return a note on the images that were skipped, where there were any."""
    return (f"{counted(len(unreadable), 'unreadable image')} skipped.",) if unreadable else ()


def aligned(
    lines: Sequence[Sequence[str]], *, numbers: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """Return lines of cells as text with the cells below each other.

    Args:
        lines: as many cells in each.
        numbers: columns that are aligned on the right.
        width: in characters; long cells lose their middle where the lines would be longer.
    """
    shown = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(_cells, column)) for column in zip(*shown, strict=True)]
    while width is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        if max(widths) <= _NARROWEST:
            break
        widths[widths.index(max(widths))] -= 1
    return [
        _GAP.join(
            _fitted(cell, widths[column], right=column in numbers) for column, cell in enumerate(line)
        ).rstrip()
        for line in shown
    ]


def _cells(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes: characters of some scripts take two."""
    return sum(0 if combining(each) else 1 + (east_asian_width(each) in "WF") for each in text)


def _fitted(cell: str, width: int, *, right: bool) -> str:
    length = _cells(cell)
    if length > width:
        cell = shortened(cell, max(_NARROWEST, width * len(cell) // length))
    space = " " * (width - _cells(cell))
    return space + cell if right else cell + space


def _wrapped(sentences: Sequence[str], most: int) -> list[str]:
    lines = [line for each in sentences for line in _lines(printable(each))]
    if len(lines) > most:
        lines[most - 1 :] = _lines(" ".join(lines[most - 1 :]), most=1)
    return lines


def _lines(text: str, most: int | None = None) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False, max_lines=most, placeholder=" …")


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{_html(each)}</p>" for each in sentences)


def _html(text: str) -> str:
    return escape(printable(text))
