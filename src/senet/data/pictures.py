"""From what a user has in hand, such as a path, a Pillow image or an array, to a decoded image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from senet.data.choices import CENTRE
from senet.data.decode import Levels, decode, upright
from senet.data.transforms import Transform
from senet.errors import SenetError
from senet.files import user_path

Picture = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[Any] | torch.Tensor
)
"""A path, the content of a file, an image, pixels (H, W, C) or (H, W), or a tensor (C, H, W) or (H, W)."""

_WRONG_PIXELS = "Pixel values must be uint8, from 0 to 255, not {}: preprocessing scales them itself."


def open_picture(picture: Any, transform: Transform, levels: Levels | None = None) -> Image.Image:
    """Return one picture as a training's source of images returns it: upright, in mode "L" or "RGB".

    Args:
        picture: a `Picture`.
        transform: what is going to be done to it; a large JPEG is decoded no larger than that takes.
        levels: black and white of 16-bit greyscale, as `decode` says.

    Raises:
        SenetError: it is no picture, cannot be read, or is damaged.
    """
    if isinstance(picture, str | os.PathLike):
        return _decoded(_content(Path(picture)), str(picture), transform, levels)
    if isinstance(picture, bytes | bytearray | memoryview):
        return _decoded(bytes(picture), "The image", transform, levels)
    if isinstance(picture, Image.Image):
        content = _unread_jpeg(picture)
        return (
            upright(picture, _name(picture), levels)
            if content is None
            else _decoded(content, _name(picture), transform, levels)
        )
    if isinstance(picture, torch.Tensor):
        if picture.dtype not in (torch.uint8, torch.uint16):
            raise SenetError(_WRONG_PIXELS.format(picture.dtype))
        pixels = picture.detach().cpu().numpy()
        picture = pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels
    if isinstance(picture, np.ndarray):
        return upright(_from_array(picture), "The array", levels)
    raise SenetError(
        "An image must be a path, the bytes of a file, a Pillow image, a uint8 array or a uint8 tensor, "
        f"or a list of these, not a value of type {type(picture).__name__}."
    )


def _decoded(content: bytes, name: str, transform: Transform, levels: Levels | None) -> Image.Image:
    return decode(
        content, name, lambda width, height: transform.is_large_enough(width, height, CENTRE), levels
    )


def _content(path: Path) -> bytes:
    try:
        path = user_path(path)
        if not path.is_file():
            what = (
                "is a folder"
                if path.is_dir()
                else "does not exist"
                if not path.exists()
                else "is not a regular file"
            )
            raise SenetError(f"{path} {what}: name an image file.")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, SenetError):
            raise
        # RuntimeError: ~ of an unknown user; ValueError: a null character.
        raise SenetError(f"{path} cannot be read ({error}): check the path.") from error


def _unread_jpeg(image: Image.Image) -> bytes | None:
    """Return the content of a JPEG that is only open, to be decoded at the size that a training takes."""
    stream = image.fp if isinstance(image, JpegImageFile) else None
    if stream is None:  # its pixels are in memory, and may have been changed
        return None
    position = stream.tell()
    stream.seek(0)
    content = stream.read()
    stream.seek(position)
    return content


def _name(image: Image.Image) -> str:
    return str(getattr(image, "filename", "")) or "The image"


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    """Return the image of pixels (H, W, C) or (H, W)."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    deep = array.ndim == 2 and array.dtype == np.uint16
    if array.dtype != np.uint8 and not deep:
        raise SenetError(_WRONG_PIXELS.format(array.dtype))
    if 0 in array.shape or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise SenetError(
            "An image must be an array (height, width, channels) or tensor (channels, height, width) of "
            f"1, 3 or 4 channels, not one of shape {array.shape}: give a batch as a list of images."
        )
    return Image.fromarray(np.ascontiguousarray(array))
