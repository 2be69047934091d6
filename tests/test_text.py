from __future__ import annotations

import pytest

from senet.text import counted, printable


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
    ],
)
def test_nouns_are_counted(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_an_irregular_plural_is_given() -> None:
    assert counted(2, "person", "people") == "2 people"
