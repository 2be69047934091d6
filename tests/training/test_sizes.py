from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.training.recipe import Recipe
from senet.training.sizes import first_sizes, training_size
from tests.small import small_images, small_recipe


def recipe(**options: int) -> Recipe:
    return Recipe(**{"epochs": 12, "image_size": 224, **options})  # type: ignore[arg-type]


def test_images_grow_in_steps_that_networks_can_halve_five_times() -> None:
    sizes = [training_size(recipe(start_size=128), epoch) for epoch in range(12)]
    # 128 + 96 e / 9 for epoch e, to the nearest multiple of 32.
    assert sizes == [128, 128, 160, 160, 160, 192, 192, 192, 224, 224, 224, 224]
    assert first_sizes(recipe(start_size=128)) == (128, 128, 160, 160, 160, 192, 192, 192)


def test_small_images_grow_in_steps_of_four_and_the_end_can_be_chosen() -> None:
    small = recipe(image_size=30, start_size=14, grow_epochs=4)
    assert [training_size(small, epoch) for epoch in range(6)] == [14, 16, 24, 24, 30, 30]


def test_without_a_start_size_nothing_grows() -> None:
    assert first_sizes(recipe()) == () and training_size(recipe(), 0) == 224


@given(
    start=st.integers(1, 300),
    size=st.integers(2, 300),
    epochs=st.integers(2, 40),
    grown=st.integers(0, 39),
)
def test_sizes_only_grow_and_end_full(start: int, size: int, epochs: int, grown: int) -> None:
    assume(start < size and grown < epochs)
    chosen = Recipe(epochs=epochs, image_size=size, start_size=start, grow_epochs=grown)
    sizes = [training_size(chosen, epoch) for epoch in range(epochs)]
    assert sizes == sorted(sizes) and sizes[-1] == size
    assert sizes[0] == start
    for side in set(sizes) - {start, size}:
        assert side % (32 if size >= 64 else 4) == 0
    assert first_sizes(chosen) == tuple(side for side in sizes if side < size)


def test_one_epoch_cannot_grow() -> None:
    with pytest.raises(SenetError, match=r"start_size 4 has .*a training of one epoch, which"):
        small_recipe(epochs=1, start_size=4, warmup_epochs=0.5)


def test_the_loader_gives_the_sizes() -> None:
    images = small_images(small_recipe(epochs=4, image_size=12, start_size=4, rotation=5.0, randaugment=3))
    assert [next(images.train.epoch(epoch)).images.shape[-1] for epoch in range(4)] == [4, 8, 8, 12]
    assert next(images.test.epoch(0)).images.shape[-1] == 12
