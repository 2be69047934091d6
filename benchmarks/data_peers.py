"""From a JPEG's bytes to a crop of 224 pixels, as uint8 (3, 224, 224), in several packages.

Every peer is given the same bytes and the same rectangle, mirrors where it is told to, and uses its
package as that package's documentation does. Those that work on whole pixels round the rectangle.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from senet.data.decode import decode
from senet.data.transforms import Choices, TrainTransform

SIZE = 224
BILINEAR = Image.Resampling.BILINEAR
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """One random crop of one photograph.

    Attributes:
        choices: what senet draws it from.
        box: left, top, right and bottom in pixels of the whole photograph.
        flip: whether it is mirrored.
    """

    choices: Choices
    box: tuple[float, float, float, float]
    flip: bool

    @property
    def whole_pixels(self) -> tuple[int, int, int, int]:
        """The box rounded."""
        left, top, right, bottom = (round(each) for each in self.box)
        return left, top, right, bottom


Path = Callable[[bytes, Crop], Pixels]
TRANSFORM = TrainTransform(size=SIZE, channels=3, crop="resized")


def senet_path() -> Path:
    """Return senet's own: decoded at the least size that the crop needs."""

    def run(content: bytes, crop: Crop) -> Pixels:
        enough = partial(TRANSFORM.is_large_enough, choices=crop.choices)
        return TRANSFORM(decode(content, "photograph", enough), crop.choices)

    return run


def pillow_path() -> Path:
    """Return what most write: decode all of it, cut out, resize, mirror."""

    def run(content: bytes, crop: Crop) -> Pixels:
        with Image.open(io.BytesIO(content)) as image:
            whole = image.convert("RGB")
        return from_hwc(np.asarray(whole.crop(crop.whole_pixels).resize((SIZE, SIZE), BILINEAR)), crop)

    return run


def pillow_box_path() -> Path:
    """Return Pillow decoding all of it and cutting out while resizing."""

    def run(content: bytes, crop: Crop) -> Pixels:
        with Image.open(io.BytesIO(content)) as image:
            return boxed(image.convert("RGB"), crop, 1)

    return run


def simplejpeg_path() -> Path:
    """Return simplejpeg's decoder in front of Pillow."""
    simplejpeg = importlib.import_module("simplejpeg")

    def run(content: bytes, crop: Crop) -> Pixels:
        return boxed(Image.fromarray(simplejpeg.decode_jpeg(content, "RGB")), crop, 1)

    return run


def simplejpeg_reduced_path() -> Path:
    """Return simplejpeg's decoder asked for no more pixels than the crop needs, in front of Pillow."""
    simplejpeg = importlib.import_module("simplejpeg")

    def run(content: bytes, crop: Crop) -> Pixels:
        height, width, _, _ = simplejpeg.decode_jpeg_header(content)
        left, top, right, bottom = crop.box
        scale = SIZE / min(right - left, bottom - top)
        least = {"min_height": int(height * scale) + 1, "min_width": int(width * scale) + 1}
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_factor=1, **(least if scale < 1 else {}))
        return boxed(Image.fromarray(pixels), crop, pixels.shape[1] / width)

    return run


def opencv_path() -> Path:
    """Return OpenCV, shrinking by areas, which unlike its linear interpolation leaves no pixel out."""
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def run(content: bytes, crop: Crop) -> Pixels:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        part = cut(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), crop)
        return from_hwc(cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA), crop)

    return run


def albumentations_path() -> Path:
    """Return albumentations behind OpenCV's decoder, with its own (linear) interpolation."""
    albumentations = importlib.import_module("albumentations")
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    made: dict[Crop, Any] = {}

    def transform(crop: Crop) -> Any:
        if crop not in made:
            left, top, right, bottom = crop.whole_pixels
            steps = [
                albumentations.Crop(left, top, right, bottom),
                albumentations.Resize(SIZE, SIZE),
                albumentations.HorizontalFlip(p=float(crop.flip)),
            ]
            made[crop] = albumentations.Compose(steps)
        return made[crop]

    def run(content: bytes, crop: Crop) -> Pixels:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        image = transform(crop)(image=cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))["image"]
        return np.ascontiguousarray(image.transpose(2, 0, 1))

    return run


def kornia_rs_path() -> Path:
    """Return kornia_rs alone, which shrinks by linear interpolation."""
    importlib.import_module("kornia_rs")
    read = importlib.import_module("kornia_rs.kornia_rs")

    def run(content: bytes, crop: Crop) -> Pixels:
        part = np.ascontiguousarray(cut(read.io.decode_image_jpegturbo(content, "rgb"), crop))
        return from_hwc(np.asarray(read.imgproc.resize(part, (SIZE, SIZE), "bilinear")), crop)

    return run


def kornia_path() -> Path:
    """Return kornia on CPU tensors behind Pillow's decoder, with its own interpolation (not antialiased)."""
    kornia = importlib.import_module("kornia")

    def run(content: bytes, crop: Crop) -> Pixels:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
        part = torch.from_numpy(cut(pixels, crop).copy()).permute(2, 0, 1)[None].float()
        small = kornia.geometry.transform.resize(part, (SIZE, SIZE))
        small = kornia.geometry.transform.hflip(small) if crop.flip else small
        out: Pixels = small[0].round().clamp(0, 255).byte().numpy()
        return out

    return run


def torchvision_path() -> Path:
    """Return torchvision's transforms v2 on tensors, behind its own decoder where that loads."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        # Only there: where torchvision's operators load, they must not be declared before.
        from tests.references import import_torchvision

        import_torchvision()
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    read = torchvision_decoder(functional)

    def run(content: bytes, crop: Crop) -> Pixels:
        left, top, right, bottom = crop.whole_pixels
        small = functional.resized_crop(read(content), top, left, bottom - top, right - left, [SIZE, SIZE])
        out: Pixels = (functional.horizontal_flip(small) if crop.flip else small).numpy()
        return out

    return run


def torchvision_decoder(functional: ModuleType) -> Callable[[bytes], torch.Tensor]:
    """Return torchvision's own decoder, or Pillow's where its compiled part does not fit this torch."""
    if hasattr(torch.ops.image, "decode_jpeg"):
        images = importlib.import_module("torchvision.io")

        def decoded(content: bytes) -> torch.Tensor:
            stored = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
            pixels: torch.Tensor = images.decode_jpeg(stored, images.ImageReadMode.RGB)
            return pixels

        return decoded

    def by_pillow(content: bytes) -> torch.Tensor:
        with Image.open(io.BytesIO(content)) as image:
            pixels: torch.Tensor = functional.pil_to_tensor(image.convert("RGB"))
        return pixels

    return by_pillow


def boxed(image: Image.Image, crop: Crop, scale: float) -> Pixels:
    """Cut out while resizing, from an image ``scale`` times as wide as the photograph."""
    left, top, right, bottom = (each * scale for each in crop.box)
    box = (left, top, min(right, image.width), min(bottom, image.height))
    return from_hwc(np.asarray(image.resize((SIZE, SIZE), BILINEAR, box=box)), crop)


def cut(image_HWC: Pixels, crop: Crop) -> Pixels:
    """Return the rectangle in whole pixels."""
    left, top, right, bottom = crop.whole_pixels
    return image_HWC[top:bottom, left:right]


def from_hwc(image_HWC: Pixels, crop: Crop) -> Pixels:
    """Mirror and put the channels first."""
    mirrored = image_HWC[:, ::-1] if crop.flip else image_HWC
    return np.ascontiguousarray(mirrored.transpose(2, 0, 1))
