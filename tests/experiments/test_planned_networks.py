"""What cannot be trained is refused in a sentence, before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import senet
from senet.cli.main import main
from senet.errors import SenetError
from senet.experiments.parallel import check_parallel
from senet.experiments.planned_networks import refuse_more_than_memory
from senet.experiments.trainings import trainings_of
from senet.networks.zoo import default_se
from senet.training.recipe import Recipe
from tests.small import small_photos


@pytest.mark.parametrize(
    ("se", "shape", "said"),
    [
        (
            {},
            (3, 100_000, 100_000),
            "image_size 100000 is .*large: two images of 100000×100000 pixels exceed "
            ".*machine's memory of .*so choose a",
        ),
        (
            {"min_hidden": 2**24},
            (3, 32, 32),
            r"resnet8 would have 3,808,505,666 parameters, and .*GiB: choose smaller SE settings\.",
        ),
        ({"min_hidden": 2**24, "divisor": 2**24 - 1}, (3, 32, 32), r"choose smaller SE settings\."),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_built(
    se: dict[str, Any], shape: tuple[int, int, int], said: str
) -> None:
    config = senet.SEConfig(**se) if se else default_se("resnet8")
    with pytest.raises(SenetError, match=said):
        refuse_more_than_memory("resnet8", config, classes=2, shape=shape)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": Recipe(epochs=1, batch_size=1, image_size=4)}, "leaves one image per step.*4×4 pixels"),
        (
            {"recipe": Recipe(epochs=1, batch_size=16, accumulate=16, image_size=4)},
            "batch_size 16 with accumulate 16 leaves one image per step",
        ),
        ({"workers": -1}, "workers must be from 0 .*, not -1"),
        ({"workers": 1000}, "workers must be from 0 .* to 256, not 1000"),
    ],
)
def test_one_image_at_a_time_and_too_many_processes(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    photos = small_photos(tmp_path / "photos", 30)
    with pytest.raises(SenetError, match=said):
        senet.train_one(photos, model="resnet8", out=tmp_path / "run", **{"workers": 0, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_last_batch_of_one_image_is_left_out_and_larger_maps_take_single_images(tmp_path: Path) -> None:
    photos = small_photos(tmp_path / "photos", 24)  # 18 to train
    for batch in (17, 1):
        recipe = Recipe(epochs=1, batch_size=batch)
        trained = senet.train_one(
            photos, model="resnet8", recipe=recipe, workers=0, out=tmp_path / str(batch)
        )
        assert len(trained.result.history) == 1


@pytest.mark.parametrize("seeds", [0, -3, 10**6, 10**12])
def test_seeds_have_bounds(seeds: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SenetError, match=f"seeds must be from 1 to 1,000 .*, not {seeds}"):
        trainings_of(seeds)
    assert main(["compare", "--seeds", str(seeds)]) == 2


def test_trainings_at_once_have_bounds() -> None:
    with pytest.raises(SenetError, match=r"parallel must be from 1 \(one .*not 1000\."):
        check_parallel(1000, 2000)
