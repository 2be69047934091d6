from __future__ import annotations

from pathlib import Path

import pytest

import senet
from senet.experiments.command import job_command, python_call
from senet.training.recipe import Recipe


def test_the_call_is_python_that_means_the_same() -> None:
    given = {
        "data": Path("my photos"),
        "model": None,
        "se": {"reduction": 8},
        "recipe": Recipe(epochs=3, schedule="step", step_epochs=(2,)),
        "seeds": 5,
    }
    text = python_call("compare", **given)
    assert text == (
        "senet.compare(data='my photos', se={'reduction': 8}, "
        "recipe=senet.Recipe(epochs=3, schedule='step', step_epochs=(2,)), seeds=5)"
    )
    heard: dict[str, object] = {}
    stand_in = type("senet", (), {"compare": lambda **options: heard.update(options), "Recipe": senet.Recipe})
    eval(text, {"senet": stand_in})
    assert heard == {
        **{name: value for name, value in given.items() if value is not None},
        "data": "my photos",
    }


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("senet compare --out x", "senet compare --out x --job 2/6"),
        ("senet compare 'my photos' --parallel 4 --out x", "senet compare 'my photos' --out x --job 2/6"),
        ("senet compare --parallel=4", "senet compare --job 2/6"),
        ("senet.compare()", "senet.compare_job('2/6')"),
        ("senet.compare(seeds=3, parallel=2)", "senet.compare_job('2/6', seeds=3)"),
        ("senet.compare(parallel=2)", "senet.compare_job('2/6')"),
    ],
)
def test_one_job_of_a_comparison_has_a_command(command: str, expected: str) -> None:
    assert job_command(command, "2/6") == expected
