from __future__ import annotations

import numpy as np
import pytest
import torch

from senet.insight import stopwatch
from senet.insight.stopwatch import spread, time_side_by_side

CPU = torch.device("cpu")


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
