from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from senet.experiments.changed_images import MOST_SHOWN, THUMBNAIL_SIDE, changed_images
from tests.small import small_source

# Labels of small_source are 0, 1, 2, 0, 1, …; two seeds, six images.
PLAIN = np.array([[0, 0, 2, 1, 1, 2], [0, 0, 2, 2, 0, 2]])
SE = np.array([[0, 1, 0, 0, 1, 2], [0, 1, 2, 2, 1, 1]])


def test_fixed_and_broken_are_told_apart_and_ordered_by_seeds() -> None:
    fixed, broken = changed_images(small_source(6), PLAIN, SE)
    assert [(each.name, each.label, each.seeds_changed) for each in fixed] == [
        ("image 1", 1, 2),
        ("image 3", 0, 1),
        ("image 4", 1, 1),
    ]
    assert [(each.plain_prediction, each.se_prediction) for each in fixed] == [(0, 1), (1, 0), (0, 1)]
    assert [(each.name, each.plain_prediction, each.se_prediction) for each in broken] == [
        ("image 2", 2, 0),
        ("image 5", 2, 1),
    ]


def test_an_image_fixed_in_one_seed_and_broken_in_another_is_neither() -> None:
    source = small_source(1)
    assert changed_images(source, np.array([[0], [1]]), np.array([[1], [0]])) == ((), ())


def test_thumbnails_are_small_pictures_and_few() -> None:
    source = small_source(60, side=200)
    fixed, broken = changed_images(source, np.full((1, 60), -1), source.labels[None])
    assert (len(fixed), len(broken)) == (MOST_SHOWN, 0)
    head, content = fixed[0].thumbnail.split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
