"""The one stopwatch: things timed side by side, in turns, in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from senet.insight.results import Spread

Work = Callable[[], object]
Watch = Callable[[float], object]


@dataclass(frozen=True)
class InTurns:
    """Times of several pieces of work by name, in seconds, one entry for each round."""

    seconds: Mapping[str, tuple[float, ...]]

    def milliseconds(self, name: str) -> Spread:
        """Return how long a piece of work takes."""
        return spread([1000 * each for each in self.seconds[name]])

    def ratio(self, name: str, to: str) -> Spread:
        """Return how many times as long as the work ``to`` the work ``name`` takes, round by round."""
        return spread([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Times of two pieces of work, in seconds, one entry per pair of turns."""

    first: tuple[float, ...]
    second: tuple[float, ...]

    def ratio(self) -> Spread:
        """Return second over first, pair by pair."""
        return spread([second / first for first, second in zip(self.first, self.second, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the 20th and 80th percentile of ``values``."""
    points = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    p20, median, p80 = torch.quantile(torch.tensor(values, dtype=torch.float64), points).tolist()
    return Spread(median=median, p20=p20, p80=p80, count=len(values))


def time_side_by_side(
    first: Work, second: Work, *, device: torch.device, seconds: float, least: int = 5, warm_up: int = 2
) -> SideBySide:
    """Time two pieces of work in turns: `time_in_turns` with two.

    Args:
        first: the work the ratio is relative to.
        second: the other.
        device: waited for before the clock is read.
        seconds: how long to measure in all.
        least: pairs to measure whatever it takes.
        warm_up: pairs that are not counted.
    """
    works = {"first": first, "second": second}
    turns = time_in_turns(works, device=device, seconds=seconds, least=least, warm_up=warm_up)
    return SideBySide(first=turns.seconds["first"], second=turns.seconds["second"])


def time_in_turns(
    works: Mapping[str, Work],
    *,
    device: torch.device,
    seconds: float,
    least: int = 5,
    warm_up: int = 2,
    watch: Watch | None = None,
) -> InTurns:
    """Time pieces of work in turns, so that a machine that slows down slows all of them.

    Every other round goes backwards (A B C, C B A, …), which cancels a steady drift.

    Args:
        works: by name.
        device: waited for before the clock is read.
        seconds: how long to measure in all.
        least: rounds to measure whatever it takes.
        warm_up: rounds that are not counted.
        watch: told after each round, outside the clock, which share of the measurement is done, 0 to 1.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    forwards, backwards = list(works), list(works)[::-1]
    started = time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()
    try:
        done = -warm_up
        while done < least or time.perf_counter() - started < seconds:
            for name in forwards if done % 2 == 0 else backwards:
                elapsed = time_once(works[name], device)
                if done >= 0:
                    times[name].append(elapsed)
            done += 1
            if watch is not None:
                watch(_share_done(done + warm_up, least + warm_up, time.perf_counter() - started, seconds))
    finally:
        if collecting:
            gc.enable()
    return InTurns({name: tuple(each) for name, each in times.items()})


def _share_done(rounds: int, least: int, elapsed: float, seconds: float) -> float:
    by_time = elapsed / seconds if seconds > 0 else 1.0
    return min(1.0, rounds / least, by_time)


def time_once(work: Work, device: torch.device) -> float:
    """Return the seconds that ``work`` takes, what it leaves ``device`` to do included."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
