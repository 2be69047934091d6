from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senet.data.order import Sampling, epoch_order
from senet.errors import SenetError
from senet.randomness import seed_from

label_lists = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


def by_counting(order: np.ndarray) -> list[int]:
    seen: dict[int, int] = {}
    repetitions = []
    for index in order.tolist():
        repetitions.append(seen.get(index, 0))
        seen[index] = repetitions[-1] + 1
    return repetitions


def test_by_default_the_order_is_the_permutation_it_always_was() -> None:
    for seed, epoch, count in ((0, 0, 50), (3, 7, 1), (1, 2, 129)):
        generator = np.random.Generator(np.random.PCG64(seed_from("order", seed, epoch)))
        order, repetitions = epoch_order(np.zeros(count, np.int64), seed=seed, epoch=epoch)
        assert np.array_equal(order, generator.permutation(count))
        assert order.dtype == repetitions.dtype == np.int64 and not repetitions.any()
    fixed, _ = epoch_order(np.zeros(8, np.int64), seed=1, epoch=2)
    assert fixed.tolist() == [4, 6, 7, 1, 3, 0, 5, 2]


@settings(deadline=None)
@given(
    labels=label_lists,
    seed=st.integers(0, 9),
    epoch=st.integers(0, 50),
    sampling=st.sampled_from(["shuffle", "balanced"]),
    repeats=st.integers(1, 5),
)
def test_every_order_has_its_length_and_tells_repetitions_apart(
    labels: np.ndarray, seed: int, epoch: int, sampling: Sampling, repeats: int
) -> None:
    order, repetitions = epoch_order(labels, seed=seed, epoch=epoch, sampling=sampling, repeats=repeats)
    assert order.shape == repetitions.shape == labels.shape
    assert order.dtype == repetitions.dtype == np.int64
    assert order.min() >= 0 and order.max() < len(labels)
    assert repetitions.tolist() == by_counting(order)
    for start in range(0, len(order), repeats):
        assert len(set(order[start : start + repeats].tolist())) == 1
    again = epoch_order(labels, seed=seed, epoch=epoch, sampling=sampling, repeats=repeats)
    assert np.array_equal(again[0], order)


@settings(deadline=None)
@given(labels=label_lists, epoch=st.integers(0, 50), repeats=st.integers(1, 3))
def test_balanced_classes_differ_by_one_draw_at_most(labels: np.ndarray, epoch: int, repeats: int) -> None:
    order, _ = epoch_order(labels, seed=4, epoch=epoch, sampling="balanced", repeats=repeats)
    drawn = labels[order[::repeats]]
    counts = [int((drawn == label).sum()) for label in np.unique(labels)]
    assert max(counts) - min(counts) <= 1


@settings(deadline=None)
@given(labels=label_lists, epochs=st.integers(1, 8), repeats=st.integers(1, 3))
def test_over_the_epochs_no_image_of_a_class_comes_twice_more_than_another(
    labels: np.ndarray, epochs: int, repeats: int
) -> None:
    drawn = np.zeros(len(labels), int)
    for epoch in range(epochs):
        order, _ = epoch_order(labels, seed=1, epoch=epoch, sampling="balanced", repeats=repeats)
        drawn += np.bincount(order[::repeats], minlength=len(labels))
    totals = [int(drawn[labels == label].sum()) for label in np.unique(labels)]
    assert max(totals) - min(totals) <= 1
    for label in np.unique(labels):
        of_class = drawn[labels == label]
        assert of_class.max() - of_class.min() <= 1


def test_every_list_of_a_class_is_shuffled_anew_and_epochs_differ() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    orders = [epoch_order(labels, seed=0, epoch=epoch, sampling="balanced")[0] for epoch in range(4)]
    assert all(sorted(order.tolist()) == list(range(20)) for order in orders), "one list of each class"
    assert len({tuple(order.tolist()) for order in orders}) == 4
    # With classes of 3 and 17, which images of the second come is told by its list.
    labels = np.array([0] * 3 + [1] * 17)
    lists = []
    for seed in range(2):
        drawn = [epoch_order(labels, seed=seed, epoch=epoch, sampling="balanced")[0] for epoch in range(17)]
        large = [frozenset(order[order >= 3].tolist()) for order in drawn]
        assert len(large[0]) == 10
        assert large[0] | large[1] == set(range(3, 20)), "the rest of the list comes first"
        lists.append(tuple(large))
    assert len(set(lists)) == 2 and len(set(lists[0])) > 10


def test_no_two_lists_of_a_class_are_alike() -> None:
    # Of the six images of a class, four are drawn in an epoch: every third one begins a list.
    labels = np.array([0] * 2 + [1] * 6)
    orders = [epoch_order(labels, seed=0, epoch=epoch, sampling="balanced")[0] for epoch in range(0, 60, 3)]
    drawn = {frozenset(order[order >= 2].tolist()) for order in orders}
    assert all(len(each) == 4 for each in drawn) and len(drawn) > 7


def test_classes_are_mixed_over_the_epoch() -> None:
    labels = np.arange(1000) % 4
    order, _ = epoch_order(labels, seed=0, epoch=0, sampling="balanced")
    for quarter in np.split(labels[order], 4):
        assert np.bincount(quarter, minlength=4).min() > 40 and np.bincount(quarter).max() < 90


def test_repeats_take_the_first_images_of_the_permutation() -> None:
    labels = np.zeros(10, np.int64)
    plain, _ = epoch_order(labels, seed=5, epoch=1)
    order, repetitions = epoch_order(labels, seed=5, epoch=1, repeats=3)
    assert order.tolist() == plain[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3]].tolist()
    assert repetitions.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_a_number_of_repeats_below_one_is_refused() -> None:
    with pytest.raises(SenetError, match=r"repeats must be .*1, not 0\."):
        epoch_order(np.zeros(4, np.int64), seed=0, epoch=0, repeats=0)
