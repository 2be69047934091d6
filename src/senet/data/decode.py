"""From the bytes of a picture file to an upright image in greyscale or RGB."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from senet.data.formats import FORMATS, not_a_picture, unread_format
from senet.errors import SenetError

# A quarter of a gigabyte as RGB. A header that claims more is refused before anything is decoded.
MOST_PIXELS = 89_478_485

ORIENTATION_TAG = 0x0112
LONGEST_REASON = 120

# What a JPEG can be reduced by while it is decoded: the inverse DCT gives fewer pixels a block.
REDUCTIONS = (8, 4, 2)

# Tells whether an upright image of this width and height, in pixels, is large enough for its use.
LargeEnough = Callable[[int, int], bool]

# Of 16-bit greyscale: what becomes black and what becomes white.
Levels = tuple[int, int]
FULL_LEVELS = (0, 65535)
HEAD_BYTES = 32
# Side in pixels down to which a JPEG is reduced where only its facts are wanted.
LEAST_EXAMINED = 32


class UnreadableImage(SenetError):
    """One image cannot be decoded.

    Attributes:
        name: which image, for example a file's path.
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read as an image: {reason}; repair or remove it.")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        """Pickle by name and reason, so that the error crosses from worker processes."""
        return UnreadableImage, (self.name, self.reason)


def digest_of(content: bytes | memoryview) -> bytes:
    """Return 16 bytes that differ where the content does."""
    # Processors have instructions for SHA-256: twice as fast as BLAKE2.
    return hashlib.sha256(content, usedforsecurity=False).digest()[:16]


@dataclass(frozen=True)
class ImageFacts:
    """What decoding an image shows; images of one size and colour are alike.

    Attributes:
        width: in pixels, upright.
        height: in pixels, upright.
        greyscale: whether it is.
        plain: whether it is of one colour throughout.
        digest: of its content, 16 bytes.
        thumbnail: 8 × 8 grey levels, row by row.
        levels: least and greatest value of 16-bit greyscale; ``None`` of other images.
    """

    width: int
    height: int
    greyscale: bool
    plain: bool = field(default=False, compare=False)
    digest: bytes = field(default=bytes(16), compare=False)
    thumbnail: bytes = field(default=bytes(64), compare=False)
    levels: Levels | None = field(default=None, compare=False)

    @classmethod
    def of(cls, image: Image.Image, content: bytes | memoryview, size: tuple[int, int]) -> ImageFacts:
        """Return the facts of an image in mode "L" or "RGB".

        Args:
            image: decoded, perhaps at a fraction of its size.
            content: that it was made from, or its pixels.
            size: width and height, upright.
        """
        return cls(
            *size,
            greyscale=image.mode == "L",
            plain=image.getcolors(1) is not None,
            digest=digest_of(content),
            thumbnail=image.resize((8, 8), Image.Resampling.BILINEAR, reducing_gap=3).convert("L").tobytes(),
        )


def decode(
    content: bytes | memoryview,
    name: str,
    large_enough: LargeEnough | None = None,
    levels: Levels | None = None,
) -> Image.Image:
    """Decode a picture file.

    The image comes back upright (EXIF orientation applied) in mode "L" or "RGB". 16-bit greyscale is
    scaled to 8 bits, CMYK becomes RGB, transparent parts show white, and of several frames or pages
    the first is taken.

    Args:
        content: the whole file.
        name: what to call the image in an error.
        large_enough: a JPEG is decoded at 1/8, 1/4 or 1/2 of its size if that is still large enough, at
            the least size that is; other formats, and all without it, are decoded at full size.
        levels: of 16-bit greyscale, what becomes black and what becomes white; values beyond are cut off.
            ``None`` takes 0 and 65535.

    Raises:
        UnreadableImage: the content is not a supported picture, is damaged, has pixels without an
            agreed range, or claims more than `MOST_PIXELS` pixels.
    """
    image, _ = _decode(content, name, large_enough)
    with image, _damage_explained(name):
        return _to_grey_or_rgb(image, name, levels)


def upright(image: Image.Image, name: str, levels: Levels | None = None) -> Image.Image:
    """Return a picture that is open already as `decode` returns it; the given one stays as it is.

    Args:
        image: of any mode.
        name: what to call the image in an error.
        levels: as for `decode`.

    Raises:
        UnreadableImage: it is damaged, has pixels without an agreed range, or too many of them.
    """
    _require_not_huge(image, name)
    with _damage_explained(name):
        image.load()
        # A copy, where there is something to turn.
        return _to_grey_or_rgb(ImageOps.exif_transpose(image), name, levels)


def examine(content: bytes | memoryview, name: str) -> ImageFacts:
    """Decode a picture as cheaply as still shows damage, and tell its size and colour.

    Raises:
        UnreadableImage: as `decode`.
    """
    image, size = _decode(content, name, lambda width, height: min(width, height) >= LEAST_EXAMINED)
    with image, _damage_explained(name):
        levels = _levels(image) if image.mode.startswith("I") else None
        shown = _to_grey_or_rgb(image, name, levels)
        return replace(ImageFacts.of(shown, content, size), levels=levels)


def _decode(
    content: bytes | memoryview, name: str, large_enough: LargeEnough | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Return the upright image in its own mode, and the size it has when decoded at full size."""
    if not len(content):
        raise UnreadableImage(name, "it is empty")
    with _damage_explained(name, bytes(content[:HEAD_BYTES])):
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _require_not_huge(image, name)
        turned = _is_turned(image)
    reduction = 1
    if large_enough is not None and isinstance(image, JpegImageFile):
        reduction = _reduction(image.size[::-1] if turned else image.size, large_enough)
    with _damage_explained(name):
        return image, _load(image, reduction)


@contextmanager
def _damage_explained(name: str, head: bytes = b"") -> Iterator[None]:
    try:
        # Pillow warns on stderr about files it then decodes well, and from every worker process.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Damaged content makes Pillow raise nearly any exception (the fuzz test found several kinds).
        raise UnreadableImage(name, _reason(error, head)) from error


def _require_not_huge(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UnreadableImage(
            name,
            f"its header declares {width} × {height} pixels, more than the {MOST_PIXELS:,} that are allowed",
        )


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8)


def _reduction(size: tuple[int, int], large_enough: LargeEnough) -> int:
    """Return the greatest reduction of an upright width and height that leaves them large enough."""
    width, height = size
    enough = (each for each in REDUCTIONS if large_enough(math.ceil(width / each), math.ceil(height / each)))
    return next(enough, 1)


def _load(image: Image.Image, reduction: int) -> tuple[int, int]:
    """Load an image, turn it upright, and return the size it has when decoded at full size."""
    width, height = image.size
    if reduction > 1:
        # Pillow takes the greatest reduction that leaves at least these sides.
        image.draft(None, (max(width // reduction, 1), max(height // reduction, 1)))
    image.load()
    # Only now: Pillow turns a TIFF, and takes its orientation away, while loading it.
    if _is_turned(image):
        width, height = height, width
    ImageOps.exif_transpose(image, in_place=True)
    return width, height


def _to_grey_or_rgb(image: Image.Image, name: str, levels: Levels | None = None) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image, name, levels or FULL_LEVELS)
    if image.mode == "F":
        raise UnreadableImage(name, "its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        return _over_white(image)
    target = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == target else image.convert(target)


def _levels(image: Image.Image) -> Levels:
    values = np.asarray(image)
    return int(values.min()), int(values.max())


def _from_16_bits(image: Image.Image, name: str, levels: Levels) -> Image.Image:
    # Pillow's own conversion clips at 255 for some of these modes, which turns the image white.
    values = np.asarray(image).astype(np.int64)
    least, greatest = int(values.min()), int(values.max())
    if least < 0 or greatest > FULL_LEVELS[1]:
        raise UnreadableImage(
            name, f"its pixel values range from {least} to {greatest}, but only 0 to 65535 is allowed"
        )
    black, span = levels[0], max(levels[1] - levels[0], 1)
    scaled = ((values - black) * 255 + span // 2) // span
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La")
    mode, layered_mode = ("L", "LA") if grey else ("RGB", "RGBA")
    layered = image if image.mode == layered_mode else image.convert(layered_mode)
    below = Image.new(mode, image.size, "white")
    below.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return below


def _reason(error: Exception, head: bytes) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        claimed = re.search(r"\d+", text)
        pixels = f"{int(claimed[0]):,}" if claimed else "too many"
        return f"its header declares {pixels} pixels, more than the {MOST_PIXELS:,} that are allowed"
    if isinstance(error, UnidentifiedImageError):
        if other := not_a_picture(head):
            return other
        advice = unread_format(head)
        return f"unsupported image format; supported are {', '.join(FORMATS)}{advice and '; '}{advice}"
    if "truncated" in text.lower():
        return "the file is truncated"
    return f"it is damaged ({text[:LONGEST_REASON] or type(error).__name__})"
