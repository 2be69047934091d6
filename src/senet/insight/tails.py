"""The tails of a network, alone: what SE makes longer between a convolution and the next one.

A tail is BatchNorm, SE, the sum with the shortcut and ReLU, or a part of them; see `senet.kernels.steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import tail
from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.dispatch import Choice, recording
from senet.kernels.steps import Steps
from senet.networks.network import Network
from senet.networks.zoo import create_network
from senet.text import counted

Shape = tuple[int, int, int]


class Site(NamedTuple):
    """Where SE sits: the steps of its tail, and the shape of one image's maps, (C, H, W)."""

    steps: Steps
    shape: Shape

    @property
    def without_se(self) -> Steps | None:
        """The steps of the plain twin's tail, or ``None`` where it has none."""
        s = self.steps
        plain = Steps(s.bn, False, s.add, s.relu or s.relu_first, False)
        return plain if any(plain) else None


def se_sites(model: str, batch: int, size: int) -> list[Site]:
    """Return the sites of a network's SE, one for each size of its maps: the last of that size.

    Nothing is computed: the network runs on shapes alone.

    Args:
        model: name of a network with SE.
        batch: images.
        size: their side in pixels.

    Raises:
        SenetError: the images are too small to be seen, or to be trained on in such a batch.
    """
    with torch.device("meta"), recording() as ran:
        network = create_network(model)
        images = torch.empty(batch, network.in_channels, size, size)
        _run_on_shapes(network, images)
    sites: dict[tuple[int, int], Site] = {}
    seen: set[int] = set()
    for each in ran:
        blocks = [layer for layer in each.layers if isinstance(layer, SqueezeExcitation)]
        # Layer by layer, the SE block of a tail tells of itself once more.
        if blocks and id(blocks[0]) not in seen:
            seen.add(id(blocks[0]))
            _, channels, height, width = each.shape
            sites[height, width] = Site(Steps.parse(each.steps), (channels, height, width))
    return list(sites.values())


def _run_on_shapes(network: Network, images: Tensor) -> None:
    try:
        network(images)
    except SenetError:
        raise
    except ValueError as error:  # BatchNorm's, about one value in each channel
        raise SenetError(
            f"{network.spec.name} cannot be trained on {counted(len(images), 'image')} of "
            f"{images.shape[2]}×{images.shape[3]} pixels, which leave a single value per channel: use "
            "more or larger images."
        ) from error


class Maps(NamedTuple):
    """What a tail works on, (N, C, H, W) each, and as many buffers of that size to copy to and fro."""

    y: Tensor
    shortcut: Tensor | None
    grad: Tensor
    buffers: tuple[tuple[Tensor, Tensor], ...]


def make_maps(
    shape: Shape,
    batch: int,
    *,
    add: bool,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> Maps:
    """Return random maps; ``add`` for a shortcut among them."""
    generator = torch.Generator(device).manual_seed(0)

    def noise() -> Tensor:
        maps = torch.randn(batch, *shape, generator=generator, device=device)
        return maps.to(dtype=dtype, memory_format=memory_format)

    y, grad = noise().requires_grad_(), noise()
    shortcut = noise().requires_grad_() if add else None
    # A tail that adds touches six maps: input, shortcut and output, and the gradient of each. Memory that
    # was never written would not be read from where memory is, hence the clones.
    flat = noise().flatten()
    buffers = tuple((flat.clone(), flat.clone()) for _ in range(3 if add else 2))
    return Maps(y, shortcut, grad, buffers)


class Tail(nn.Module):
    """The layers of a tail, run as senet's networks run them."""

    def __init__(self, channels: int, steps: Steps, se: SEConfig | None) -> None:
        super().__init__()
        self.steps = steps
        self.bn = nn.BatchNorm2d(channels) if steps.bn else None
        self.relu = nn.ReLU(inplace=True) if steps.relu or steps.relu_first else None
        self.se = SqueezeExcitation.from_config(channels, se) if steps.se and se is not None else None

    def forward(self, y: Tensor, shortcut: Tensor | None) -> Tensor:
        """Return the output of the tail, in the shape of ``y``."""
        return tail(y, self.bn, self.relu, se=self.se, shortcut=shortcut, relu_first=self.steps.relu_first)


class TailStep:
    """Forward and backward of a tail, a module called with the input and the shortcut."""

    def __init__(self, module: nn.Module, maps: Maps) -> None:
        self.module, self.maps = module, maps
        given = [maps.y] if maps.shortcut is None else [maps.y, maps.shortcut]
        self.inputs = [*given, *module.parameters()]
        # Even where it is not enabled, autocast takes as long as a small operator.
        half = maps.y.dtype == torch.bfloat16
        self.autocast = torch.autocast(maps.y.device.type, torch.bfloat16) if half else nullcontext()

    def train(self) -> None:
        """Run forward and backward once."""
        torch.autograd.grad(self.forward(), self.inputs, self.maps.grad)

    def kernel(self) -> Choice:
        """Return what runs the tail."""
        with recording() as ran:
            self.forward()
        return ran[0].choice

    def forward(self) -> Tensor:
        """Return the output."""
        with self.autocast:
            out: Tensor = self.module(self.maps.y, self.maps.shortcut)
        return out


def layer_by_layer(work: Callable[[], object]) -> Callable[[], None]:
    """Return ``work`` without fused kernels: every layer runs as PyTorch has it."""

    def run() -> None:
        with kernels("reference"):
            work()

    return run


class Traffic(NamedTuple):
    """How many times all values of a map are read and written."""

    reads: int
    writes: int


def forward_traffic(steps: Steps, *, train: bool = True) -> Traffic:
    """Return what the fused forward reads and writes: in training it takes the batch's statistics."""
    statistics = (steps.bn and train) or (steps.se and not steps.relu_first)
    relu_sums = steps.se and steps.relu_first
    return Traffic(statistics + relu_sums + 1 + steps.add, 1)


def backward_traffic(steps: Steps) -> Traffic:
    """Return what the fused backward of a training step reads and writes.

    Both passes read the gradient and the input, and where the sum hides what the ReLU cut, the output. The
    second one writes the gradients of the input and, where the ReLU cuts it, of the shortcut.
    """
    masked = steps.masked_by_output
    reads_input = steps.bn or steps.relu_first or (steps.relu and not steps.add)
    return Traffic((2 + masked) + (1 + reads_input + masked), 1 + masked)


def maps_crossed(steps: Steps, *, train: bool = True) -> int:
    """Return how many times the passes of a fused tail read or write all values of its maps.

    In training forward and backward, in evaluation mode the forward alone.
    """
    return sum(forward_traffic(steps, train=train)) + (sum(backward_traffic(steps)) if train else 0)


def tail_bytes(maps: Maps, steps: Steps, *, train: bool = True) -> int:
    """Return the bytes that the passes of a fused tail read and write."""
    return maps_crossed(steps, train=train) * maps.y.numel() * maps.y.element_size()


class CopyStep:
    """Plain copies that read and write as many bytes as the passes of a fused tail."""

    def __init__(self, maps: Maps, steps: Steps, *, train: bool = True) -> None:
        crossed = maps_crossed(steps, train=train)
        size = maps.buffers[0][0].numel()
        sizes = [size] * (crossed // 2) + [size // 2] * (crossed % 2)
        pairs = (maps.buffers[index % len(maps.buffers)] for index in range(len(sizes)))
        self.pairs = [(to[:size], source[:size]) for (to, source), size in zip(pairs, sizes, strict=True)]

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return sum(2 * to.numel() * to.element_size() for to, _ in self.pairs)

    def run(self) -> None:
        """Copy once."""
        for to, source in self.pairs:
            to.copy_(source)


def dtype_of(precision: str) -> torch.dtype:
    """Return the type of maps: ``"fp32"`` or ``"bf16"``."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def shape_text(shape: tuple[int, ...]) -> str:
    """Return for example ``"256x56x56"``."""
    return "x".join(map(str, shape))
