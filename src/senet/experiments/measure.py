"""What a network and its SE twin cost, measured side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from senet.insight.cost import cost
from senet.insight.memory import peak_memory_bytes
from senet.insight.results import MeasuredCost, NetworkCost, Spread
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import SideBySide, spread, time_side_by_side
from senet.training.device import describe_device
from senet.training.recipe import FittedRecipe


def measure_cost(
    plain: nn.Module,
    se: nn.Module,
    recipe: FittedRecipe,
    *,
    channels: int,
    device: torch.device,
    seconds: float,
) -> MeasuredCost:
    """Measure training and inference of both networks in turns, on random images.

    Args:
        plain: the network without SE; trained for the measurement, so give a copy.
        se: its twin, likewise.
        recipe: gives batch size, image size and precision.
        channels: of the images.
        device: where to measure.
        seconds: how long training and inference are measured, each.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.batch_size, channels, recipe.image_size, recipe.image_size)
    images = torch.randn(shape, generator=generator).to(device, memory_format=torch.channels_last)
    networks = [each.to(device, memory_format=torch.channels_last) for each in (plain, se)]  # type: ignore[call-overload]
    steps = [
        NetworkStep(network, images, precision=recipe.precision, momentum=recipe.momentum)
        for network in networks
    ]
    memory = [peak_memory_bytes(step.train, step.held(), device) for step in steps]
    training = time_side_by_side(steps[0].train, steps[1].train, device=device, seconds=seconds)
    inference = time_side_by_side(steps[0].infer, steps[1].infer, device=device, seconds=seconds)

    def measured(which: int, times: Callable[[SideBySide], tuple[float, ...]]) -> NetworkCost:
        counted = cost(networks[which], (channels, recipe.image_size, recipe.image_size))
        return NetworkCost(
            parameters=counted.parameters,
            multiply_adds=counted.multiply_adds,
            training_images_per_second=_scaled(times(training), lambda each: len(images) / each),
            inference_ms_per_image=_scaled(times(inference), lambda each: 1000 * each / len(images)),
            peak_memory_bytes=memory[which],
        )

    return MeasuredCost(
        plain=measured(0, lambda both: both.first),
        se=measured(1, lambda both: both.second),
        training_time_ratio=training.ratio(),
        inference_time_ratio=inference.ratio(),
        batch_size=len(images),
        device=describe_device(device),
    )


def _scaled(times: tuple[float, ...], scale: Callable[[float], float]) -> Spread:
    return spread([scale(each) for each in times])
