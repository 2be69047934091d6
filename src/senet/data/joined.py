"""Two sources as one."""

from __future__ import annotations

import numpy as np
from PIL import Image

from senet.data.decode import ImageFacts, LargeEnough, Levels
from senet.data.source import ImageSource, Indices, Pixels


class Joined(ImageSource):
    """The images of one source, then those of another with the same classes."""

    def __init__(self, first: ImageSource, second: ImageSource) -> None:
        assert first.classes == second.classes, "the sources have other classes"
        self.first, self.second = first, second
        self.classes = first.classes
        self.labels = np.concatenate([first.labels, second.labels])

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        """Return one image as `ImageSource.read` says."""
        source, own = self._where(index)
        return source.read(own, large_enough)

    def name(self, index: int) -> str:
        """Return the name the image has in its source."""
        source, own = self._where(index)
        return source.name(own)

    def examine(self, index: int) -> ImageFacts:
        """Examine one image as its source does."""
        source, own = self._where(index)
        return source.examine(own)

    def set_levels(self, levels: Levels) -> None:
        """Choose for both sources."""
        self.first.set_levels(levels)
        self.second.set_levels(levels)

    def pixels(self, indices: Indices) -> Pixels | None:
        """Return images (N, H, W, C) where both sources hold them decoded, of one shape."""
        in_first = indices < len(self.first)
        first = self.first.pixels(indices[in_first])
        second = self.second.pixels(indices[~in_first] - len(self.first))
        if first is None or second is None or first.shape[1:] != second.shape[1:]:
            return None
        images: Pixels = np.empty((len(indices), *first.shape[1:]), np.uint8)
        images[in_first] = first
        images[~in_first] = second
        return images

    def _where(self, index: int) -> tuple[ImageSource, int]:
        if index < len(self.first):
            return self.first, index
        return self.second, index - len(self.first)
