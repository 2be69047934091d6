from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.experiments.evaluation_labels import match_classes
from senet.networks.preprocess import WORDNET_ORDER

IDS = tuple(f"n{number:08}" for number in range(100, 1100))


@given(st.permutations([f"class {number}" for number in range(8)]), st.integers(1, 8))
def test_names_decide_where_the_weights_tell_them(names: list[str], count: int) -> None:
    data = tuple(sorted(names)[:count])
    outputs, found, notes = match_classes(data, 8, tuple(names), None)
    assert [names[output] for output in outputs] == list(data)
    assert found == tuple(names) and notes == ()


def test_a_class_that_the_network_does_not_know() -> None:
    with pytest.raises(
        SenetError,
        match=r"a class 'Cat' that the network does .*know \(cat, dog\): rename .*it\. Did you mean 'cat'\?",
    ):
        match_classes(("Cat", "dog"), 2, ("cat", "dog"), None)


def test_wordnet_ids_are_in_the_weights_order_however_they_come() -> None:
    shuffled = tuple(np.random.default_rng(0).permutation(np.array(IDS)).tolist())
    outputs, names, notes = match_classes(shuffled, 1000, None, WORDNET_ORDER)
    assert [IDS[output] for output in outputs] == list(shuffled)
    assert names == IDS and notes == ()


def test_numbers_are_positions_though_they_sort_otherwise() -> None:
    data = tuple(sorted(str(number) for number in range(1000)))
    assert data[2] == "10"
    outputs, names, notes = match_classes(data, 1000, None, WORDNET_ORDER)
    assert [str(output) for output in outputs] == list(data)
    assert names == tuple(map(str, range(1000))) and notes == ()
    padded = tuple(f"{number:03}" for number in range(1000))
    assert match_classes(padded, 1000, None, None)[0].tolist() == list(range(1000))


def test_a_thousand_other_names_are_taken_with_a_warning() -> None:
    data = ("tench", "goldfish", *IDS[2:])
    outputs, names, (note,) = match_classes(data, 1000, None, WORDNET_ORDER)
    assert outputs.tolist() == list(range(1000)) and names == data
    assert "WordNet" in note and "tench" in note and "n01440764" in note
    assert "no class names" in match_classes(("a", "b"), 2, None, None)[2][0]


@pytest.mark.parametrize("count", [2, 1001])
def test_another_number_of_classes_is_refused(count: int) -> None:
    data = tuple(f"n{number:08}" for number in range(count))
    with pytest.raises(SenetError, match=f"1,000 outputs but the images have {count:,} classes"):
        match_classes(data, 1000, None, WORDNET_ORDER)
