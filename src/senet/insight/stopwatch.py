"""The one stopwatch: things timed side by side, in turns, in one process."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
        """Return second over first, pair by pair, with the interval of its median."""
        return with_interval([second / first for first, second in zip(self.first, self.second, strict=True)])

    def matched(self) -> tuple[Spread, Spread]:
        """Return the times of both, whose medians give the median ratio exactly.

        The medians of two columns may contradict the median of their ratio where the machine's speed
        changes. So the time of a pair, the geometric mean of its two, has a median, and the ratio divides it.
        """
        pairs = zip(self.first, self.second, strict=True)
        both = spread([math.sqrt(first * second) for first, second in pairs]).median
        root = math.sqrt(self.ratio().median)
        return _around(both / root, self.first), _around(both * root, self.second)


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the 20th and 80th percentile of ``values``."""
    points = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    p20, median, p80 = torch.quantile(torch.tensor(values, dtype=torch.float64), points).tolist()
    return Spread(median=median, p20=p20, p80=p80, count=len(values))


def with_interval(values: Sequence[float]) -> Spread:
    """Return `spread`, and the interval of the median with at least 95 % confidence, from order statistics.

    It supposes nothing about how the values are distributed, only that they are independent. Fewer than six
    values have no such interval: it is the range that the smallest and the largest of them span.
    """
    from scipy import stats  # here, as the GPU's benchmarks run where torch alone is installed

    ordered, count = sorted(values), len(values)
    # The median lies below the rank-th smallest value with 2.5 % at most, and above the rank-th largest.
    rank = max(1, int(stats.binom.ppf(0.025, count, 0.5)))
    return replace(spread(values), low=ordered[rank - 1], high=ordered[count - rank])


def _around(median: float, values: Sequence[float]) -> Spread:
    found = spread(values)
    return replace(found, median=median, p20=min(found.p20, median), p80=max(found.p80, median))


def time_side_by_side(
    first: Work,
    second: Work,
    *,
    device: torch.device,
    seconds: float,
    least: int = 6,
    warm_up: int = 2,
    narrow: float = 0.0,
    limit: float | None = None,
) -> SideBySide:
    """Time two pieces of work in turns, each pair in the other order than the one before.

    Args:
        first: the work the ratio is relative to.
        second: the other.
        device: waited for before the clock is read.
        seconds: how long to measure in all, at least.
        least: pairs to measure whatever it takes.
        warm_up: pairs that are not counted.
        narrow: go on after that until the interval of the ratio reaches no further than this from it, such as
            0.01 for one percent; 0 does not.
        limit: seconds after which to end in any case; by default ``seconds``.
    """
    works = {"first": first, "second": second}

    def enough(turns: InTurns) -> bool:
        ratio = SideBySide(first=turns.seconds["first"], second=turns.seconds["second"]).ratio()
        assert ratio.low is not None and ratio.high is not None
        return max(ratio.high / ratio.median, ratio.median / ratio.low) <= 1 + narrow

    turns = time_in_turns(
        works,
        device=device,
        seconds=seconds,
        least=least,
        warm_up=warm_up,
        enough=enough if narrow else None,
        limit=seconds if limit is None else limit,
    )
    return SideBySide(first=turns.seconds["first"], second=turns.seconds["second"])


def time_in_turns(
    works: Mapping[str, Work],
    *,
    device: torch.device,
    seconds: float,
    least: int = 5,
    warm_up: int = 2,
    watch: Watch | None = None,
    enough: Callable[[InTurns], bool] | None = None,
    limit: float = 0.0,
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
        enough: asked now and then after ``seconds`` whether what was measured is enough.
        limit: seconds after which to end whatever ``enough`` says.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    forwards, backwards = list(works), list(works)[::-1]
    started = time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()
    try:
        done = -warm_up
        while (
            done < least or time.perf_counter() - started < seconds or _go_on(times, enough, started + limit)
        ):
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


def _go_on(times: Mapping[str, list[float]], enough: Callable[[InTurns], bool] | None, end: float) -> bool:
    if enough is None or time.perf_counter() >= end:
        return False
    rounds = len(next(iter(times.values())))
    # Asking takes time, and a few rounds more change little.
    return rounds % max(1, rounds // 10) != 0 or not enough(InTurns({k: tuple(v) for k, v in times.items()}))


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
