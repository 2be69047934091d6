"""From the bytes of a picture file to an upright image in greyscale or RGB."""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.JpegImagePlugin import JpegImageFile

from senet.errors import SenetError


def _built_with(feature: str) -> bool:
    known = feature in features.modules or feature in features.codecs  # Pillow warns of others
    return known and features.check(feature) is True


def _heic_is_read() -> bool:
    """Let Pillow read HEIC where the package for it is installed (the extra ``heic``)."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    pillow_heif = importlib.import_module("pillow_heif")
    pillow_heif.register_heif_opener()
    return True


# Formats that Pillow decodes by itself; others (EPS, for one) start programs.
_ALWAYS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
# Formats that are read where something is there for them, and what to do where it is not.
_SOMETIMES = {
    "AVIF": ((".avif", ".avifs"), _built_with("avif"), "a Pillow that was built with AVIF reads .avif"),
    "JPEG2000": (
        (".jp2", ".j2k", ".jpx", ".j2c", ".jpf"),
        _built_with("jpg_2000"),
        "a Pillow that was built with OpenJPEG reads JPEG 2000",
    ),
    "HEIF": ((".heic", ".heif", ".hif"), _heic_is_read(), "pip install 'senet[heic]' reads HEIC"),
}
_READ = _ALWAYS | {name: suffixes for name, (suffixes, read, _) in _SOMETIMES.items() if read}
_OTHERS = (
    ".jxl .svg .svgz .psd .psb .xcf .eps .ai .ico .icns .tga .pcx .exr .hdr .pfm .dds .sgi .xbm .xpm .qoi "
    ".dcm .dicom .nii .raw .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .orf .rw2 .raf .pef .srw .3fr .x3f"
)
FORMATS = tuple(_READ)
SUFFIXES = tuple(suffix for suffixes in _READ.values() for suffix in suffixes)
# Suffixes of pictures that are not read, and what to do about each.
UNREAD_FORMATS = {
    **{suffix: advice for suffixes, read, advice in _SOMETIMES.values() if not read for suffix in suffixes},
    **dict.fromkeys(_OTHERS.split(), "convert other formats to JPEG or PNG"),
}
# How the content of those that are read begins.
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
)

# A quarter of a gigabyte as RGB. A header that claims more is refused before anything is decoded.
MOST_PIXELS = 89_478_485

ORIENTATION_TAG = 0x0112
LONGEST_REASON = 120

# What a JPEG can be reduced by while it is decoded: the inverse DCT gives fewer pixels a block.
REDUCTIONS = (8, 4, 2)

# Tells whether an upright image of this width and height, in pixels, is large enough for its use.
LargeEnough = Callable[[int, int], bool]


def is_picture_content(head: bytes) -> bool:
    """Tell whether the first 32 bytes of a file are those of a picture that is read, by all appearance."""
    # Two letters (BM of a bitmap, P6 of PPM) are too few to tell a picture from a text.
    return head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


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


@dataclass(frozen=True)
class ImageFacts:
    """What decoding an image shows: its upright size in pixels and whether it is greyscale."""

    width: int
    height: int
    greyscale: bool


def decode(content: bytes | memoryview, name: str, large_enough: LargeEnough | None = None) -> Image.Image:
    """Decode a picture file.

    The image comes back upright (EXIF orientation applied) in mode "L" or "RGB". 16-bit greyscale is
    scaled to 8 bits, CMYK becomes RGB, transparent parts show white, and of several frames or pages
    the first is taken.

    Args:
        content: the whole file.
        name: what to call the image in an error.
        large_enough: a JPEG is decoded at 1/8, 1/4 or 1/2 of its size if that is still large enough, at
            the least size that is; other formats, and all without it, are decoded at full size.

    Raises:
        UnreadableImage: the content is not a supported picture, is damaged, has pixels without an
            agreed range, or claims more than `MOST_PIXELS` pixels.
    """
    return _decode(content, name, large_enough)[0]


def upright(image: Image.Image, name: str) -> Image.Image:
    """Return a picture that is open already as `decode` returns it; the given one stays as it is.

    Args:
        image: of any mode.
        name: what to call the image in an error.

    Raises:
        UnreadableImage: it is damaged, has pixels without an agreed range, or too many of them.
    """
    _require_not_huge(image, name)
    with _damage_explained(name):
        image.load()
        # A copy, where there is something to turn.
        return _to_grey_or_rgb(ImageOps.exif_transpose(image), name)


def examine(content: bytes | memoryview, name: str) -> ImageFacts:
    """Decode a picture as cheaply as still shows damage, and tell its size and colour.

    Raises:
        UnreadableImage: as `decode`.
    """
    image, (width, height) = _decode(content, name, large_enough=lambda width, height: True)
    return ImageFacts(width, height, image.mode == "L")


def _decode(
    content: bytes | memoryview, name: str, large_enough: LargeEnough | None
) -> tuple[Image.Image, tuple[int, int]]:
    """Return the image and the size it has when decoded at full size."""
    if not len(content):
        raise UnreadableImage(name, "it is empty")
    with _damage_explained(name):
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _require_not_huge(image, name)
        turned = _is_turned(image)
    reduction = 1
    if large_enough is not None and isinstance(image, JpegImageFile):
        reduction = _reduction(image.size[::-1] if turned else image.size, large_enough)
    with image, _damage_explained(name):
        return _load(image, name, reduction)


@contextmanager
def _damage_explained(name: str) -> Iterator[None]:
    try:
        # Pillow warns on stderr about files it then decodes well, and from every worker process.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:
        # Damaged content makes Pillow raise nearly any exception (the fuzz test found several kinds).
        raise UnreadableImage(name, _reason(error)) from error


def _require_not_huge(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UnreadableImage(
            name, f"its header claims {width} × {height} pixels and at most {MOST_PIXELS:,} are decoded"
        )


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ORIENTATION_TAG, 1) in (5, 6, 7, 8)


def _reduction(size: tuple[int, int], large_enough: LargeEnough) -> int:
    """Return the greatest reduction of an upright width and height that leaves them large enough."""
    width, height = size
    enough = (each for each in REDUCTIONS if large_enough(math.ceil(width / each), math.ceil(height / each)))
    return next(enough, 1)


def _load(image: Image.Image, name: str, reduction: int) -> tuple[Image.Image, tuple[int, int]]:
    width, height = image.size
    if reduction > 1:
        # Pillow takes the greatest reduction that leaves at least these sides.
        image.draft(None, (max(width // reduction, 1), max(height // reduction, 1)))
    image.load()
    # Only now: Pillow turns a TIFF, and takes its orientation away, while loading it.
    if _is_turned(image):
        width, height = height, width
    ImageOps.exif_transpose(image, in_place=True)
    return _to_grey_or_rgb(image, name), (width, height)


def _to_grey_or_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image, name)
    if image.mode == "F":
        raise UnreadableImage(name, "its pixels are floating-point numbers, whose range is not known")
    if image.has_transparency_data:
        return _over_white(image)
    target = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == target else image.convert(target)


def _from_16_bits(image: Image.Image, name: str) -> Image.Image:
    # Pillow's own conversion clips at 255 for some of these modes, which turns the image white.
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableImage(name, f"its pixels lie between {low} and {high}, and 0 to 65535 is allowed")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _over_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La")
    mode, layered_mode = ("L", "LA") if grey else ("RGB", "RGBA")
    layered = image if image.mode == layered_mode else image.convert(layered_mode)
    below = Image.new(mode, image.size, "white")
    below.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return below


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        claimed = re.search(r"\d+", text)
        pixels = f"{int(claimed[0]):,}" if claimed else "too many"
        return f"its header claims {pixels} pixels and at most {MOST_PIXELS:,} are decoded"
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture in a supported format (" + ", ".join(FORMATS) + ")"
    if "truncated" in text.lower():
        return "the file is cut short"
    return f"it is damaged ({text[:LONGEST_REASON] or type(error).__name__})"
