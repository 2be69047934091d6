"""What would limit SE-ResNet-50 on 64 GPUs: an estimate on paper, from bytes, operations and bandwidths.

Nothing here was run on a GPU. Rates of hardware are its makers'; images per second of a core are measured by
``benchmarks.bench_data``; bytes and operations are counted by `senet.cost`.
"""

from __future__ import annotations

from dataclasses import dataclass

from senet.insight.cost import cost

IMAGENET = 1_281_167
GPUS, GPUS_OF_A_NODE = 64, 8
# NVIDIA H100 SXM by its data sheet: bytes a second of its memory, and dense bf16 operations a second.
MEMORY_BANDWIDTH, OPERATIONS = 3.35e12, 989e12
# What well-written kernels reach of either.
REACHED_OF_MEMORY, REACHED_OF_OPERATIONS = 0.8, 0.4
# How often a training step passes over the output of a convolution, read or written, when BatchNorm, SE, sum
# and ReLU are fused: written, read for statistics, read and written by the tail, read by the next
# convolution; backward as often again, and once more for the gradient of the weights.
PASSES = 11
BYTES_OF_A_VALUE = 2
# Forward, gradient of the input and gradient of the weights; a multiply-add is two operations.
OPERATIONS_OF_A_MULTIPLY_ADD = 3 * 2
LAUNCH_SECONDS = 5e-6
KERNELS_OF_A_CONVOLUTION = 8
CONVOLUTIONS = 53


@dataclass(frozen=True)
class Network:
    """A network between machines: its name, and bytes a second in and out of a node of 8 GPUs."""

    name: str
    bandwidth: float


NETWORKS = (
    Network("25 Gb/s Ethernet a node", 25e9 / 8),
    Network("100 Gb/s a node", 100e9 / 8),
    Network("8 × 400 Gb/s InfiniBand a node", 8 * 400e9 / 8),
)


def image_seconds() -> float:
    """Return the least time one image of a training step takes on one GPU."""
    counted = cost("se_resnet50")
    memory = counted.activations * PASSES * BYTES_OF_A_VALUE / (MEMORY_BANDWIDTH * REACHED_OF_MEMORY)
    operations = counted.multiply_adds * OPERATIONS_OF_A_MULTIPLY_ADD / (OPERATIONS * REACHED_OF_OPERATIONS)
    # Convolutions compute while the passes of the tails wait for memory, and the other way round.
    return memory + operations


def launch_seconds() -> float:
    """Return the least time of a step, however few its images are: that of starting its kernels."""
    return CONVOLUTIONS * KERNELS_OF_A_CONVOLUTION * LAUNCH_SECONDS


def all_reduce_seconds(bandwidth: float) -> float:
    """Return how long the gradients take between the nodes: a ring sends them twice, but for one part."""
    gradients = 4 * cost("se_resnet50").parameters
    nodes = GPUS // GPUS_OF_A_NODE
    return 2 * (nodes - 1) / nodes * gradients / bandwidth


def estimate_rows(batches: tuple[int, ...], core_rate: float) -> list[tuple[object, ...]]:
    """Return a row for each batch size and network between the machines.

    Args:
        batches: images of a step over all GPUs.
        core_rate: photographs a second that one core decodes and crops.
    """
    rows: list[tuple[object, ...]] = []
    for batch in batches:
        computing = max(batch / GPUS * image_seconds(), launch_seconds())
        for network in NETWORKS:
            sending = all_reduce_seconds(network.bandwidth)
            # Gradients are sent while the rest of the backward pass runs, two thirds of the step.
            step = max(computing, computing / 3 + sending)
            rate = batch / step
            rows.append(
                (
                    batch,
                    network.name,
                    f"{1000 * computing:.1f}",
                    f"{1000 * sending:.1f}",
                    f"{rate:,.0f}",
                    f"{IMAGENET / rate:.0f}",
                    f"{computing / step:.0%}",
                    f"{rate / core_rate / GPUS:.1f}",
                )
            )
    return rows


ESTIMATE_TITLES = (
    "batch",
    "between machines",
    "computing, ms",
    "gradients, ms",
    "images/s",
    "epoch, s",
    "efficiency",
    "cores a GPU to decode",
)
