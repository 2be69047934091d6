from __future__ import annotations

import io

import pytest
from rich.table import Table

from senet.cli.terminal import LEAST_WIDTH, Console, plain

NAME = "\x1b]0;owned\x07:cat:[red]\u202e"


def test_names_are_shown_and_not_obeyed() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    table = Table()
    table.add_row(plain(NAME))
    console.print(table)
    console.print(plain("two\nlines"))
    console.print("a\x1b[2Jb\u202e", markup=False, soft_wrap=True)
    text = console.file.getvalue()
    for shown in (r"\x1b]0;owned\x07:cat:[red]\u202e", r"two\nlines", r"a\x1b[2Jb\u202e"):
        assert shown in text
    assert not set("\x07\u202e") & set(text) and "\x1b]" not in text


@pytest.mark.parametrize("columns", ["0", "1", "abc", ""])
def test_any_number_of_columns_can_be_read(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    console = Console(file=io.StringIO())
    console.print("resnet20 0.27 M")
    assert "resnet20 0.27 M" in console.file.getvalue()
    assert console.width >= LEAST_WIDTH


def test_colours_and_bars_still_reach_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    console.print("[bold]verdict[/bold]")
    assert "\x1b[1mverdict" in console.file.getvalue()
