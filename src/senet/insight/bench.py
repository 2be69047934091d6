"""How fast senet is on this machine: the tails that SE makes longer, and whole networks.

Everything that is compared runs side by side in one process, in turns; see `senet.insight.stopwatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from senet.checks import positive
from senet.errors import SenetError
from senet.insight.machine import this_machine
from senet.insight.results import Spread
from senet.insight.results_timing import Bench, Mode, Timing
from senet.insight.step import NetworkStep, Precision
from senet.insight.stopwatch import Work, time_in_turns, time_once
from senet.insight.tails import (
    CopyStep,
    Maps,
    Site,
    Tail,
    TailStep,
    dtype_of,
    layer_by_layer,
    make_maps,
    se_sites,
    shape_text,
    tail_bytes,
)
from senet.insight.timing_rows import timing_rows
from senet.kernels.backends import kernels, mode
from senet.networks.zoo import create_network, default_se, input_size, plain_name, twin_name

Watch = Callable[[str, float], object]

FIRST_USE = "first use of the kernels"
TAIL = "tail"
NETWORK = "network"
COPY = "copy of the same bytes"
_TAIL_PAIRS = (
    ("SE", "plain"),
    ("SE", COPY),
    ("SE, layer by layer", "SE"),
    ("SE, layer by layer", "plain, layer by layer"),
    ("plain, layer by layer", "plain"),
)
_TAILS, _TRAINING, _INFERENCE = 0.3, 0.5, 0.2
"""Shares of the time."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """What to measure.

    Attributes:
        model: name of a network, plain or with SE; both are measured.
        batch_size: images at a time.
        image_size: their side in pixels; by default what the network was designed for.
        precision: ``"bf16"`` for autocast to bfloat16, and tails on bfloat16 maps.
        threads: PyTorch's on the CPU; by default those it has.
        seconds: how long to measure in all, without what is done once.

    Raises:
        SenetError: a value is out of range.
    """

    model: str = "se_resnet50b"
    batch_size: int = 8
    image_size: int | None = None
    precision: Precision = "fp32"
    threads: int | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        positive("The batch size", self.batch_size)
        for name, value in (("The image size", self.image_size), ("The number of threads", self.threads)):
            if value is not None:
                positive(name, value)
        if not 0 < self.seconds <= 86_400:
            raise SenetError(f"seconds must be above 0 and at most 86,400 (a day), not {self.seconds:g}.")

    @property
    def size(self) -> int:
        """The side of the images in pixels."""
        return self.image_size or input_size(self.model)


def bench(
    settings: BenchSettings,
    *,
    device: torch.device,
    others: Mapping[str, Callable[[], nn.Module]] | None = None,
    watch: Watch = lambda title, share: None,
) -> Bench:
    """Measure tails and networks.

    Args:
        settings: what to measure.
        device: where.
        others: by name, what builds networks of other packages to measure beside ours.
        watch: told what is being measured, and which share of everything is done.

    Raises:
        SenetError: there is no such network, or it cannot see such images.
    """
    if settings.threads is not None and device.type != "cpu":
        raise SenetError(f"threads has no effect on {device.type}: leave it out, or measure on the cpu.")
    sites = se_sites(twin_name(settings.model), settings.batch_size, settings.size)
    with _threads(settings.threads):
        measuring = _Measuring(settings, device, watch)
        measuring.build(others or {})
        measuring.first_use()
        for index, site in enumerate(sites):
            measuring.tail(site, (index / len(sites), 1 / len(sites)))
        measuring.network("train", _TAILS, _TRAINING)
        measuring.network("infer", _TAILS + _TRAINING, _INFERENCE)
        return Bench(timings=tuple(measuring.timings), notes=(*measuring.notes, *measuring.unfused_notes()))


class _Measuring:
    """One measurement of everything, piece by piece."""

    def __init__(self, settings: BenchSettings, device: torch.device, watch: Watch) -> None:
        self.settings, self.device, self.watch = settings, device, watch
        self.plain, self.se = plain_name(settings.model), twin_name(settings.model)
        self.timings: list[Timing] = []
        self.notes: list[str] = []
        self.steps: dict[str, NetworkStep] = {}
        self.common: dict[str, Any] = {
            "batch": settings.batch_size,
            "precision": settings.precision,
            "layout": "channels_last",
            "machine": this_machine(device),
        }
        self.fused = False
        self.unfused: dict[str, list[str]] = {}

    def build(self, others: Mapping[str, Callable[[], nn.Module]]) -> None:
        """Build all networks, with images for them."""
        self.watch("building the networks", 0)
        images = self._images(self.settings.batch_size)
        builders = {
            f"senet {self.se}": lambda: create_network(self.se),
            f"senet {self.plain}": lambda: create_network(self.plain),
            **others,
        }
        for name, build in builders.items():
            self.steps[name] = self._step(build(), images)

    def _images(self, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(count, 3, self.settings.size, self.settings.size, generator=generator)
        return images.to(self.device, memory_format=torch.channels_last)

    def _step(self, network: nn.Module, images: torch.Tensor) -> NetworkStep:
        network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return NetworkStep(network, images, precision=self.settings.precision)

    def first_use(self) -> None:
        """Run what compiles kernels, and tell how long that took."""
        self.watch("first use of the kernels", 0)
        seconds, images = 0.0, self._images(min(2, self.settings.batch_size))
        for name in (self.se, self.plain):
            step = self._step(self.steps[f"senet {name}"].network, images)
            for work in (step.train, step.infer):
                seconds += first_use_seconds(work, self.device)
        self.notes.append(
            f"The first use of the kernels took {seconds:.1f} s longer than the next, because they were "
            "compiled or loaded from the cache; the times below do not include it."
        )
        self.timings.append(
            Timing(
                benchmark=FIRST_USE,
                name=f"senet {self.se}",
                shape=f"3x{self.settings.size}x{self.settings.size}",
                mode="train",
                milliseconds=Spread(median=1e3 * seconds, p20=1e3 * seconds, p80=1e3 * seconds, count=1),
                **{**self.common, "batch": len(images)},
            )
        )

    def tail(self, site: Site, part: tuple[float, float]) -> None:
        """Measure the tail at one site, forward and backward.

        Args:
            site: where SE sits.
            part: of the time for tails: where it begins, and how much it is.
        """
        begin, share = part
        maps = make_maps(
            site.shape,
            self.settings.batch_size,
            add=site.steps.add,
            device=self.device,
            dtype=dtype_of(self.settings.precision),
        )
        steps = self._tail_steps(site, maps)
        works: dict[str, Work] = {}
        if self._runs_fused(steps["SE"]):
            works = {name: step.train for name, step in steps.items()}
        works |= {f"{name}, layer by layer": layer_by_layer(step.train) for name, step in steps.items()}
        copies = CopyStep(maps, site.steps)
        works[COPY] = copies.run
        title = f"tail, maps {site.shape[0]}×{site.shape[1]}×{site.shape[2]}"
        turns = time_in_turns(
            works,
            device=self.device,
            seconds=self.settings.seconds * _TAILS * share,
            watch=lambda done: self.watch(title, _TAILS * (begin + share * done)),
        )
        counted = {"SE": tail_bytes(maps, site.steps), COPY: copies.bytes}
        if site.without_se is not None:
            counted["plain"] = tail_bytes(maps, site.without_se)
        self.timings += timing_rows(
            turns,
            _TAIL_PAIRS,
            bytes_of=counted,
            benchmark=TAIL,
            shape=shape_text(site.shape),
            mode="train",
            **self.common,
        )

    def _tail_steps(self, site: Site, maps: Maps) -> dict[str, TailStep]:
        modules = {"SE": Tail(site.shape[0], site.steps, default_se(self.se))}
        if site.without_se is not None:
            modules["plain"] = Tail(site.shape[0], site.without_se, None)
        return {name: TailStep(each.to(self.device), maps) for name, each in modules.items()}

    def _runs_fused(self, step: TailStep) -> bool:
        choice = step.kernel()
        self.fused = self.fused or choice.is_fused
        if not choice.is_fused:
            where = shape_text(tuple(step.maps.y.shape[1:])).replace("x", "×")
            self.unfused.setdefault(choice.reason, []).append(where)
        return choice.is_fused

    def unfused_notes(self) -> list[str]:
        """Return a sentence for each reason why tails ran layer by layer."""
        return [
            f"No fused kernel supports maps of {', '.join(where)}: {reason}."
            for reason, where in self.unfused.items()
        ]

    def network(self, what: Mode, begin: float, share: float) -> None:
        """Measure a training step or inference of all networks."""
        works: dict[str, Work] = {name: getattr(step, what) for name, step in self.steps.items()}
        se = f"senet {self.se}"
        if self.fused:
            works[f"{se}, layer by layer"] = layer_by_layer(works[se])
        title = "training step" if what == "train" else "inference"
        turns = time_in_turns(
            works,
            device=self.device,
            seconds=self.settings.seconds * share,
            least=3,
            warm_up=1,
            watch=lambda done: self.watch(title, begin + share * done),
        )
        compare = [(se, f"senet {self.plain}"), *((name, se) for name in list(works)[2:])]
        self.timings += timing_rows(
            turns,
            compare,
            benchmark=NETWORK,
            shape=f"3x{self.settings.size}x{self.settings.size}",
            mode=what,
            **self.common,
        )


def first_use_seconds(work: Work, device: torch.device) -> float:
    """Return how much longer the first run of ``work`` takes than the second, other first times apart.

    Layer by layer it runs before both, so that what PyTorch does once is not taken for the kernels'. Then it
    runs fused whatever the size of the maps.
    """
    layer_by_layer(work)()
    with kernels("always" if mode() == "auto" else mode()):
        first, second = time_once(work, device), time_once(work, device)
    return max(0.0, first - second)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
