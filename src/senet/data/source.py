"""The one interface through which senet sees images, and the sources that need no file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from senet.data.decode import ImageFacts, LargeEnough, Levels, UnreadableImage, decode, examine
from senet.errors import SenetError
from senet.shown import Rows, Shown, Table
from senet.text import counted

__all__ = ["ArraySource", "EncodedSource", "ImageData", "ImageSource", "Subset", "UnreadableImage"]

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


class ImageSource(ABC):
    """A numbered list of labelled images.

    Sources can be pickled, so that worker processes get their own.

    Attributes:
        classes: names; a label is an index into them.
        labels: (N,) int64.
        groups: (N,) int64 where images are fetched in groups (shards) as they are first needed: the group
            of each image. `grouped_order` keeps each group's images near each other. ``None`` where any
            order is as quick as any other.
        version: what is known of the content of all images where only some of them are looked at before
            training, such as the hashes of their files; else empty.
    """

    classes: tuple[str, ...]
    labels: Indices
    groups: Indices | None = None
    version: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image, upright, in mode "L" or "RGB".

        Args:
            index: from 0 to ``len(self) - 1``.
            large_enough: the image may come back smaller than stored where that saves time, but at a
                size of which this is true; ``None`` asks for the size as stored.

        Raises:
            UnreadableImage: the image is damaged.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return where the image is, in words for people."""

    def names(self, indices: Indices) -> list[str]:
        """Return what `name` returns, of many images at once, which some sources do much faster."""
        return [self.name(index) for index in indices.tolist()]

    def examine(self, index: int) -> ImageFacts:
        """Decode one image for its size and colour only, raising `UnreadableImage` as `read` does."""
        image = self.read(index)
        return ImageFacts.of(image, image.tobytes(), image.size)

    def set_levels(self, levels: Levels) -> None:
        """Choose what becomes black and what becomes white of 16-bit greyscale, in all images."""
        return

    def pixels(self, indices: Indices) -> Pixels | None:
        """Return images (N, H, W, C) that lie decoded in memory; ``None`` where they do not."""
        return None


class EncodedSource(ImageSource):
    """Images stored as picture files: a subclass only fetches the bytes."""

    _levels: Levels | None = None

    @abstractmethod
    def content(self, index: int) -> bytes | memoryview:
        """Return the bytes of one picture file, or raise `UnreadableImage`."""

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image as `ImageSource.read` says."""
        return decode(self.content(index), self.name(index), large_enough, self._levels)

    def examine(self, index: int) -> ImageFacts:
        """Decode one image, a JPEG at an eighth of its size, and tell its full size and colour."""
        return examine(self.content(index), self.name(index))

    def set_levels(self, levels: Levels) -> None:
        """Choose black and white of 16-bit greyscale, as `decode` says."""
        self._levels = levels


class ArraySource(ImageSource):
    """Images held in memory as one array.

    Args:
        images: uint8, (N, H, W) greyscale or (N, H, W, C) with one or three channels.
        labels: N whole numbers, each an index into ``classes``.
        classes: names.
        names: one per image; numbered where left out.

    Raises:
        SenetError: shapes, types or labels do not fit together.
    """

    def __init__(
        self,
        images: npt.NDArray[np.generic],
        labels: npt.ArrayLike,
        classes: Sequence[str],
        names: Sequence[str] | None = None,
    ) -> None:
        if images.dtype != np.uint8:
            raise SenetError(f"Images must be of type uint8 (0 to 255), not {images.dtype}.")
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
            raise SenetError(
                f"Images must have the shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {images.shape}."
            )
        if 0 in images.shape[1:]:
            raise SenetError(f"Images must have at least one pixel, not the shape {images.shape}.")
        label_array = np.asarray(labels)
        if not np.issubdtype(label_array.dtype, np.integer) or label_array.shape != images.shape[:1]:
            raise SenetError(
                f"Labels must be {counted(len(images), 'whole number')}, one per image, not an array of "
                f"shape {label_array.shape} and type {label_array.dtype}."
            )
        if names is not None and len(names) != len(images):
            raise SenetError(f"There must be one name per image, {len(images):,} in all, not {len(names):,}.")
        self.classes = tuple(classes)
        self.labels = label_array.astype(np.int64)
        require_labels_in_range(self.labels, self.classes, "the array of labels")
        self._images: Pixels = images.reshape(*images.shape[:3], -1).astype(np.uint8, copy=False)
        self._names = None if names is None else tuple(names)

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image at its stored size."""
        image = self._images[index]
        return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)

    def name(self, index: int) -> str:
        """Return the given name or "image 7"."""
        return f"image {index}" if self._names is None else self._names[index]

    def pixels(self, indices: Indices) -> Pixels:
        """Return images (N, H, W, C)."""
        return self._images[indices]


class Subset(ImageSource):
    """Some images of another source, in the order given."""

    def __init__(self, source: ImageSource, indices: Indices) -> None:
        self.source: ImageSource = source
        self.indices = indices
        if isinstance(
            source, Subset
        ):  # refer to the whole itself, so that reading never goes through a chain
            self.source, self.indices = source.source, source.indices[indices]
        self.classes = source.classes
        self.labels = source.labels[indices]
        self.groups = None if source.groups is None else source.groups[indices]
        self.version = source.version

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image as `ImageSource.read` says."""
        return self.source.read(int(self.indices[index]), large_enough)

    def name(self, index: int) -> str:
        """Return the name the image has in the whole source."""
        return self.source.name(int(self.indices[index]))

    def names(self, indices: Indices) -> list[str]:
        """Return the names the images have in the whole source."""
        return self.source.names(self.indices[indices])

    def examine(self, index: int) -> ImageFacts:
        """Examine one image as the whole source does."""
        return self.source.examine(int(self.indices[index]))

    def set_levels(self, levels: Levels) -> None:
        """Choose for all images of the whole source."""
        self.source.set_levels(levels)

    def pixels(self, indices: Indices) -> Pixels | None:
        """Return images (N, H, W, C) where the whole source holds them decoded."""
        return self.source.pixels(self.indices[indices])


@dataclass(frozen=True, kw_only=True, repr=False)
class ImageData(Shown):
    """Training and test images with one class mapping.

    Attributes:
        name: short, for titles.
        location: what the user gave.
        train: images to train on; their classes decide the mapping.
        test: images never trained on.
        classes: names; a label is an index into them.
        split: how training and test images were told apart, as a sentence.
        own_test: whether the images came with a test part of their own.
        warnings: sentences on what may be not as the user thinks.
    """

    name: str
    location: str
    train: ImageSource
    test: ImageSource
    classes: tuple[str, ...]
    split: str
    own_test: bool = True
    warnings: tuple[str, ...] = ()

    def to_rows(self) -> Rows:
        """Return one row for each class."""
        train, test = (
            np.bincount(each.labels, minlength=len(self.classes)).tolist() for each in (self.train, self.test)
        )
        return [
            {"class": name, "training_images": train[label], "test_images": test[label]}
            for label, name in enumerate(self.classes)
        ]

    def table(self) -> Table:
        """Return a line for each class."""
        return Table(
            warnings=self.warnings,
            title=(
                f"{self.name}: {len(self.train):,} training and {len(self.test):,} test images.",
                self.split,
            ),
            head=("class", "training images", "test images"),
            lines=[
                (name, f"{each['training_images']:,}", f"{each['test_images']:,}")
                for name, each in zip(self.classes, self.to_rows(), strict=True)
            ],
            numbers=(1, 2),
        )


def require_labels_in_range(labels: Indices, classes: Sized, where: str) -> None:
    """Raise `SenetError` unless every label is an index into ``classes``."""
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise SenetError(
            f"{where} has {counted(len(wrong), 'label')} outside 0 to {len(classes) - 1} (the first is "
            f"{wrong[0]}): images without a class, often marked -1, cannot be used."
        )
