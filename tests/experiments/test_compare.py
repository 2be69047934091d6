from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.chaos import differences
from PIL import Image

import senet
from senet.errors import SenetError, TrainingInterrupted
from senet.experiments import compare as compare_module
from senet.experiments.progress import SilentComparison
from senet.experiments.single import train_one
from senet.insight.results import Comparison, Variant
from senet.report.results_json import read_results
from senet.training.checkpoint import load_checkpoint
from senet.training.recipe import Recipe
from tests.small import small_source
from tests.training.test_loop import StopAt

pytestmark = pytest.mark.slow

compare = partial(compare_module.compare, measure_seconds=0.05)
RECIPE = Recipe(epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: three classes, no split, 12×12 pixels."""
    root = tmp_path_factory.mktemp("photos")
    source = small_source(60, side=12, classes=("cat", "dog", "owl"))
    for index in range(len(source)):
        folder = root / source.classes[source.labels[index]]
        folder.mkdir(exist_ok=True)
        source.read(index).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def done(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    return compare(photos, recipe=RECIPE, seeds=2, out=tmp_path_factory.mktemp("runs") / "x", workers=0)


def test_says_what_was_compared(done: tuple[Comparison, Path], photos: Path) -> None:
    comparison, _ = done
    assert comparison.model == "resnet8" and comparison.se["reduction"] == 16
    assert comparison.seeds == (0, 1)
    assert [(run.variant, run.seed) for run in comparison.runs] == [
        ("plain", 0),
        ("plain", 1),
        ("se", 0),
        ("se", 1),
    ]
    assert comparison.data.classes == ("cat", "dog", "owl")
    assert comparison.data.train_counts == (16, 16, 16)
    assert (comparison.data.image_size, comparison.data.channels) == (12, 1)
    assert comparison.recipe["crop"] == "pad" and comparison.recipe["image_size"] == 12
    assert comparison.data.location == str(photos)
    assert comparison.top5 is None


def test_the_interval_is_over_the_last_epochs_of_the_seeds(done: tuple[Comparison, Path]) -> None:
    comparison, _ = done
    errors = {
        variant: [run.history[-1].top1_error for run in comparison.runs_of(variant)]
        for variant in ("plain", "se")
    }
    difference = np.mean(errors["se"]) - np.mean(errors["plain"])
    assert comparison.top1.difference == pytest.approx(difference)
    labels = np.array(comparison.data.test_labels)
    for run in comparison.runs:
        wrong = 100 * np.mean(np.array(run.predictions) != labels)
        assert run.history[-1].top1_error == pytest.approx(wrong)


def test_cost_is_measured_side_by_side(done: tuple[Comparison, Path]) -> None:
    cost = done[0].cost
    assert cost.se.parameters > cost.plain.parameters
    assert cost.se.multiply_adds > cost.plain.multiply_adds
    assert cost.plain.training_images_per_second.count == cost.se.training_images_per_second.count >= 5
    assert cost.plain.peak_memory_bytes < cost.se.peak_memory_bytes < 2 * cost.plain.peak_memory_bytes


def test_the_report_holds_everything(done: tuple[Comparison, Path]) -> None:
    comparison, folder = done
    page = senet.write_report(comparison, folder)
    assert read_results(folder / "results.json") == comparison
    assert comparison.verdict.sentence.split(":")[0] in page.read_text()
    assert {each.name for each in folder.iterdir() if not each.name.startswith(".")} == {
        "concluded.json",
        "results.json",
        "report.html",
        "settings.json",
        *(f"seed{seed}-{variant}" for seed in (0, 1) for variant in ("plain", "se")),
    }


def test_more_seeds_go_on_where_fewer_ended(done: tuple[Comparison, Path], photos: Path) -> None:
    comparison, folder = done
    before = (folder / "seed0-se/checkpoint.pt").stat().st_mtime_ns
    more, _ = compare(photos, recipe=RECIPE, seeds=3, out=folder, workers=0)
    assert more.seeds == (0, 1, 2)
    assert (folder / "seed0-se/checkpoint.pt").stat().st_mtime_ns == before
    assert more.runs_of("se")[:2] == comparison.runs_of("se")


def test_a_finished_comparison_that_is_run_again_says_the_same(
    done: tuple[Comparison, Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_module, "measure_cost", lambda *_, **__: pytest.fail("measured again"))
    again, _ = compare(photos, recipe=RECIPE, seeds=2, out=done[1], workers=0)
    assert (again.cost, again.top1, again.looks) == (done[0].cost, done[0].top1, done[0].looks)


def test_more_seeds_are_another_look(photos: Path, tmp_path: Path) -> None:
    settings = {"recipe": Recipe(epochs=1), "out": tmp_path / "x", "workers": 0}
    found = {}
    for seeds in (2, 3, 2):
        comparison, _ = compare(photos, seeds=seeds, **settings)
        found.setdefault(seeds, []).append((comparison.looks, comparison.top1.confidence))
    assert found[2] == [((2,), pytest.approx(0.96))] * 2, "the first look stays the first"
    assert found[3] == [((2, 3), pytest.approx(0.995))]


def test_an_extended_comparison_is_a_long_one_and_another_look(photos: Path, tmp_path: Path) -> None:
    class StopInSecond(SilentComparison):
        def training(self, *, number: int, total: int, seed: int, variant: Variant) -> StopAt:
            return StopAt(2 if number == 2 else -1)

    def run(epochs: int, out: str, **options: Any) -> Comparison:
        recipe = Recipe(
            epochs=epochs, batch_size=16, schedule="step", step_epochs=(1,), warmup_epochs=0.5, ema_decay=0.9
        )
        return compare(photos, recipe=recipe, seeds=2, out=tmp_path / out, workers=0, **options)[0]

    first = run(2, "x")
    with pytest.raises(TrainingInterrupted):
        run(3, "x", progress=StopInSecond())
    with pytest.raises(SenetError, match=r"has 3 epochs and cannot be .*to 2 epochs: give --epochs 3 or"):
        run(2, "x")
    extended, again, whole = run(3, "x"), run(3, "x"), run(3, "whole")
    assert (extended.cost, extended.recipe) == (first.cost, whole.recipe), "what a step costs stays"
    for run_ in whole.runs:
        assert differences(tmp_path / "whole" / run_.folder, tmp_path / "x" / run_.folder) == []
    assert timeless(extended) == timeless(whole)
    assert [[row.epoch for row in each.history] for each in extended.runs] == [[1, 2, 3]] * 4
    assert extended.top1.difference == whole.top1.difference
    assert [each.looks for each in (first, extended, again, whole)] == [(2,), (2, 2), (2, 2), (2,)]
    assert extended.top1.confidence == again.top1.confidence == pytest.approx(0.995)
    page = senet.write_report(extended, tmp_path / "x").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Looked at 2 times, after 2 and 2 seeds, with trainings extended to more epochs in between" in page


def timeless(comparison: Comparison) -> list[Any]:
    rows = [
        [replace(row, train_seconds=0.0, data_wait=0.0) for row in each.history] for each in comparison.runs
    ]
    return [rows, [each.predictions for each in comparison.runs]]


def test_an_interrupted_comparison_ends_the_same(
    done: tuple[Comparison, Path], photos: Path, tmp_path: Path
) -> None:
    class StopInThird(SilentComparison):
        def training(self, *, number: int, total: int, seed: int, variant: Variant) -> StopAt:
            return StopAt(4 if number == 3 else -1)

    with pytest.raises(TrainingInterrupted):
        compare(photos, recipe=RECIPE, seeds=2, out=tmp_path / "y", workers=0, progress=StopInThird())
    resumed, folder = compare(photos, recipe=RECIPE, seeds=2, out=tmp_path / "y", workers=0)
    assert resumed.top1 == done[0].top1 and resumed.verdict == done[0].verdict
    for run in done[0].runs:
        paths = [each / run.folder / "metrics.csv" for each in (folder, done[1])]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_training_one_network_gives_the_comparisons_weights(
    done: tuple[Comparison, Path], photos: Path, tmp_path: Path
) -> None:
    network = train_one(photos, model="se_resnet8", recipe=RECIPE, seed=1, out=tmp_path / "z", workers=0)
    found = load_checkpoint(done[1] / "seed1-se" / "checkpoint.pt")
    assert found is not None
    weights = network.model.state_dict()
    assert all((value == weights[key]).all() for key, value in found[0]["model"].items())
    assert network.classes == ("cat", "dog", "owl")


def test_se_settings_are_taken_from_a_mapping_or_refused(photos: Path, tmp_path: Path) -> None:
    comparison, folder = compare(
        photos, recipe=Recipe(epochs=1), seeds=1, se={"reduction": 4}, out=tmp_path / "r4", workers=0
    )
    assert (comparison.se["reduction"], comparison.se["min_hidden"]) == (4, 1)
    assert comparison.top1.over == "test images" and comparison.top1.count == 12
    assert json.loads((folder / "settings.json").read_text())["identity"]["se"]["reduction"] == 4
    with pytest.raises(SenetError, match="no setting 'ratio'"):
        compare(photos, se={"ratio": 4}, out=tmp_path / "bad")
    with pytest.raises(SenetError, match="no effect on the plain network 'resnet8'"):
        train_one(photos, model="resnet8", se={"reduction": 4}, out=tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_what_is_wrong_is_told_before_a_folder_is_made(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "never"
    for options, sentence in (
        ({"model": "resnet9"}, "resnet9"),
        ({"seeds": 0}, r"seeds must be .*chance\), not 0\."),
        ({"workers": -1}, "workers must be .*, not -1"),
        ({"test_fraction": 1.5}, "1.5"),
        ({"device": "tpu"}, "'tpu'"),
        ({"se": {"reduction": 17}}, "17"),
        ({"model": "vgg11_bn", "se": {"placement": "pre"}}, "pre"),
        ({"se": {"stages": (7,)}}, "7"),
        ({"recipe": Recipe(crop="pad", image_size=8), "model": "se_nothing"}, "se_nothing"),
    ):
        with pytest.raises(SenetError, match=sentence):
            compare(photos, out=out, **options)  # type: ignore[arg-type]
    assert not out.exists()


def test_large_images_are_cropped_and_resized(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    comparison, _ = compare(
        tmp_path / "photos",
        model="resnet8",
        recipe=Recipe(epochs=1, batch_size=8, image_size=40, crop="resized"),
        seeds=1,
        out=tmp_path / "x",
        workers=2,
    )
    assert comparison.recipe["crop"] == "resized" and comparison.data.channels == 3
    assert asdict(comparison)["data"]["classes"] == ("a", "b")
