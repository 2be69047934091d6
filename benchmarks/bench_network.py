"""ResNet-50 and SE-ResNet-50, senet's and timm's: ``python -m benchmarks.bench_network``.

A training step of 8 images, inference of 1 and of 8, and the memory that a training step takes at its peak
beyond weights, optimiser and images. On two cores about six minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.common import CHANNELS_LAST, parse, save, timm_network
from senet.compiler.accelerate import fold
from senet.insight.machine import this_machine
from senet.insight.memory import peak_memory_bytes
from senet.insight.results_timing import Mode, Timing
from senet.insight.step import NetworkStep, Precision
from senet.insight.stopwatch import Work, time_in_turns
from senet.insight.tails import layer_by_layer
from senet.insight.timing_rows import timing_rows
from senet.networks.zoo import create_network

OURS, OURS_PLAIN = "senet se_resnet50b", "senet resnet50b"
TIMM, TIMM_PLAIN = "timm seresnet50", "timm resnet50"
NAMES = (OURS, OURS_PLAIN, TIMM, TIMM_PLAIN)
LAYERS, LAYERS_PLAIN = f"{OURS}, layer by layer", f"{OURS_PLAIN}, layer by layer"
COMPILED = "torch.compile of the SE network"
FOLDED, FOLDED_PLAIN = f"{OURS}, folded", f"{OURS_PLAIN}, folded"
COMPARE = (
    (OURS, TIMM_PLAIN),
    (OURS, OURS_PLAIN),
    (OURS, TIMM),
    (OURS_PLAIN, TIMM_PLAIN),
    (TIMM, TIMM_PLAIN),
    (LAYERS, OURS),
    (LAYERS, LAYERS_PLAIN),
    (LAYERS_PLAIN, OURS_PLAIN),
    (OURS, COMPILED),
    (OURS, LAYERS_PLAIN),
    (FOLDED, FOLDED_PLAIN),
    (FOLDED, TIMM),
    (FOLDED, TIMM_PLAIN),
    (FOLDED_PLAIN, TIMM_PLAIN),
)


@dataclass(frozen=True)
class Setting:
    """How networks are measured: images at a time, their side, and where."""

    batch: int
    side: int
    device: torch.device
    precision: Precision = "fp32"

    def images(self) -> torch.Tensor:
        """Return random images."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.side, self.side, generator=generator)
        return images.to(self.device, memory_format=CHANNELS_LAST)

    def common(self) -> dict[str, Any]:
        """Return what all rows share."""
        return {
            "benchmark": "network",
            "shape": f"3x{self.side}x{self.side}",
            "batch": self.batch,
            "precision": self.precision,
            "layout": "channels_last",
            "machine": this_machine(self.device),
        }


def networks(device: torch.device, smoke: bool) -> dict[str, nn.Module]:
    """Build senet's and timm's networks; for a smoke test small ones of senet's under the same names."""
    built: dict[str, nn.Module]
    if smoke:
        built = {name: create_network("se_resnet8" if "se" in name[5:] else "resnet8") for name in NAMES}
    else:
        built = {
            OURS: create_network("se_resnet50b"),
            OURS_PLAIN: create_network("resnet50b"),
            TIMM: timm_network("seresnet50"),
            TIMM_PLAIN: timm_network("resnet50"),
        }
    sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in built.items()}
    assert sizes[OURS] == sizes[TIMM] and sizes[OURS_PLAIN] == sizes[TIMM_PLAIN], sizes
    return {name: each.to(device, memory_format=CHANNELS_LAST) for name, each in built.items()}  # type: ignore[call-overload]


def steps_of(built: Mapping[str, nn.Module], setting: Setting) -> dict[str, NetworkStep]:
    """Return a step of each network on the same images."""
    images = setting.images()
    return {name: NetworkStep(each, images, precision=setting.precision) for name, each in built.items()}


def peak_of(step: NetworkStep, work: Work, device: torch.device) -> int:
    """Return the most bytes that a training step has at one moment beyond weights, optimiser and images."""

    def from_nothing() -> None:
        work()
        step.optimiser.zero_grad(set_to_none=True)

    return peak_memory_bytes(from_nothing, [], device)


def measure(
    built: Mapping[str, nn.Module],
    setting: Setting,
    mode: Mode,
    seconds: float,
    others: Mapping[str, Work] | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[Timing]:
    """Return the rows of one mode, training with memory.

    Args:
        built: the networks by name.
        setting: how.
        mode: what.
        seconds: how long.
        others: more work to time in turns with the networks'.
        notes: anything a reader has to know, by name.
    """
    steps = steps_of(built, setting)
    works: dict[str, Work] = {name: getattr(step, mode) for name, step in steps.items()}
    for name, layers in ((OURS, LAYERS), (OURS_PLAIN, LAYERS_PLAIN)):
        steps[layers], works[layers] = steps[name], layer_by_layer(works[name])
    peaks = {}
    if mode == "train":
        peaks = {name: peak_of(steps[name], work, setting.device) for name, work in works.items()}
    turns = time_in_turns({**works, **(others or {})}, device=setting.device, seconds=seconds)
    return timing_rows(turns, COMPARE, peak_of=peaks, note_of=notes, mode=mode, **setting.common())


def folded_works(built: Mapping[str, nn.Module], setting: Setting) -> dict[str, Work]:
    """Return inference of senet's networks with their BatchNorms folded into the convolutions."""
    images = setting.images()

    def work(network: nn.Module) -> Work:
        folded = fold(network)

        def run() -> None:
            with torch.no_grad():
                folded(images)

        return run

    return {FOLDED: work(built[OURS]), FOLDED_PLAIN: work(built[OURS_PLAIN])}


def main(argv: list[str] | None = None) -> None:
    """Measure and write the rows."""
    options = parse(__doc__, "network", 330, argv)
    device = torch.device("cpu")
    side, batch = (32, 2) if options.smoke else (224, 8)
    built = networks(device, options.smoke)
    many, one = Setting(batch, side, device), Setting(1, side, device)
    rows = measure(built, many, "train", 0.6 * options.seconds)
    rows += measure(built, one, "infer", 0.15 * options.seconds, folded_works(built, one))
    rows += measure(built, many, "infer", 0.25 * options.seconds, folded_works(built, many))
    save(rows, options.out)


if __name__ == "__main__":
    main()
