from __future__ import annotations

import re
from pathlib import Path

import pytest

from senet.experiments.estimate import shown_seconds
from senet.experiments.progress import SilentComparison
from senet.experiments.single import train_one
from senet.training.recipe import Recipe
from tests.small import small_photos


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.001, "1 s"), (80, "80 s"), (240, "4 min"), (5_300, "88 min"), (7_200, "2 h"), (8.64e6, "100 days")],
)
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert shown_seconds(seconds) == text


class Facts(SilentComparison):
    def describe(self, facts: dict[str, str]) -> None:
        self.facts = facts


def test_a_training_says_what_it_chose_and_how_long_it_takes(tmp_path: Path) -> None:
    photos, told = small_photos(tmp_path / "photos", 24), Facts()
    options = {"model": "resnet8", "recipe": Recipe(epochs=1), "out": tmp_path / "run", "workers": 0}
    train_one(photos, **options, progress=told)  # type: ignore[arg-type]
    assert re.fullmatch(r"about \d+ s on this machine", told.facts["time"])
    assert "learning rate 0.0125 (for batch size 16)" in told.facts["recipe"]
    train_one(photos, **options, progress=told)  # type: ignore[arg-type]
    assert told.facts["time"] == "nothing is left to train"
