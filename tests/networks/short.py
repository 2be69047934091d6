"""Networks short enough for a test: every kind of unit they have is still there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from senet.blocks import SqueezeExcitation
from senet.networks import BNInceptionSpec, GoogLeNetSpec, NetworkSpec, VGGSpec, network_spec
from senet.networks.network import Network

CLASSES = 7


def few_classes(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec for few classes, and for VGG with narrow hidden layers: no SE sits there."""
    spec = dataclasses.replace(spec, num_classes=CLASSES)
    return dataclasses.replace(spec, hidden=32) if isinstance(spec, VGGSpec) else spec


def shortened(spec: NetworkSpec) -> NetworkSpec:
    """Return the same with at most two units in the first stage and one in every other, and narrower.

    Of the tables of Inception modules, one of each kind is left.
    """
    spec = few_classes(spec)
    if isinstance(spec, GoogLeNetSpec | BNInceptionSpec):
        kept = tuple(each for each in spec.modules if each[0] in ("3a", "3c", "4a", "4e", "5b"))
        return dataclasses.replace(spec, modules=kept)
    depths = getattr(spec, "depths", None)
    if depths is None:
        return spec
    changes = {"depths": (2, *(1 for _ in depths[1:])), **narrowed(spec)}
    return dataclasses.replace(spec, **changes)


def narrowed(spec: NetworkSpec) -> dict[str, Any]:
    """Return the changes that leave a wide residual network a few times fewer channels."""
    outputs = getattr(spec, "outputs", None)
    if isinstance(spec, VGGSpec):
        return {"widths": tuple(width // 4 for width in spec.widths)}
    if outputs is None or outputs[0] < 64 or (spec.input_size == 32 and outputs[0] < 96):
        return {}
    inside = getattr(spec, "bottleneck", None)
    # SENet-154's first 1x1 convolutions must still have a channel for each of 64 groups.
    factor = 3 if outputs[0] == 96 else 2 if getattr(inside, "halved", False) else 4
    changes: dict[str, Any] = {"outputs": tuple(each // factor for each in outputs)}
    if inside is not None:
        widths = tuple(each // factor for each in inside.widths)
        changes["bottleneck"] = dataclasses.replace(inside, widths=widths)
    return changes


def nameless(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec without its name: networks that differ in depth only are the same when shortened."""
    return dataclasses.replace(spec, name="network", se_name="se_network")


def distinct(names: Iterable[str]) -> list[str]:
    """Return one name for all networks that are the same when shortened."""
    first: dict[NetworkSpec, str] = {}
    for name in names:
        first.setdefault(nameless(shortened(network_spec(name))), name)
    return list(first.values())


def side_of(spec: NetworkSpec) -> int:
    """Return the side of small images that leave a few pixels at the end."""
    return 16 if spec.input_size == 32 else max(33, 33 * (spec.input_size > 256) * 3)


def images(spec: NetworkSpec, count: int = 4, side: int | None = None) -> Tensor:
    """Return images of different brightness, so that the squeezed values differ."""
    side = side or side_of(spec)
    return torch.randn(count, spec.in_channels, side, side + 1) + torch.randn(count, 1, 1, 1)


def se_blocks(model: Network) -> dict[str, SqueezeExcitation]:
    """Return the SE blocks by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SqueezeExcitation)}
