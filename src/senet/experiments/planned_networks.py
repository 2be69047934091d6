"""The networks of an experiment, before any training: tried, and told as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.images import ReadyImages
from senet.experiments.trial import scores_of, structure, try_foreign
from senet.experiments.twins import build_twins, usual_se
from senet.insight.cost import cost
from senet.networks.foreign import is_foreign
from senet.networks.zoo import network_spec
from senet.text import counted
from senet.training.recipe_choice import Situation
from senet.weights.shapes import on_meta

# Weights, gradients and momentum.
_COPIES_OF_WEIGHTS = 3
_FLOAT = 4


def resolve_se(name: str, se: SEConfig | Mapping[str, Any] | None) -> SEConfig:
    """Return the SE blocks of a network's twin.

    Args:
        name: of the plain network.
        se: all settings, or only those that differ from the network's default SE, or ``None``.

    Raises:
        SenetError: a setting does not exist or is out of range, or the network is unknown.
    """
    usual = usual_se(name)
    return usual if se is None else SEConfig.of(se, usual)


def try_networks(name: str, se: SEConfig | None, images: ReadyImages) -> tuple[nn.Module, ...]:
    """Raise `SenetError` where a network cannot be trained on the images; return it and its twin."""
    size, classes, channels = images.recipe.image_size, len(images.classes), images.checked.channels
    shape = (channels, size, size)
    refuse_more_than_memory(name, se, classes=classes, shape=shape)
    networks = build_twins(name, se, classes=classes, channels=channels, seed=0, image_size=size)
    if is_foreign(name):
        (again,) = build_twins(name, None, classes=classes, channels=channels, seed=0)
        try_foreign(name, networks, again, classes=classes, shape=shape)
    for network in networks:
        cost(network, shape)
    return networks


def known_of(network: nn.Module, images: ReadyImages, situation: Situation) -> Situation:
    """Return what is known of a training once its plain network is built."""
    size = images.recipe.image_size
    return replace(
        situation,
        multiply_adds=cost(network, (images.checked.channels, size, size)).multiply_adds,
        normalised=any(isinstance(each, _NormBase) for each in network.modules()),
    )


def identity_of(
    name: str, plain: nn.Module, se: SEConfig | None, images: ReadyImages, device: str
) -> dict[str, Any]:
    """Return what decides the result of an experiment, as plain values.

    Args:
        name: of the plain network.
        plain: that network.
        se: the twin's SE blocks.
        images: with the recipe.
        device: its kind, ``"cpu"`` or ``"cuda"``.
    """
    # The same foreign name may be another network tomorrow: the package's next version, an edited module.
    structures = {"structure": structure(plain)} if is_foreign(name) else {}
    return {
        **structures,
        "model": name,
        "se": None if se is None else asdict(se),
        "recipe": asdict(images.recipe),
        "images": images.fingerprint,
        "device": device,
    }


def refuse_more_than_memory(
    name: str, se: SEConfig | None, *, classes: int, shape: tuple[int, int, int]
) -> None:
    """Raise `SenetError` where weights, or one image, are larger than this machine's memory.

    Args:
        name: of the plain network; the weights of a foreign one are not looked at.
        se: the twin's SE blocks.
        classes: of the images.
        shape: (channels, height, width) of an image.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    channels, size, _ = shape
    if 2 * _FLOAT * channels * size**2 > memory:
        raise SenetError(
            f"image_size {size} is too large: two images of {size}×{size} pixels exceed this machine's "
            f"memory of {memory / 2**30:.0f} GiB, so choose a smaller size."
        )
    if is_foreign(name):
        return
    spec = replace(network_spec(name), se=se, num_classes=classes, in_channels=channels)
    try:
        weights = sum(each.numel() for each in on_meta(spec).parameters())
    except RuntimeError as error:  # a number of elements that torch cannot count
        raise SenetError(
            f"{name} cannot be built with these SE settings ({str(error).splitlines()[0]}): choose "
            "smaller numbers."
        ) from error
    if _COPIES_OF_WEIGHTS * _FLOAT * weights > memory:
        raise SenetError(
            f"{name} would have {counted(weights, 'parameter')}, and training takes {_COPIES_OF_WEIGHTS} "
            f"numbers for each, which exceeds this machine's memory of {memory / 2**30:.0f} GiB: choose "
            "smaller SE settings."
        )


def refuse_single_images(name: str, network: nn.Module, images: ReadyImages, processes: int) -> None:
    """Raise `SenetError` where a step takes one image at a time, and BatchNorm needs more.

    Args:
        name: of the plain network.
        network: that network.
        images: with the recipe.
        processes: that share every batch.
    """
    recipe, size = images.recipe, images.recipe.image_size
    at_once = min(recipe.batch_size, len(images.checked.data.train)) // (recipe.accumulate * processes)
    if at_once != 1 or (recipe.sync_norm and processes > 1):
        return
    shape = (images.checked.channels, size, size)
    scores_of(name, network, shape, training=True)
    try:
        scores_of(name, network, shape, training=True, images=1)
    except SenetError as error:
        shared = f" over {counted(processes, 'process')}" if processes > 1 else ""
        raise SenetError(
            f"batch_size {recipe.batch_size} with accumulate {recipe.accumulate}{shared} leaves one image "
            f"per step, so a BatchNorm of {name} gets a single value per channel at {size}×{size} pixels: "
            "use at least 2 images per step, or larger images."
        ) from error
