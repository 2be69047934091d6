"""From a picture to what a network takes: the preprocessing that belongs to its weights.

Imports torch, NumPy and Pillow only when a picture is made ready, so that the table of released
checkpoints can be listed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from senet.errors import SenetError
from senet.networks.specs import NetworkSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    Picture = Image.Image | NDArray[np.uint8] | Tensor

Interpolation = Literal["bilinear", "bicubic"]
ChannelOrder = Literal["RGB", "BGR"]
Scale = Literal["0..1", "0..255"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WORDNET_ORDER = "ImageNet-1k, sorted by WordNet id"
"""The order of classes in every checkpoint of the table but the authors' own files, which have another."""

# The shorter side of an image before its centre is cut out (Section 6.1 of the paper).
_SHORTER_SIDES = {224: 256, 299: 352}
_CHOICES = {
    "interpolation": get_args(Interpolation),
    "channel_order": get_args(ChannelOrder),
    "scale": get_args(Scale),
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize the shorter side, cut out the centre, bring the values to the network's scale.

    Sizes and crops round as torchvision's and timm's transforms do, and Pillow resizes in both, so
    the same picture gives the same numbers.

    Attributes:
        crop: side in pixels of the square that is cut out.
        resize: pixels of the shorter side before that.
        interpolation: of the resizing, antialiased.
        channels: of the images the network takes: 3, or 1 for greyscale.
        channel_order: of three channels.
        scale: of the values before mean and std: black to white is 0 to 1 or 0 to 255.
        mean: subtracted from each channel, in ``scale`` and ``channel_order``.
        std: what each channel is divided by after that.
        labels: the name of the order of the classes, or ``None`` where the weights are fresh.

    Raises:
        SenetError: a value is not allowed.
    """

    crop: int = 224
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    channel_order: ChannelOrder = "RGB"
    scale: Scale = "0..1"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    labels: str | None = None

    def __post_init__(self) -> None:
        for name in ("crop", "resize", "channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise SenetError(f"{name} of the preprocessing must be a whole number from 1, not {value!r}.")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SenetError(
                    f"{name} of the preprocessing is {getattr(self, name)!r}; choose {' or '.join(allowed)}."
                )
        if self.resize < self.crop:
            raise SenetError(
                f"A shorter side of {self.resize} pixels leaves no square of {self.crop}: resize to more."
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if len(getattr(self, name)) != self.channels:
                raise SenetError(
                    f"{name} of the preprocessing needs a number for each of the {self.channels} channels, "
                    f"not {getattr(self, name)!r}."
                )
        if min(self.std) <= 0:
            raise SenetError(f"std of the preprocessing must be above 0, not {self.std!r}.")

    @classmethod
    def of(cls, spec: NetworkSpec) -> Self:
        """Return what a network with fresh weights takes.

        That is the paper's crop with ImageNet's mean and std. Images of the CIFAR networks are used whole.
        """
        side = spec.input_size
        return cls(crop=side, resize=_SHORTER_SIDES.get(side, side)).with_channels(spec.in_channels)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Return what `dataclasses.asdict` and JSON made of one.

        Raises:
            SenetError: a field that does not exist, or a value that is not allowed.
        """
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise SenetError(f"Preprocessing has no field {', '.join(sorted(unknown))}.")
        return cls(**values)

    def with_channels(self, channels: int) -> Self:
        """Return the same for images of another number of channels.

        One channel gets the mean of the means; more repeat those there are in turn, as the first
        convolution's weights are repeated.
        """
        if channels == self.channels:
            return self
        return replace(
            self, channels=channels, mean=_spread(self.mean, channels), std=_spread(self.std, channels)
        )

    def __call__(self, images: Picture | Sequence[Picture]) -> Tensor:
        """Return a float32 batch, (N, channels, crop, crop).

        Args:
            images: a picture or a list of them, each a Pillow image of any mode, a uint8 array
                (H, W, C) or (H, W), or a uint8 tensor (C, H, W).

        Raises:
            SenetError: something else, or the network takes images of neither 1 nor 3 channels.
        """
        import torch

        if self.channels not in (1, 3):
            raise SenetError(
                f"Pictures have 1 or 3 channels and this network takes {self.channels}: make its input "
                "yourself."
            )
        pictures: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
        if not pictures:
            raise SenetError("An empty list has no images to make ready.")
        return torch.stack([self._one(picture) for picture in pictures])

    def _one(self, picture: Picture) -> Tensor:
        import numpy as np
        import torch
        from PIL import Image

        image = _as_image(picture, "L" if self.channels == 1 else "RGB")
        size = _resized(image.size, self.resize)
        image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        # round() takes halves to the even neighbour, as torchvision's crop does.
        left, top = (round((side - self.crop) / 2) for side in size)
        image = image.crop((left, top, left + self.crop, top + self.crop))
        pixels = np.array(image).reshape(self.crop, self.crop, self.channels)
        if self.channel_order == "BGR":
            pixels = pixels[..., ::-1].copy()
        values = torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32)
        if self.scale == "0..1":
            values = values / 255
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        return (values - mean) / std


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return width and height with the shorter side brought to ``shorter``, the other rounded down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[index % len(values)] for index in range(channels))


def _as_image(picture: Any, mode: Literal["L", "RGB"]) -> Image.Image:
    """Return a Pillow image of ``mode``."""
    import numpy as np
    import torch
    from PIL import Image

    if isinstance(picture, torch.Tensor):
        picture = picture.detach().cpu().numpy()
        if picture.ndim == 3:
            picture = np.ascontiguousarray(picture.transpose(1, 2, 0))
    if isinstance(picture, np.ndarray):
        image = _from_array(picture)
    elif isinstance(picture, Image.Image):
        image = picture
    else:
        raise SenetError(
            f"Preprocessing takes a Pillow image, a uint8 array or a uint8 tensor, not a "
            f"{type(picture).__name__}."
        )
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    if image.mode == "F":
        raise SenetError(
            "A picture of floating-point pixels has no known range: bring it to uint8, 0 to 255, first."
        )
    return image if image.mode == mode else image.convert(mode)


def _from_array(array: NDArray[Any]) -> Image.Image:
    """Return the image of (H, W, C) or (H, W) bytes."""
    import numpy as np
    from PIL import Image

    if array.dtype != np.uint8:
        raise SenetError(
            f"Preprocessing takes pixels as uint8, 0 to 255, not {array.dtype}: it scales them itself."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise SenetError(
            f"Preprocessing takes arrays (height, width, channels) and tensors (channels, height, width) "
            f"of 1 or 3 channels; as an array this one would be {array.shape}."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _from_16_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 for some of these modes, which turns the image white.
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise SenetError(
            f"The picture's pixels lie between {values.min()} and {values.max()}, and 0 to 65535 is allowed."
        )
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
