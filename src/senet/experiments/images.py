"""Images made ready for an experiment: checked, described, and the recipe fitted to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from senet.data.check import CheckedImages, check_images
from senet.data.images import open_images
from senet.data.part import Part
from senet.data.source import ArraySource, ImageSource
from senet.data.statistics import channel_statistics
from senet.errors import SenetError
from senet.insight.results import DataSummary
from senet.networks.provenance import Provenance
from senet.text import counted
from senet.training.execution import Execution
from senet.training.images import TrainingImages, prepare_images, provenance_of_training, test_transform
from senet.training.processes import ALONE, Processes
from senet.training.recipe import FittedRecipe, Recipe
from senet.training.recipe_choice import Situation, choose, largest_size

# Up to this side, images are padded and cropped as CIFAR's are; larger ones are cropped and resized.
LARGEST_SMALL_IMAGE = 64
NAMES_AT_ONCE = 50_000


@dataclass(frozen=True, kw_only=True)
class ReadyImages:
    """Checked images and the recipe fitted to them.

    Attributes:
        recipe: in which everything is chosen.
        mean: of each channel of the training images, 0 to 1.
        std: of each channel.
        fingerprint: differs where the images' content, names, labels, split or groups differ.
        choices: what of the recipe was chosen, and why.
    """

    checked: CheckedImages
    recipe: FittedRecipe
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    choices: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.checked.data.classes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on the images that a verdict must carry."""
        return self.checked.data.warnings + self.checked.warnings

    @property
    def small(self) -> bool:
        """Whether the images are as small as CIFAR's."""
        return self.checked.median_size <= LARGEST_SMALL_IMAGE

    def loaders(self, *, seed: int, workers: int, processes: Processes = ALONE) -> TrainingImages:
        """Return what this process loads of one training."""
        data = self.checked.data
        return prepare_images(
            data.train,
            data.test,
            self.recipe,
            channels=self.checked.channels,
            mean=self.mean,
            std=self.std,
            seed=seed,
            workers=workers,
            process=processes.number,
            processes=processes.count,
        )

    def fitted_to(self, recipe: Recipe, situation: Situation) -> ReadyImages:
        """Return the same images with ``recipe`` fitted to the network as well, at the same size."""
        known = replace(situation, images=len(self.checked.data.train))
        fitted, choices = fit_recipe(recipe, self.checked.median_size, known)
        assert fitted.image_size == self.recipe.image_size, "the network changed the image size"
        return replace(self, recipe=fitted, choices=choices)

    def kept(self) -> dict[str, Any]:
        """Return what belongs to a network trained on these images, as plain values."""
        return {
            "classes": self.classes,
            "channels": self.checked.channels,
            "mean": self.mean,
            "std": self.std,
        }

    def provenance(self, data: str | None, test_fraction: float | None) -> Provenance:
        """Return what belongs to a network trained on these images besides its weights.

        Args:
            data: where they are, to be found from every working folder; ``None`` for the embedded ones.
            test_fraction: that was asked for.
        """
        return provenance_of_training(
            self.recipe,
            classes=self.classes,
            channels=self.checked.channels,
            mean=self.mean,
            std=self.std,
            data=data,
            test_fraction=test_fraction,
            levels=self.checked.levels,
            test_images="" if self.checked.data.own_test else fingerprint_of(self.checked.data.test),
        )

    def summary(self) -> DataSummary:
        """Return what the report says about the images."""
        data = self.checked.data
        counts = np.bincount(data.train.labels, minlength=len(data.classes))
        return DataSummary(
            name=data.name,
            location=data.location,
            split=f"{data.split} {self.checked.note}".rstrip(),
            classes=data.classes,
            train_counts=tuple(counts.tolist()),
            test_labels=tuple(data.test.labels.tolist()),
            image_size=self.recipe.image_size,
            channels=self.checked.channels,
            unreadable=self.checked.unreadable,
            warnings=self.warnings,
        )


def ready_images(
    location: str | Path | None,
    recipe: Recipe,
    *,
    test_fraction: float | None,
    workers: int,
    progress: Callable[[int, int], None] | None,
    processes: Processes = ALONE,
    cache_gb: float | None = None,
    fetching: Callable[[int, int], None] | None = None,
    situation: Situation | None = None,
    max_unreadable: float | None = None,
) -> ReadyImages:
    """Open and check images, and choose what the recipe leaves to them.

    Args:
        location: as `open_images` takes it.
        recipe: how to train; what it leaves open is chosen.
        test_fraction: share of the images to test on where they come without a split; ``None`` takes 0.2.
        workers: processes that decode.
        progress: told how many of all images have been checked.
        processes: those that share the checking.
        cache_gb: of streamed shards, as `open_images` says.
        fetching: told how many of all shards have been fetched.
        situation: what is known of the training before the images are.
        max_unreadable: how many images may be damaged, as `check_images` says.

    Raises:
        SenetError: the images cannot be used; the sentence says why.
    """
    data = open_images(location, test_fraction=test_fraction, cache_gb=cache_gb, progress=fetching)
    part = Part(process=processes.number, processes=processes.count)
    checked = check_images(
        data,
        workers=workers,
        progress=progress,
        part=part,
        gather=processes.gather,
        most_unreadable=max_unreadable,
    )
    situation = replace(situation or Situation(), images=len(checked.data.train))
    fitted, choices = fit_recipe(recipe, checked.median_size, situation)
    replace(part, accumulate=fitted.accumulate).check_batch(fitted.batch_size, situation.images)
    mean, std = channel_statistics(
        checked.data.train, test_transform(fitted, checked.channels), workers=workers
    )
    return ReadyImages(
        checked=checked,
        recipe=fitted,
        mean=mean,
        std=std,
        fingerprint=fingerprint_of(checked.data.train, checked.data.test, content=checked.content),
        choices=choices,
    )


def fit_recipe(
    recipe: Recipe, median_size: int, situation: Situation
) -> tuple[FittedRecipe, tuple[str, ...]]:
    """Return ``recipe`` with everything chosen that it leaves open, and each choice with its reason.

    Args:
        recipe: how to train.
        median_size: of the images' shorter sides, pixels.
        situation: what decides besides.

    Raises:
        SenetError: there are too few images to train on, or a choice does not go with what was given.
    """
    if situation.images < 2:
        raise SenetError(
            f"There is only {counted(situation.images, 'training image')}; training needs at least 2."
        )
    crop = recipe.crop
    if crop == "auto":
        crop = "pad" if median_size <= LARGEST_SMALL_IMAGE else "resized"
    size, told = recipe.image_size, []
    if size == 0 and crop == "pad":
        size = median_size
    elif size == 0:
        largest, reason = largest_size(situation)
        size = min(largest, median_size)
        if reason and largest < median_size:
            told.append(f"{size}×{size} pixels ({reason})")
    fitted, choices = choose(replace(recipe, crop=crop, image_size=size), situation)
    return fitted, (*told, *choices)


def fingerprint_of(*sources: ImageSource, content: str = "") -> str:
    """Return a digest of the names, labels and groups of images, and of ``content``."""
    digest = hashlib.blake2b(content.encode(), digest_size=12)
    for source in sources:
        digest.update(np.ascontiguousarray(source.labels).tobytes())
        if source.groups is not None:  # they decide the order
            digest.update(np.ascontiguousarray(source.groups).tobytes())
        for start in range(0, len(source), NAMES_AT_ONCE):
            names = source.names(np.arange(start, min(start + NAMES_AT_ONCE, len(source)), dtype=np.int64))
            digest.update("".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def images_and_workers(
    data: str | Path | None,
    recipe: Recipe,
    *,
    workers: int | None,
    parallel: int,
    test_fraction: float | None,
    execution: Execution,
    processes: Processes,
    checking: Callable[[int, int], None] | None,
    fetching: Callable[[int, int], None] | None,
    situation: Situation | None = None,
) -> tuple[ReadyImages, int]:
    """Return the images, looked at, and how many processes are to decode them; args as for `make_plan`."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if processes.count > 1 else 1
    count = usual_workers(local) if workers is None else workers
    images = ready_images(
        data,
        recipe,
        test_fraction=test_fraction,
        workers=count,
        progress=checking,
        processes=processes,
        cache_gb=execution.cache_gb,
        fetching=fetching,
        situation=situation,
        max_unreadable=execution.max_unreadable,
    )
    if workers is None and isinstance(images.checked.data.train, ArraySource):
        count = 0  # nothing to decode: processes would only cost time
    elif workers is None:
        count = usual_workers(local * parallel)
    return images, count


def usual_workers(sharing: int = 1) -> int:
    """Return how many processes decode images where nobody chose.

    Args:
        sharing: trainings or parts of one that share this machine.
    """
    return max(1, min(8, (os.cpu_count() or 1) // sharing))
