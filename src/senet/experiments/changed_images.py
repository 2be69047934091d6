"""The test images that SE fixed and those it broke."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from senet.data.source import ImageSource
from senet.insight.results import ChangedImage

MOST_SHOWN = 18
THUMBNAIL_SIDE = 96


def changed_images(
    test: ImageSource, plain: NDArray[np.int64], se: NDArray[np.int64]
) -> tuple[tuple[ChangedImage, ...], tuple[ChangedImage, ...]]:
    """Return the images SE fixed and the images it broke, most seeds first, `MOST_SHOWN` of each at most.

    An image counts as fixed when more seeds fixed it (plain wrong, SE right) than broke it.

    Args:
        test: the test images.
        plain: class index guessed by the plain network, (seeds, images).
        se: the same of its twin.
    """
    labels = test.labels[None, :]
    fixed_in = (plain != labels) & (se == labels)
    broken_in = (plain == labels) & (se != labels)
    net = fixed_in.sum(axis=0) - broken_in.sum(axis=0)
    return (
        _pick(test, net, fixed_in, plain, se),
        _pick(test, -net, broken_in, plain, se),
    )


def _pick(
    test: ImageSource,
    net: NDArray[np.int64],
    changed_in: NDArray[np.bool_],
    plain: NDArray[np.int64],
    se: NDArray[np.int64],
) -> tuple[ChangedImage, ...]:
    order = np.argsort(-net, kind="stable")
    chosen = [int(index) for index in order[:MOST_SHOWN] if net[index] > 0]
    return tuple(
        ChangedImage(
            name=test.name(index),
            label=int(test.labels[index]),
            plain_prediction=_most_common(plain[changed_in[:, index], index].tolist()),
            se_prediction=_most_common(se[changed_in[:, index], index].tolist()),
            seeds_changed=int(changed_in[:, index].sum()),
            thumbnail=_thumbnail(test.read(index)),
        )
        for index in chosen
    )


def _most_common(values: Sequence[int]) -> int:
    return Counter(values).most_common(1)[0][0]


def _thumbnail(image: Image.Image) -> str:
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
