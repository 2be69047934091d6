from __future__ import annotations

from pathlib import Path

import senet
from senet.experiments.command import python_call
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
