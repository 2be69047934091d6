from __future__ import annotations

import argparse
from typing import Any

import pytest

from senet.cli.options import Parser
from senet.cli.shared import add_shared_arguments, shared_arguments
from senet.errors import SenetError


def parsed(*words: str) -> dict[str, Any]:
    parser = Parser(prog="senet")
    add_shared_arguments(parser)
    given = parser.parse_args(words, argparse.Namespace(model=None, command="senet"))
    return shared_arguments(given)


@pytest.mark.parametrize(
    "words", [("--stream", "owner/pets"), ("--stream", "hf://owner/pets"), ("hf://owner/pets",)]
)
def test_streaming_is_a_prefix_of_the_name(words: tuple[str, ...]) -> None:
    assert parsed(*words)["data"] == "hf://owner/pets"


def test_without_it_the_name_is_as_given() -> None:
    assert parsed("owner/pets")["data"] == "owner/pets" and parsed()["data"] is None
    assert parsed("hf://owner/pets", "--cache-gb", "2.5")["execution"].cache_gb == 2.5


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(SenetError, match="--stream has no effect without the name of a dataset"):
        parsed("--stream")
    with pytest.raises(SenetError, match=r"cache_gb must be above 0, not 0\.0\."):
        parsed("--cache-gb", "0")
