from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from senet.data.loader import make_loader
from senet.data.part import Part
from senet.data.transforms import EvalTransform
from senet.training import failures
from senet.training.failures import largest_that_fits, out_of_memory
from senet.training.recipe import Recipe
from tests.data.pictures import numbered_arrays

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_to_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the collection of garbage, which takes a second in a process that has run many tests."""
    monkeypatch.setattr(failures, "gc", SimpleNamespace(collect=lambda: 0))


@pytest.mark.parametrize("fits", [None, 1, 2, 3, 4, 5, 7, 12])
@pytest.mark.parametrize(
    ("batch", "accumulate", "processes", "images"),
    [(100, 1, 4, 200), (100, 1, 1, 200), (96, 2, 3, 200), (100, 1, 2, 36), (64, 1, 1, 36), (14, 1, 1, 200)],
)
def test_what_is_suggested_can_be_trained(
    batch: int, accumulate: int, processes: int, images: int, fits: int | None
) -> None:
    held = min(batch, images) // (accumulate * processes)
    if fits is not None and fits > held // 2:
        return
    recipe = Recipe(batch_size=batch, accumulate=accumulate)
    said = str(out_of_memory(recipe, held, fits, CPU, processes))
    numbers = re.search(r"with batch_size (\d+)(?:, or with accumulate (\d+),|\.)", said)
    assert numbers is not None, said
    smaller, parts = numbers.groups()
    share, most = held * accumulate, fits or held // 2
    possible = [n for n in range(1, batch + 1) if batch % n == share % n == 0 and share // n <= most]
    assert (int(parts) if parts else None) == min(possible, default=None), said
    ways = [(int(smaller), accumulate)] + ([(batch, int(parts))] if parts else [])
    for size, pieces in ways:
        Recipe(batch_size=size, accumulate=pieces)
        loader = make_loader(
            numbered_arrays(images),
            EvalTransform(size=8, channels=1, crop="pad"),
            batch_size=size,
            seed=0,
            workers=0,
            train=True,
            part=Part(processes=processes, accumulate=pieces),
        )
        assert loader.piece_size <= most, "small enough"


@pytest.mark.parametrize(("fits", "found"), [(1, 0), (2, 2), (3, 2), (4, 4), (9, 8), (15, 8)])
def test_halves_are_tried_until_one_fits(fits: int, found: int) -> None:
    tried: list[int] = []

    def run(images: int) -> None:
        tried.append(images)
        if images > fits:
            raise MemoryError

    assert largest_that_fits(run, 16, CPU) == found
    assert tried == [8, 4, 2][: len(tried)]


@pytest.mark.parametrize(("images", "tried"), [(1, []), (2, []), (3, [2]), (7, [3, 2]), (10, [5, 2])])
def test_two_are_tried_before_it_is_said_that_not_even_two_fit(images: int, tried: list[int]) -> None:
    seen: list[int] = []

    def run(count: int) -> None:
        seen.append(count)
        raise MemoryError

    assert largest_that_fits(run, images, CPU) == 0
    assert seen == tried


def test_another_error_while_trying_is_not_hidden() -> None:
    def run(images: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(run, 16, CPU)
