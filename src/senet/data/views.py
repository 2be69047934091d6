"""What an evaluation cuts out of an image: its centre, or its centre and corners, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from senet.data.source import Pixels
from senet.data.transforms import Choices, EvalTransform
from senet.errors import SenetError

CROPS = (1, 5)


@dataclass(frozen=True, kw_only=True)
class Views(EvalTransform):
    """The centre of an image, or its four corners and its centre, as training tests it.

    Leaves as (crops · C, size, size): one crop behind the other.

    Attributes:
        crops: 1 for the centre; 5 for the corners and the centre (Krizhevsky et al. 2012).

    Raises:
        SenetError: a value is not allowed.
    """

    crops: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.crops not in CROPS:
            raise SenetError(f"crops must be 1 or 5, not {self.crops}.")

    @property
    def planes(self) -> int:
        """Channels of the array that leaves."""
        return self.crops * self.channels

    def finish(self, image_HWC: Pixels, choices: Choices) -> Pixels:
        """Cut out the crops; returns (size, size, crops · C)."""
        height, width = image_HWC.shape[:2]
        below, right = height - self.size, width - self.size
        centre = self.centre(height, width)
        corners = [(0, 0), (0, right), (below, 0), (below, right)] if self.crops > 1 else []
        cut = [image_HWC[top : top + self.size, left : left + self.size] for top, left in (*corners, centre)]
        return np.concatenate(cut, axis=2) if corners else cut[0]

    def centre(self, height: int, width: int) -> tuple[int, int]:
        """Return top and left of the centre."""
        return (height - self.size) // 2, (width - self.size) // 2


@dataclass(frozen=True, kw_only=True)
class PublishedViews(Views):
    """The same as torchvision and timm round and resample, whose published errors belong to weights.

    An image is decoded whole, brought to its channels and resized by Pillow; the longer side is rounded
    down, and halves of a pixel in front of the centre go to the even neighbour.
    """

    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def is_large_enough(self, width: int, height: int, choices: Choices) -> bool:
        """Tell that no image may be reduced while it is decoded."""
        return False

    def frame(self, image: Image.Image, choices: Choices) -> Image.Image:
        """Bring the shorter side to its length."""
        image = self.converted(image)
        width, height = image.size
        if width <= height:
            size = self.shorter_side, int(self.shorter_side * height / width)
        else:
            size = int(self.shorter_side * width / height), self.shorter_side
        return image.resize(size, Image.Resampling[self.interpolation.upper()])

    def centre(self, height: int, width: int) -> tuple[int, int]:
        """Return top and left of the centre."""
        return round((height - self.size) / 2), round((width - self.size) / 2)
