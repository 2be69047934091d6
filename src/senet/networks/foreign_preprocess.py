"""The preprocessing that belongs to another package's released weights."""

from __future__ import annotations

import importlib
import math
from typing import Any

from torch import nn

from senet.errors import SenetError
from senet.networks.preprocess import Preprocess

_IMAGENET_SHARE = 0.875


def foreign_preprocess(name: str, model: nn.Module) -> tuple[Preprocess, tuple[str, ...]]:
    """Return the preprocessing of a foreign network's released weights, and sentences on what is assumed.

    Args:
        name: ``"timm:NAME"``, ``"torchvision:NAME"``, ``"pytorchcv:NAME"`` or a factory's name.
        model: the network.

    Raises:
        SenetError: its images are not square, or not one of what `Preprocess` does.
    """
    package, _, network = name.partition(":")
    if package == "timm":
        return _of_timm(name, model)
    if package == "torchvision":
        return _of_torchvision(network), ()
    if package == "pytorchcv":
        side = int(model.in_size[0])  # type: ignore[index]
        return Preprocess(crop=side, resize=math.ceil(side / _IMAGENET_SHARE)), ()
    return Preprocess(), (
        f"{name} does not define its preprocessing: the centre 224 of 256 pixels with ImageNet's mean and "
        "std is used.",
    )


def _of_timm(name: str, model: nn.Module) -> tuple[Preprocess, tuple[str, ...]]:
    config: dict[str, Any] = importlib.import_module("timm.data").resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if height != width:
        raise SenetError(
            f"{name} takes images of {height}×{width} pixels, but senet only evaluates "
            "square ones: "
            "choose another network."
        )
    notes: tuple[str, ...] = ()
    if config.get("crop_mode", "center") != "center":
        notes = (
            f"timm evaluates {name} with crop mode {config['crop_mode']!r}; senet uses the centre crop.",
        )
    preprocess = Preprocess(
        crop=height,
        resize=math.floor(height / config["crop_pct"]),
        interpolation=config["interpolation"],
        channels=channels,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return preprocess, notes


def _of_torchvision(network: str) -> Preprocess:
    transforms = importlib.import_module("torchvision.models").get_model_weights(network).DEFAULT.transforms()
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    return Preprocess(
        crop=crop,
        resize=resize,
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
