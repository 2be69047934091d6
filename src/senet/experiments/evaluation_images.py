"""Which images an evaluation looks at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from senet.checks import one_of
from senet.data.check import check_images
from senet.data.decode import FULL_LEVELS
from senet.data.images import open_images
from senet.data.joined import Joined
from senet.data.source import ImageData, ImageSource, Indices, Subset
from senet.errors import SenetError
from senet.experiments.evaluation_subject import Subject
from senet.experiments.images import fingerprint_of
from senet.files import user_path
from senet.text import counted

Split = Literal["test", "train", "all"]


@dataclass(frozen=True, kw_only=True)
class EvaluationImages:
    """Images that can all be decoded.

    Attributes:
        source: the images.
        location: where they are.
        part: which of all images these are, as a sentence.
        unreadable: ``(name, reason)`` of every image that was skipped.
    """

    source: ImageSource
    location: str
    part: str
    unreadable: tuple[tuple[str, str], ...]

    def relabelled(self, outputs: Indices, names: tuple[str, ...]) -> ImageSource:
        """Return the images with a network's outputs as labels.

        Args:
            outputs: the output of each class.
            names: of the outputs.
        """
        source = Subset(self.source, np.arange(len(self.source), dtype=np.int64))
        source.labels, source.classes = outputs[source.labels], names
        return source


def open_part(
    subject: Subject,
    data: str | Path | None,
    *,
    split: Split | None,
    test_fraction: float | None,
    workers: int,
    progress: Callable[[int, int], None],
) -> EvaluationImages:
    """Open the images to look at.

    A run folder brings its own: without ``data``, the images that were set aside in its training.

    Args:
        subject: what is evaluated.
        data: as for `senet.open_images`; ``None`` takes the run's own, or the embedded ones.
        split: ``None`` takes the test part where there is one, or the training made one, else all.
        test_fraction: share of the images to test on where they come without a test part.
        workers: processes that decode.
        progress: told how many of all images have been looked at.

    Raises:
        SenetError: there are no such images, or a setting has no effect on them.
    """
    if split is not None:
        one_of("split", split, get_args(Split))
    if split == "all" and test_fraction is not None:
        raise SenetError(
            "test_fraction has no effect when all images are evaluated: leave it out, or "
            "choose another "
            "split."
        )
    own = subject.is_run and (data is None or _same_place(data, subject.data))
    fraction = subject.test_fraction if own and test_fraction is None and split != "all" else test_fraction
    opened = open_images(subject.data if data is None and own else data, test_fraction=fraction)
    if split is None:
        split = "test" if own or opened.own_test or test_fraction is not None else "all"
    chosen = _part(opened, split)
    empty = Subset(chosen, np.empty(0, dtype=np.int64))
    checked = check_images(
        dataclasses.replace(opened, train=chosen, test=empty),
        workers=workers,
        progress=progress,
        # How many may be damaged was asked when the run was trained.
        most_unreadable=math.inf if own else None,
        levels=subject.view.preprocess.levels or FULL_LEVELS,
    )
    if own and split == "test" and not opened.own_test and subject.test_images:
        _refuse_another_split(subject.test_images, checked.data.train, opened.location, test_fraction)
    count = len(checked.data.train)
    texts = {
        "test": f"{counted(count, 'test image')}. {opened.split}",
        "train": f"{counted(count, 'training image')}. ",
    }
    texts["train"] += opened.split
    return EvaluationImages(
        source=checked.data.train,
        location=opened.location,
        part=texts.get(split, f"All {counted(count, 'image')}, training and test."),
        unreadable=checked.unreadable,
    )


def _refuse_another_split(known: str, test: ImageSource, location: str, test_fraction: float | None) -> None:
    """Raise `SenetError` where other images than in the training are chosen at random to test on."""
    if fingerprint_of(test) == known:
        return
    trained_on = "so images that were trained on would be among the test images"
    if test_fraction is not None:
        raise SenetError(
            f"test_fraction {test_fraction:g} does not give the test images of the training, {trained_on}: "
            "leave it out."
        )
    raise SenetError(
        f"Images in {location} were added, removed or renamed since the training and the split is random, "
        f"{trained_on}: restore them, or put the new images into a folder of their own and give that."
    )


def _part(opened: ImageData, split: Split) -> ImageSource:
    train, test = opened.train, opened.test
    if split != "all":
        return test if split == "test" else train
    if isinstance(train, Subset) and isinstance(test, Subset) and train.source is test.source:
        return Subset(train.source, np.sort(np.concatenate([train.indices, test.indices])))
    return Joined(train, test)


def _same_place(data: str | Path, stored: str | None) -> bool:
    return stored is not None and stored in (str(data), str(user_path(data).resolve()))
