from __future__ import annotations

from typing import Any

import pytest

import senet
from senet.errors import SenetError
from senet.experiments.view_settings import ViewSettings


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"image_size": (0,)}, r"image_size must be .*of at least 1, not \(0,\)\."),
        ({"image_size": (1.5,)}, "image_size"),
        ({"image_size": 224}, r"image_size must be .*1, not 224\."),
        ({"image_size": (224, 224)}, "image_size must name each size once"),
        ({"test_resize": (256, 256)}, "have one shorter side for each of 1 image size"),
        ({"image_size": (224, 320), "test_resize": (256,)}, "each of 2 image sizes"),
        ({"crops": 3}, r"crops must be one of 1, 5, 10, not 3\."),
        ({"crops": 10, "flip": True}, "flip has no effect with ten crops"),
        ({"fuse": True}, "fuse has no effect with a single image size:"),
        ({"image_size": (8,), "fuse": True}, "fuse has no effect with a single image size:"),
        ({"precision": "int8"}, r"precision must be one of fp32, bf16, .*not 'int8'\."),
        ({"batch_size": -1}, r"batch_size must be .*images, not -1\."),
        ({"batch_size": True}, r"batch_size must be .*images, not True\."),
        ({"crop": 5}, "no setting 'crop'; they have .* Did you mean 'crops'"),
    ],
)
def test_bad_settings_are_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence) as caught:
        ViewSettings.of(values)
    assert "\n" not in str(caught.value)


def test_settings_or_those_that_differ() -> None:
    assert ViewSettings.of(None) == ViewSettings.of({}) == ViewSettings()
    given = ViewSettings.of({"image_size": [224, 320], "crops": 10})
    assert given == ViewSettings(image_size=(224, 320), crops=10) == ViewSettings.of(given)
    assert (given.positions, given.mirrored) == (5, True)
    assert (ViewSettings(flip=True).positions, ViewSettings(flip=True).mirrored) == (1, True)
    assert senet.ViewSettings is ViewSettings
