"""Images of which not every one was looked at before training: an unreadable one is replaced."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

from senet.data.decode import ImageFacts, LargeEnough, Levels, UnreadableImage
from senet.data.source import ImageSource, Indices


class ReplacedImages(ImageSource):
    """Images fetched in groups, in which the next readable one of its class stands in for an unreadable one.

    Which one that is depends on the images alone, so that a training resumes to the same bits. It
    comes from the same group, which is there already. The first replacement in a process is told as a
    warning.

    Args:
        source: one part, so that no test image is ever trained on.
    """

    def __init__(self, source: ImageSource) -> None:
        assert source.groups is not None, "only images fetched in groups are not all looked at"
        self.source = source
        self.classes, self.labels, self.groups = source.classes, source.labels, source.groups
        self.version = source.version
        self.replaced: set[int] = set()

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image, or the one that stands in for it, as `ImageSource.read` says.

        Raises:
            UnreadableImage: no image of its class in its group is readable.
        """
        try:
            return self.source.read(index, large_enough)
        except UnreadableImage as error:
            for other in self._next(index):
                try:
                    image = self.source.read(other, large_enough)
                except UnreadableImage:
                    continue
                self._warn(index, error)
                return image
            raise

    def _next(self, index: int) -> list[int]:
        assert self.groups is not None
        alike = (self.labels == self.labels[index]) & (self.groups == self.groups[index])
        others = np.flatnonzero(alike)
        behind = np.searchsorted(others, index, side="right")
        return [*others[behind:].tolist(), *others[: behind - 1].tolist()]

    def _warn(self, index: int, error: UnreadableImage) -> None:
        if not self.replaced:
            warnings.warn(
                f"{error} It is replaced by the next image of its class, and so is every other unreadable "
                "image.",
                stacklevel=3,
            )
        self.replaced.add(index)

    def name(self, index: int) -> str:
        """Return the name in the source."""
        return self.source.name(index)

    def names(self, indices: Indices) -> list[str]:
        """Return the names in the source."""
        return self.source.names(indices)

    def examine(self, index: int) -> ImageFacts:
        """Examine the image itself, never one that stands in for it."""
        return self.source.examine(index)

    def set_levels(self, levels: Levels) -> None:
        """Choose for the source."""
        self.source.set_levels(levels)
