"""Text that is shown to people: names of files and classes made harmless, and counted nouns."""

from __future__ import annotations

import re
import unicodedata

# Control and format characters (a right-to-left mark turns a name around), halves of characters, and what
# some terminals take for the end of a line.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Emoji and several scripts are written with them.
_JOINERS = "\u200c\u200d"
# Python reads a byte of a file name that is not UTF-8 as the half of a character.
_BYTES = range(0xDC80, 0xDD00)
# A spreadsheet takes a cell that begins with one of these for a formula and runs it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(text: object, *, lines: bool = False) -> str:
    r"""Return ``text`` with everything escaped that a terminal would obey instead of show.

    ``printable("a\x1b[2Jb")`` is ``"a\\x1b[2Jb"``; a byte that is not UTF-8 becomes ``\\xe9``.

    Args:
        text: whatever is shown, such as the name of a file.
        lines: keep the ends of lines, for text of several lines.
    """
    whole = str(text)
    if whole.isascii() and whole.isprintable():
        return whole
    return "".join(each if _harmless(each, lines) else _escaped(each) for each in whole)


def _harmless(character: str, lines: bool) -> bool:
    if lines and character == "\n":
        return True
    return character in _JOINERS or unicodedata.category(character) not in _UNPRINTABLE


def _escaped(character: str) -> str:
    if ord(character) in _BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def quoted(name: str) -> str:
    r"""Return the name in quotes; a byte that is not UTF-8 is shown as ``\xe9``, with one backslash."""
    return repr(printable(name)).replace("\\\\", "\\")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``"1 image"`` or ``"1,200 images"``.

    Args:
        number: of things.
        noun: for one of them.
        plural: for none or several, where it is not made by an s, as in "classes".
    """
    if plural is None:
        plural = re.sub(r"(?<=[^aeiou])y$", "ie", noun) + (
            "es" if noun.endswith(("s", "x", "nch", "tch")) else "s"
        )
    return f"{number:,} {noun if number == 1 else plural}"


def signed(value: float, decimals: int = 2) -> str:
    """Return a difference as text: its sign always shown, a true minus, and zero without a sign."""
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return f"{'−' if value < 0 else '+'}{text}"


def shortened(name: str, most: int = 24) -> str:
    """Return ``name`` in one line, its middle left out where it is longer than ``most`` characters."""
    name = " ".join(name.split())
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[-tail:]}"


def csv_cell(value: object) -> object:
    """Return a cell for a CSV file that no spreadsheet takes for a formula.

    Text that begins like a formula gets an apostrophe in front, by which spreadsheets know text; numbers
    stay as they are, negative ones in digits as well.
    """
    if not isinstance(value, str) or not value.lstrip(" ").startswith(_FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
