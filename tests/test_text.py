from __future__ import annotations

import pytest

from senet.text import counted, csv_cell, printable, quoted, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("Bär × 猫 👩‍🚀", "Bär × 猫 👩‍🚀"),
        ("a\x1b[2Jb\x07", r"a\x1b[2Jb\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("exe.\u202egpj", r"exe.\u202egpj"),
        ("a\u2028b", r"a\u2028b"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode("utf-8")


def test_lines_may_be_kept() -> None:
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (1200, "class", "1,200 classes"),
        (2, "copy", "2 copies"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
        (2, "process", "2 processes"),
    ],
)
def test_nouns_are_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_a_name_in_quotes_shows_a_byte_with_one_backslash() -> None:
    assert quoted("cat's") == '"cat\'s"'
    assert quoted(r"caf\xe9") == quoted("caf\udce9") == r"'caf\xe9'"
    assert quoted("a\x1b") == r"'a\x1b'"


def test_an_irregular_plural_is_given() -> None:
    assert counted(2, "person", "people") == "2 people"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1"])
def test_formulas_become_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["cat", "", "-1.5", "+2", "1e5", 3, -4.5, None, True, "a=b", "résumé"])
def test_other_cells_stay(value: object) -> None:
    assert csv_cell(value) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("short", "short"),
        ("a\n b", "a b"),
        ("Greater spotted warbler, plate 007", "Greater spot…, plate 007"),
    ],
)
def test_shortened_keeps_both_ends(name: str, text: str) -> None:
    assert shortened(name) == text
    assert len(shortened(name)) <= 24
