from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from senet.insight import stopwatch
from senet.insight.results import Spread
from senet.insight.stopwatch import (
    InTurns,
    SideBySide,
    spread,
    time_in_turns,
    time_side_by_side,
    with_interval,
)

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the works move."""
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    return now


def test_spread_is_median_and_percentiles() -> None:
    got = spread([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (got.median, got.p20, got.p80, got.count) == pytest.approx((3.0, 1.8, 5.2, 5))


def test_works_take_turns_and_the_first_of_a_pair_alternates() -> None:
    calls: list[str] = []
    both = time_side_by_side(
        lambda: calls.append("A"), lambda: calls.append("B"), device=CPU, seconds=0, least=4, warm_up=2
    )
    assert "".join(calls) == "ABBA" + "ABBAABBA"
    assert len(both.first) == len(both.second) == 4, "the warm-up does not count"


def test_ratio_is_second_over_first_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: clock[0])
    slow = iter(np.linspace(1, 5, 100))  # a machine that gets slower and slower

    def work(factor: float) -> None:
        clock[0] += factor * next(slow)

    both = time_side_by_side(lambda: work(1), lambda: work(1.5), device=CPU, seconds=0, least=20, warm_up=0)
    assert len(both.first) == len(both.second) == 20
    assert both.ratio().median == pytest.approx(1.5, rel=0.03)


def test_several_works_go_forwards_and_backwards_in_turn() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in "ABC"}
    turns = time_in_turns(works, device=CPU, seconds=0, least=3, warm_up=1)
    assert "".join(calls) == "CBA" + "ABC" + "CBA" + "ABC"
    assert list(turns.seconds) == ["A", "B", "C"]
    assert all(len(each) == 3 for each in turns.seconds.values()), "the warm-up does not count"


def test_times_and_ratios_belong_to_their_names(clock: list[float]) -> None:
    def work(seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds

        return run

    works = {"one": work(0.25), "two": work(0.5), "half": work(0.125)}
    turns = time_in_turns(works, device=CPU, seconds=0, least=4)
    assert turns.milliseconds("two") == Spread(median=500, p20=500, p80=500, count=4)
    assert turns.ratio("two", to="one").median == 2
    assert turns.ratio("half", to="two").median == 0.25


def test_a_ratio_is_that_of_the_same_round() -> None:
    turns = InTurns({"a": (1.0, 20.0, 3.0), "b": (2.0, 10.0, 1.0)})
    # 0.5, 2 and 3: not 3 over 2, which the medians of both would give, nor any other pairing.
    assert turns.ratio("a", to="b") == Spread(
        median=2.0, p20=pytest.approx(1.1), p80=pytest.approx(2.6), count=3
    )


def test_the_first_slow_rounds_are_not_counted(clock: list[float]) -> None:
    durations = iter([60.0, 30.0, *[1.0] * 100])  # compiling

    def work() -> None:
        clock[0] += next(durations)

    turns = time_in_turns({"work": work}, device=CPU, seconds=0, least=5, warm_up=2)
    assert turns.seconds["work"] == (1.0,) * 5


def test_it_goes_on_until_the_time_is_up_and_tells_how_far_it_is(clock: list[float]) -> None:
    def work() -> None:
        clock[0] += 1

    shares: list[float] = []
    turns = time_in_turns(
        {"a": work, "b": work}, device=CPU, seconds=20, least=2, warm_up=1, watch=shares.append
    )
    assert len(turns.seconds["a"]) == 9, "20 s are ten rounds, of which one warms up"
    assert shares == sorted(shares) and shares[-1] == 1
    assert shares[4] == pytest.approx(0.5)


def test_what_watches_is_not_timed(clock: list[float]) -> None:
    def work() -> None:
        clock[0] += 1

    def watch(share: float) -> None:
        clock[0] += 100

    turns = time_in_turns({"work": work}, device=CPU, seconds=0, least=3, watch=watch)
    assert turns.seconds["work"] == (1.0, 1.0, 1.0)


def test_garbage_collection_is_on_again_also_after_a_failure() -> None:
    def work() -> None:
        assert not gc.isenabled()
        raise ValueError

    with pytest.raises(ValueError):
        time_in_turns({"work": work}, device=CPU, seconds=0)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0, 0), (5, 0, 4), (6, 0, 5), (9, 1, 7), (100, 39, 60)]
)
def test_the_interval_of_a_median_is_that_of_tables(count: int, low: int, high: int) -> None:
    """Ranks as in W. J. Conover, Practical Nonparametric Statistics (1999), for the sign test's interval."""
    found = with_interval([float(each) for each in range(count)])
    assert (found.low, found.high) == (low, high)


def turns(noise: str, pairs: int, ratio: float, rng: np.random.Generator) -> SideBySide:
    """Return times of two works on a machine that is disturbed, in the order in which they are measured."""
    second = np.tile([False, True, True, False], pairs // 2 + 1)[: 2 * pairs]
    speed = np.exp(rng.normal(0, 0.05, 2 * pairs))
    if noise == "drift":
        speed *= np.exp(np.cumsum(rng.normal(0, 0.03, 2 * pairs)))
    elif noise == "spikes":
        speed *= np.where(rng.random(2 * pairs) < 0.15, rng.uniform(1.2, 3, 2 * pairs), 1)
    elif noise == "bursts":
        speed *= np.where(np.cumsum(rng.random(2 * pairs) < 0.1) % 2, 1.8, 1)
    elif noise == "position":
        speed *= np.where(np.arange(2 * pairs) % 2, 1.03, 1)
    times = speed * np.where(second, ratio, 1)
    return SideBySide(first=tuple(times[~second].tolist()), second=tuple(times[second].tolist()))


@pytest.mark.parametrize("noise", ["even", "drift", "spikes", "bursts", "position"])
@pytest.mark.parametrize("pairs", [6, 40])
def test_the_interval_covers_the_ratio_on_a_machine_that_is_disturbed(noise: str, pairs: int) -> None:
    rng = np.random.default_rng(0)
    found = [turns(noise, pairs, 1.02, rng).ratio() for _ in range(300)]
    assert sum(each.low <= 1.02 <= each.high for each in found) >= 0.92 * 300


@pytest.mark.parametrize("noise", ["drift", "spikes", "bursts"])
def test_times_shown_side_by_side_give_the_ratio_shown(noise: str) -> None:
    both = turns(noise, 15, 0.98, np.random.default_rng(3))
    first, second = both.matched()
    assert second.median / first.median == pytest.approx(both.ratio().median, rel=1e-12)
    for each in (first, second):
        assert each.p20 <= each.median <= each.p80 and each.count == 15


@pytest.mark.parametrize(
    ("noise", "narrow", "ends"), [(0.0, 0.01, "at once"), (0.3, 0.01, "at the limit"), (0.3, 0.0, "at once")]
)
def test_measuring_goes_on_until_the_interval_is_narrow(
    clock: list[float], noise: float, narrow: float, ends: str
) -> None:
    rng = np.random.default_rng(0)

    def work() -> None:
        clock[0] += 0.1 * float(np.exp(rng.normal(0, noise)))

    time_side_by_side(work, work, device=CPU, seconds=2, narrow=narrow, limit=10)
    assert (clock[0] >= 10) == (ends == "at the limit") and clock[0] < 12


def test_measuring_ends_as_soon_as_the_interval_is_narrow(clock: list[float]) -> None:
    rng = np.random.default_rng(0)

    def work() -> None:
        clock[0] += 0.1 * float(np.exp(rng.normal(0, 0.05)))

    both = time_side_by_side(work, work, device=CPU, seconds=2, narrow=0.02, limit=1000)
    ratio = both.ratio()
    assert 4 < clock[0] < 500 and ratio.high / ratio.median < 1.03
