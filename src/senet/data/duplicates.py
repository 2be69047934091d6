"""Images that lie in both parts, have several labels or show nothing: counted, with a sentence for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from senet.data.decode import ImageFacts, digest_of
from senet.data.source import ImageData, Indices, Pixels
from senet.text import counted, quoted

# One row for every image that was looked at.
FACTS = np.dtype(
    [
        ("width", np.int32),
        ("height", np.int32),
        ("greyscale", np.bool_),
        ("low", np.int32),  # of 16-bit greyscale; -1 elsewhere
        ("high", np.int32),
        ("plain", np.bool_),  # one colour throughout
        ("digest", "V16"),
        ("thumbnail", np.uint8, 64),
    ]
)
Facts = npt.NDArray[Any]

# Of each of the 8 × 8 cells, in levels of 256: a JPEG compressed anew or an image resized stays below.
NEAR = 3.0
# Standard deviation of the cells. Images with less contrast are alike without being the same.
LEAST_CONTRAST = 12.0
# The search takes 0.5 KB for each image.
MOST_COMPARED = 500_000


def row_of(facts: ImageFacts) -> tuple[Any, ...]:
    """Return an image's facts as a row of `FACTS`."""
    low, high = facts.levels or (-1, -1)
    thumbnail = np.frombuffer(facts.thumbnail, np.uint8)
    return facts.width, facts.height, facts.greyscale, low, high, facts.plain, facts.digest, thumbnail


def facts_of(pixels: Pixels) -> Facts:
    """Return a row of facts for each of the images (N, H, W, C), which lie decoded in memory."""
    count, height, width, channels = pixels.shape
    facts = np.zeros(count, FACTS)
    facts["width"], facts["height"], facts["greyscale"] = width, height, channels == 1
    facts["low"] = facts["high"] = -1
    facts["plain"] = (pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3))
    facts["digest"] = [digest_of(image.tobytes()) for image in pixels]
    cells = pixels.mean(axis=3, dtype=np.float32)
    for axis, side in ((1, height), (2, width)):
        starts = np.arange(8) * side // 8
        sizes = np.maximum(np.diff(starts, append=side), 1)
        cells = np.add.reduceat(cells, starts, axis=axis) / (sizes[:, None] if axis == 1 else sizes)
    facts["thumbnail"] = cells.round().reshape(count, 64)
    return facts


def repetitions(
    data: ImageData, train: Facts, test: Facts, train_at: Indices, test_at: Indices
) -> tuple[str, ...]:
    """Return what a verdict must carry about repeated and empty images, as sentences.

    Args:
        data: the images.
        train: facts of training images.
        test: facts of test images.
        train_at: which training images these are.
        test_at: which test images these are.
    """
    found = []
    first, second = _exact(train, test)
    if len(second):
        one, other = data.test.name(int(test_at[second[0]])), data.train.name(int(train_at[first[0]]))
        found.append(
            f"{len(second):,} of {counted(len(test), 'test image')} {_are(second)} identical to a "
            f"training image ({one} is {other}), so the error on them measures memory, not learning: "
            "remove them from one of the splits."
        )
    first, second = _near(train, test, np.setdiff1d(np.arange(len(test)), second))
    if len(second):
        one, other = data.test.name(int(test_at[second[0]])), data.train.name(int(train_at[first[0]]))
        found.append(
            f"{len(second):,} of {counted(len(test), 'test image')} {_are(second)} nearly identical to a "
            f"training image (such as {one} and {other}): if they show the same object, move both into "
            "the same split."
        )
    found += _several_labels(data, train, train_at)
    plain = np.flatnonzero(train["plain"])
    if len(plain):
        name = data.train.name(int(train_at[plain[0]]))
        found.append(
            f"{len(plain):,} of {counted(len(train), 'training image')} {_are(plain)} a single colour "
            f"(such as {name}): nothing can be learned from such images."
        )
    if len(train) > 1 and len(np.unique(train["digest"])) == 1:
        found.append(f"All {counted(len(train), 'training image')} are identical: nothing can be learned.")
    return tuple(found)


def _are(indices: Indices) -> str:
    return "is" if len(indices) == 1 else "are"


def _exact(train: Facts, test: Facts) -> tuple[Indices, Indices]:
    """Return pairs of a training image and a test image of the same content, one for each test image."""
    digests, first = np.unique(train["digest"], return_index=True)
    at = np.searchsorted(digests, test["digest"]).clip(max=len(digests) - 1)
    same = np.flatnonzero(digests[at] == test["digest"])
    return first[at[same]], same


def _near(train: Facts, test: Facts, rest: Indices) -> tuple[Indices, Indices]:
    """Return pairs of a training image and one of the test images ``rest`` that look the same."""
    none: Indices = np.empty(0, dtype=np.int64)
    if len(train) + len(rest) > MOST_COMPARED:
        return none, none
    some = np.flatnonzero(train["thumbnail"].std(axis=1) >= LEAST_CONTRAST)
    rest = rest[test["thumbnail"][rest].std(axis=1) >= LEAST_CONTRAST]
    if not len(some) or not len(rest):
        return none, none
    from scipy.spatial import cKDTree  # here, as most processes never compare images

    tree = cKDTree(train["thumbnail"][some].astype(np.float32))
    distances, nearest = tree.query(
        test["thumbnail"][rest].astype(np.float32), p=np.inf, distance_upper_bound=NEAR + 0.5
    )
    close = np.isfinite(distances)
    return some[nearest[close]], rest[close]


def _several_labels(data: ImageData, train: Facts, train_at: Indices) -> list[str]:
    labels = data.train.labels[train_at]
    _, group = np.unique(train["digest"], return_inverse=True)
    order = np.lexsort((labels, group))
    group, labels = group[order], labels[order]
    other = np.flatnonzero((group[1:] == group[:-1]) & (labels[1:] != labels[:-1]))
    if not len(other):
        return []
    count = len(np.unique(group[other]))
    first, second = (int(train_at[at]) for at in order[other[0] : other[0] + 2])
    one, another = (
        f"{data.train.name(at)} as {quoted(data.classes[data.train.labels[at]])}" for at in (first, second)
    )
    has = "has" if count == 1 else "have"
    return [
        f"{counted(count, 'training image')} {has} more than one label ({one} and {another}): "
        "keep the right one."
    ]
