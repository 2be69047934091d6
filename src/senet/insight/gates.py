"""What the gates of a model's SE blocks do on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.insight.cost import evaluating
from senet.insight.labelled import LabelledImages


@dataclass(frozen=True, kw_only=True, eq=False)
class GateStatistics:
    """The gates of one SE block over many images.

    Attributes:
        block: its name in the model.
        mean: of each channel's gate, (C,) float64; NaN where the block did not run.
        variance: of each channel's gate over the images, (C,) float64, with the count as divisor.
        count: gates of each channel that were seen: one for each image, and more where the block runs
            several times or has a gate for each pixel.
        per_pixel: whether it has a gate for each pixel (NoSqueeze).
    """

    block: str
    mean: Tensor
    variance: Tensor
    count: int
    per_pixel: bool


def gate_statistics(model: nn.Module, loader: Iterable[Any]) -> tuple[GateStatistics, ...]:
    """Run images through ``model`` in evaluation mode and return what its gates did.

    The gates are computed from what goes into each block, in its own type, and added up in float64. The
    model is left as it was.

    Args:
        model: with any number of SE blocks.
        loader: yields pairs of images and labels, which are not looked at; see `LabelledImages`.

    Returns:
        Statistics of the blocks in the order in which they first ran, then of those that did not run.

    Raises:
        SenetError: the loader yields something else.
    """
    images = loader if isinstance(loader, LabelledImages) else LabelledImages(loader, model)
    with evaluating(model), torch.no_grad(), watching_gates(model) as statistics:
        for batch, _ in images:
            model(batch)
    return statistics()


@contextmanager
def watching_gates(model: nn.Module) -> Iterator[Callable[[], tuple[GateStatistics, ...]]]:
    """Collect gates while the context lasts; what it gives is called for the statistics up to then."""
    blocks = {name: each for name, each in model.named_modules() if isinstance(each, SqueezeExcitation)}
    sums = {name: _Sums(block.channels) for name, block in blocks.items()}
    order: dict[str, None] = {}

    def watch(name: str) -> Callable[..., None]:
        def add(block: Any, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
            order[name] = None
            sums[name].add(block.gates(inputs[0] if inputs else given["x"]))

        return add

    def statistics() -> tuple[GateStatistics, ...]:
        return tuple(
            sums[name].statistics(name, per_pixel=blocks[name].config.squeeze == "none")
            for name in [*order, *(each for each in blocks if each not in order)]
        )

    handles = [
        block.register_forward_pre_hook(watch(name), with_kwargs=True) for name, block in blocks.items()
    ]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


class _Sums:
    """Mean and variance of what comes in batches (Chan et al. 1983)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, gates: Tensor) -> None:
        """Take (N, C, *spatial)."""
        values = gates.detach().cpu().double().transpose(0, 1).flatten(1)
        count = values.shape[1]
        if count == 0:
            return
        mean = values.mean(1)
        between = mean - self.mean
        total = self.count + count
        self.squares += (values - mean[:, None]).square().sum(1)
        self.squares += between.square() * self.count * count / total
        self.mean += between * count / total
        self.count = total

    def statistics(self, name: str, *, per_pixel: bool) -> GateStatistics:
        """Return what came in so far."""
        unknown = torch.full_like(self.mean, torch.nan)
        return GateStatistics(
            block=name,
            mean=self.mean.clone() if self.count else unknown,
            variance=self.squares / self.count if self.count else unknown,
            count=self.count,
            per_pixel=per_pixel,
        )
