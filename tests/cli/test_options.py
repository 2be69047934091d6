from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields
from typing import Literal

import pytest

from senet.blocks.se_config import SEConfig
from senet.cli.options import Parser, add_settings, given_settings, with_given
from senet.errors import SenetError
from senet.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings:
    count: int = field(default=3, metadata={"help": "how many, at 100 %"})
    shape: Literal["round", "square"] = field(default="round", metadata={"help": "which shape"})
    loud: bool = field(default=False, metadata={"help": "be loud"})
    stages: tuple[int, ...] | None = field(default=None, metadata={"help": "which stages"})
    colours: tuple[Literal["red", "blue"], ...] | None = field(default=None, metadata={"help": "colours"})


def parse(*words: str, settings: type = Settings) -> argparse.Namespace:
    parser = Parser(prog="senet")
    add_settings(parser, "settings", settings)
    return parser.parse_args(words)


def test_only_what_was_given_counts() -> None:
    assert given_settings(parse(), Settings) == {}
    given = parse("--count", "5", "--loud", "--stages", "2", "4")
    assert given_settings(given, Settings) == {"count": 5, "loud": True, "stages": (2, 4)}
    assert with_given(Settings(shape="square"), given) == Settings(
        count=5, shape="square", loud=True, stages=(2, 4)
    )
    assert given_settings(parse("--no-loud"), Settings) == {"loud": False}
    assert given_settings(parse("--colours", "blue", "red"), Settings) == {"colours": ("blue", "red")}


@pytest.mark.parametrize(
    "words", [("--count", "x"), ("--shape", "oval"), ("--stages",), ("--colours", "grey"), ("--unknown",)]
)
def test_a_wrong_word_is_one_sentence(words: tuple[str, ...]) -> None:
    with pytest.raises(SenetError, match="--help"):
        parse(*words)


def test_a_second_place_may_come_after_options() -> None:
    parser = Parser(prog="senet")
    add_settings(parser, "settings", Settings)
    parser.add_argument("model")
    parser.add_argument("data", nargs="?")
    for words in (["m", "d", "--count", "5"], ["m", "--count", "5", "d"], ["--count", "5", "m", "d"]):
        found = parser.parse_args(words)
        assert (found.model, found.data, found.count) == ("m", "d", 5)
    with pytest.raises(SenetError, match="Unexpected argument 'e'"):
        parser.parse_args(["m", "--count", "5", "d", "e"])


def test_help_survives_percent_signs() -> None:
    parser = Parser(prog="senet")
    add_settings(parser, "settings", Settings)
    text = parser.format_help()
    assert "at 100 % (default: 3)" in text and "red|blue" in text


@pytest.mark.parametrize("settings", [Recipe, SEConfig])
def test_every_field_is_an_option(settings: type) -> None:
    for each in fields(settings):
        option = f"--{each.name.replace('_', '-')}"
        words = [option]
        if each.type != "bool":
            words.append(str(each.default) if each.default not in (None, ()) else "2")
        assert each.name in given_settings(parse(*words, settings=settings), settings), option
