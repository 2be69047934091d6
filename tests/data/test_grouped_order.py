from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet.data.grouped_order import SAMPLED_GROUPS, grouped_order, sample_evenly
from senet.data.source import Indices, Subset
from senet.errors import SenetError

from .pictures import numbered_arrays

GROUPS = st.lists(st.integers(-3, 12), max_size=60).map(lambda values: np.array(values, dtype=np.int64))


def spans(order: Indices, groups: Indices) -> dict[int, tuple[int, int]]:
    """First and last place of each group in the order."""
    placed = groups[order].tolist()
    return {
        group: (placed.index(group), len(placed) - 1 - placed[::-1].index(group)) for group in set(placed)
    }


@given(GROUPS, st.integers(0, 3), st.integers(0, 3), st.integers(1, 5))
def test_a_permutation_with_each_group_in_one_stretch(
    groups: Indices, seed: int, epoch: int, window: int
) -> None:
    order = grouped_order(groups, seed, epoch, window_groups=window)
    assert order.dtype == np.int64 and sorted(order.tolist()) == list(range(len(groups)))
    assert np.array_equal(order, grouped_order(groups, seed, epoch, window_groups=window))
    found = spans(order, groups)
    # At any place, no more groups have begun and not ended than are mixed.
    for place in range(len(order)):
        assert sum(first <= place <= last for first, last in found.values()) <= window
    # What has ended makes room: windows follow each other, and all but the last are full.
    ends = sorted(found.values())
    for start in range(0, len(ends), window):
        here, later = ends[start : start + window], ends[start + window :]
        assert all(first > max(last for _, last in here) for first, _ in later)


def test_order_depends_on_seed_and_epoch() -> None:
    groups = np.repeat(np.arange(6), 50)
    orders = {grouped_order(groups, seed, epoch).tobytes() for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_groups_and_images_are_both_shuffled() -> None:
    groups = np.repeat(np.arange(8), 100)
    order = grouped_order(groups, 0, 0, window_groups=2)
    windows = [sorted(set(groups[order[start : start + 200]].tolist())) for start in range(0, 800, 200)]
    assert all(len(window) == 2 for window in windows) and windows != sorted(windows)
    first = groups[order[:200]]
    assert 25 < (first[:100] == windows[0][0]).sum() < 75
    assert 20 < (np.diff(order[:200]) > 0).sum() < 180


def test_every_group_comes_first_sometimes() -> None:
    groups = np.repeat(np.arange(5), 3)
    assert {groups[grouped_order(groups, 0, epoch, window_groups=1)[0]] for epoch in range(60)} == set(
        range(5)
    )


def test_no_groups_to_mix_are_refused() -> None:
    with pytest.raises(SenetError, match=r"of at least 1, not 0\."):
        grouped_order(np.zeros(3, np.int64), 0, 0, window_groups=0)


@pytest.mark.parametrize(("count", "most"), [(10, 3), (10, 10), (3, 10), (1, 1), (0, 5)])
def test_a_sample_without_groups_is_evenly_spaced(count: int, most: int) -> None:
    chosen = sample_evenly(Subset(numbered_arrays(10), np.arange(count)), most)
    assert len(chosen) == min(count, most) and np.array_equal(chosen, np.unique(chosen))
    if len(chosen) > 1:
        assert chosen[0] == 0 and chosen[-1] == count - 1 and np.ptp(np.diff(chosen)) <= 1


def test_a_sample_comes_from_few_groups() -> None:
    source = numbered_arrays(200)
    source.groups = np.repeat(np.arange(20), 10)
    subset = Subset(source, np.arange(0, 200, 3))
    assert np.array_equal(subset.groups, source.groups[::3])
    chosen = sample_evenly(subset, 12)
    assert len(chosen) == 12 and set(subset.groups[chosen].tolist()) == {0, 6, 13, 19}
    assert len(set(source.groups[sample_evenly(source, 1000)])) == SAMPLED_GROUPS
    assert len(sample_evenly(source, 1000)) == 40
