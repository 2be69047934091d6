"""What a network and its SE twin cost, measured side by side."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from senet.insight.cost import cost
from senet.insight.memory import peak_memory_bytes
from senet.insight.results import MeasuredCost, NetworkCost
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import SideBySide, Work, time_side_by_side
from senet.training.device import describe_device
from senet.training.recipe import FittedRecipe

# Measuring ends early once the interval of a time ratio reaches no further than this share of it, and late
# after this many times as long as was asked for.
NARROW = 0.01
LONGEST = 5


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

    A machine that does other things besides is measured up to `LONGEST` times as long.

    Args:
        plain: the network without SE; trained for the measurement, so give a copy.
        se: its twin, likewise.
        recipe: gives batch size, image size and precision.
        channels: of the images.
        device: where to measure.
        seconds: how long training and inference are measured, each, at least.
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

    def timed(first: Work, second: Work) -> SideBySide:
        limit = LONGEST * seconds
        return time_side_by_side(first, second, device=device, seconds=seconds, narrow=NARROW, limit=limit)

    training, inference = timed(*(step.train for step in steps)), timed(*(step.infer for step in steps))
    training_times, inference_times = training.matched(), inference.matched()

    def measured(which: int) -> NetworkCost:
        counted = cost(networks[which], (channels, recipe.image_size, recipe.image_size))
        step, image = training_times[which], inference_times[which]
        return NetworkCost(
            parameters=counted.parameters,
            multiply_adds=counted.multiply_adds,
            # What took longest was slowest.
            training_images_per_second=replace(
                step,
                median=len(images) / step.median,
                p20=len(images) / step.p80,
                p80=len(images) / step.p20,
            ),
            inference_ms_per_image=replace(
                image,
                median=1000 * image.median / len(images),
                p20=1000 * image.p20 / len(images),
                p80=1000 * image.p80 / len(images),
            ),
            peak_memory_bytes=memory[which],
        )

    return MeasuredCost(
        plain=measured(0),
        se=measured(1),
        training_time_ratio=training.ratio(),
        inference_time_ratio=inference.ratio(),
        batch_size=len(images),
        device=describe_device(device),
    )
