from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from senet.data.source import ArraySource, Indices
from senet.errors import SenetError
from senet.experiments.images import fingerprint_of, fit_recipe, ready_images
from senet.experiments.single import train_one
from senet.training.execution import Execution
from senet.training.recipe import Recipe
from senet.training.recipe_choice import Situation


@pytest.mark.parametrize(
    ("median_size", "full_size", "images", "crop", "size"),
    [
        (28, True, 100, "pad", 28),
        (64, False, 100, "pad", 64),
        (65, True, 100, "resized", 65),
        (65, False, 100, "resized", 64),
        (150, True, 100, "resized", 150),
        (500, True, 100, "resized", 224),
        (500, False, 20_000, "resized", 224),
        (500, False, 2_000, "resized", 128),
        (500, False, 100, "resized", 64),
    ],
)
def test_crop_and_size_follow_the_images(
    median_size: int, full_size: bool, images: int, crop: str, size: int
) -> None:
    fitted, choices = fit_recipe(Recipe(), median_size, Situation(images=images, full_size=full_size))
    assert (fitted.crop, fitted.image_size) == (crop, size)
    fewer = "64×64 pixels (for 100 images without pretrained weights)" in choices
    assert fewer == (median_size > size == 64)


def test_what_the_user_chose_is_kept() -> None:
    recipe = Recipe(crop="resized", image_size=40, epochs=3)
    fitted, _ = fit_recipe(recipe, 28, Situation(images=100, full_size=False))
    assert (fitted.crop, fitted.image_size, fitted.epochs) == ("resized", 40, 3)


def test_one_image_cannot_be_trained_on() -> None:
    with pytest.raises(SenetError, match="1 training image"):
        fit_recipe(Recipe(), 28, Situation(images=1))


def test_fingerprints_tell_labels_names_and_splits_apart() -> None:
    pixels = np.zeros((4, 2, 2), np.uint8)

    def source(labels: list[int], names: list[str]) -> ArraySource:
        return ArraySource(pixels[: len(labels)], labels, ("a", "b"), names)

    one, two = source([0, 1], ["x", "y"]), source([0, 1], ["u", "v"])
    assert fingerprint_of(one, two) == fingerprint_of(source([0, 1], ["x", "y"]), two)
    different = [
        fingerprint_of(one, two),
        fingerprint_of(two, one),
        fingerprint_of(source([1, 0], ["x", "y"]), two),
        fingerprint_of(source([0, 1], ["x", "z"]), two),
        fingerprint_of(source([0, 1, 0], ["x", "y", "u"]), source([1], ["v"])),
    ]
    assert len(set(different)) == len(different)


def test_the_embedded_images_are_normalised_by_their_own_statistics() -> None:
    ready = ready_images(None, Recipe(), test_fraction=None, workers=0, progress=None)
    images = ready.checked.data.train
    every_image = np.stack([np.asarray(images.read(index)) for index in range(0, len(images), 5)]) / 255
    assert ready.mean[0] == pytest.approx(every_image.mean(), abs=0.01)
    assert ready.std[0] == pytest.approx(every_image.std(), abs=0.01)
    assert ready.small and ready.checked.channels == 1
    assert ready.summary().train_counts == (500,) * 10


class SlowlyNamed(ArraySource):
    """Would take a name at a time."""

    def name(self, index: int) -> str:
        raise AssertionError("asked for one name")

    def names(self, indices: Indices) -> list[str]:
        return [f"n{index}" for index in indices.tolist()]


def test_fingerprints_ask_for_many_names_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = np.zeros((7, 2, 2), np.uint8), [0, 1, 0, 1, 0, 1, 0]
    named = ArraySource(pixels, labels, ("a", "b"), [f"n{index}" for index in range(7)])
    monkeypatch.setattr("senet.experiments.images.NAMES_AT_ONCE", 3)
    assert fingerprint_of(SlowlyNamed(pixels, labels, ("a", "b"))) == fingerprint_of(named)


def test_groups_are_part_of_the_fingerprint() -> None:
    pixels = np.zeros((2, 2, 2), np.uint8)
    found = set()
    for groups in (None, np.array([0, 0]), np.array([0, 1])):
        source = ArraySource(pixels, [0, 1], ("a", "b"))
        source.groups = groups
        found.add(fingerprint_of(source))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": Recipe(batch_size=9973, accumulate=9973)}, "cannot be divided into 9973 equal parts"),
        ({"execution": Execution(shard=True)}, "shard has no effect .*: leave it out"),
    ],
)
def test_what_cannot_be_shared_out_is_refused_before_there_is_a_folder(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SenetError, match=said):
        train_one(model="resnet8", out=tmp_path / "run", workers=0, **changes)
    assert not (tmp_path / "run").exists()
