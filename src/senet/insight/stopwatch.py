"""The one stopwatch: two things timed side by side, in turns, in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from senet.insight.results import Spread

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Times of two pieces of work, in seconds, one entry per pair of turns."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    def ratio(self) -> Spread:
        """Return second over first, pair by pair."""
        return spread([second / first for first, second in zip(self.first, self.second, strict=True)])


def spread(values: list[float] | tuple[float, ...]) -> Spread:
    """Return the median and the 20th and 80th percentile of ``values``."""
    p20, median, p80 = np.percentile(values, [20, 50, 80])
    return Spread(median=float(median), p20=float(p20), p80=float(p80), count=len(values))


def time_side_by_side(
    first: Work, second: Work, *, device: torch.device, seconds: float, least: int = 5, warm_up: int = 2
) -> SideBySide:
    """Time two pieces of work in turns, so that a machine that slows down slows both.

    The order within a pair alternates (A B, B A, …), which cancels a steady drift.

    Args:
        first: the work the ratio is relative to.
        second: the other.
        device: waited for before the clock is read.
        seconds: how long to measure in all.
        least: pairs to measure whatever it takes.
        warm_up: pairs that are not counted.
    """
    times: tuple[list[float], list[float]] = ([], [])
    works = (first, second)
    started = time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()
    try:
        pair = -warm_up
        while pair < least or time.perf_counter() - started < seconds:
            for which in (0, 1) if pair % 2 == 0 else (1, 0):
                elapsed = _time(works[which], device)
                if pair >= 0:
                    times[which].append(elapsed)
            pair += 1
    finally:
        if collecting:
            gc.enable()
    return SideBySide(first=tuple(times[0]), second=tuple(times[1]))


def _time(work: Work, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
