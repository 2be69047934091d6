"""The one class all networks are instances of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, NoPixelLeftError, Shape, cost_of
from senet.blocks.tail import is_stand_in, paired
from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import Provenance
from senet.networks.recompute import recomputed
from senet.networks.specs import NetworkSpec

HEAD = "avgpool"
"""The layer of every network behind which there are no maps any more, only features."""


class Network(CostedModule):
    """Named layers that run one after the other, built from a spec by `senet.networks.build.build_network`.

    Args:
        spec: what the network is.
        layers: name to layer, in the order in which they run.

    Attributes:
        spec: what the network is.
        smallest_input: least height and least width in pixels that leave at least one pixel at
            every layer.
        num_features: what the classifier gets, and what a network with ``num_classes=0`` puts out.
        preprocess: makes pictures ready as its weights expect them.
        classes: names in the order of the outputs, or ``None`` where nobody tells.
        provenance: what a training of senet tells besides, or ``None``.
        loaded: the `senet.LoadReport` of the checkpoint its weights come from; ``None`` for fresh ones.
    """

    def __init__(self, spec: NetworkSpec, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels = spec.in_channels
        self.preprocess = Preprocess.of(spec)
        self.classes: tuple[str, ...] | None = None
        self.provenance: Provenance | None = None
        self.loaded: Any = None
        self._recomputes = False
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.smallest_input = self._find_smallest_input()
        classifier = self.classifier_name
        if classifier is None:
            side = self.smallest_input
            self.num_features = self.cost((spec.in_channels, side, side))[1][0]
        else:
            self.num_features = int(self.get_parameter(f"{classifier}.weight").shape[1])

    @property
    def classifier_name(self) -> str | None:
        """The name of the layer that puts out the class scores, or ``None`` where there is none."""
        if self.spec.num_classes == 0:
            return None
        names: list[str] = [name for name, module in self.named_modules() if isinstance(module, nn.Linear)]
        return names[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the class scores before the softmax, (N, num_classes), for images (N, C, H, W).

        With ``num_classes=0`` these are the pooled features, (N, num_features).

        Raises:
            SenetError: another number of dimensions or channels, or images too small to leave
                a pixel.
        """
        self._check_images(x)
        for _, layer in paired(self.named_children()):
            x = self._run(layer, x)
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Choose whether a training step keeps only what enters each unit and computes the rest twice.

        This takes less memory and about a third more time. Gradients and BatchNorm's running statistics
        are the same.
        """
        self._recomputes = enable

    def _run(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not (self._recomputes and torch.is_grad_enabled()):
            return layer(x)
        for unit in layer if isinstance(layer, nn.Sequential) else [layer]:
            x = recomputed(unit, x) if isinstance(unit, CostedModule) else unit(x)
        return x

    def cost(self, shape: Shape) -> tuple[Cost, Shape]:
        """Return the cost for one image of ``shape``, (C, H, W), and the shape of the output.

        Raises:
            SenetError: another number of channels, or an image too small to leave a pixel.
        """
        total = Cost()
        output = shape
        for name, layer in self.named_children():
            try:
                cost, output = cost_of(layer, output)
            except NoPixelLeftError as error:
                raise NoPixelLeftError(
                    f"An input of {shape[1]}×{shape[2]} pixels is reduced to nothing at {name} of "
                    f"{self.spec.name}; {self._smallest_sentence()}"
                ) from error
            total += cost
        return total, output

    def _check_images(self, x: Tensor) -> None:
        if is_stand_in(x):
            return  # torch.fx reads the network: there are no images
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise SenetError(
                f"This {self.spec.name} expects images of shape (N, {self.in_channels}, height, width), "
                f"not a tensor of shape {tuple(x.shape)}."
            )
        if x.shape[2] < self.smallest_input or x.shape[3] < self.smallest_input:
            raise SenetError(
                f"Images of {x.shape[2]}×{x.shape[3]} pixels are too small for {self.spec.name}; "
                f"{self._smallest_sentence()}"
            )

    def _smallest_sentence(self) -> str:
        side = self.smallest_input
        return f"the smallest possible are {side}×{side}: use larger images."

    def _find_smallest_input(self) -> int:
        # Height and width shrink independently, and a larger one never leaves less: bisection finds it.
        self.smallest_input = 0
        too_small, enough = 0, 1
        while not self._leaves_a_pixel(enough):
            too_small, enough = enough, enough + max(1, enough // 2)
        while enough - too_small > 1:
            side = (too_small + enough) // 2
            if self._leaves_a_pixel(side):
                enough = side
            else:
                too_small = side
        return enough

    def _leaves_a_pixel(self, side: int) -> bool:
        try:
            self.cost((self.in_channels, side, side))
        except NoPixelLeftError:
            return False
        return True


def head_layers(channels: int, num_classes: int, dropout: float = 0.0) -> dict[str, nn.Module]:
    """Return the global average pool and, unless ``num_classes`` is 0, dropout and the classifier."""
    layers: dict[str, nn.Module] = {HEAD: nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    if num_classes > 0:
        if dropout > 0:
            layers["dropout"] = nn.Dropout(dropout)
        layers["fc"] = nn.Linear(channels, num_classes)
    return layers


@contextmanager
def at_site(spec: NetworkSpec, site: str) -> Iterator[None]:
    """Say where in the network a block was refused, for example because of its reduction."""
    try:
        yield
    except SenetError as error:
        raise SenetError(f"SE at {site} of {spec.name}: {error}") from error
