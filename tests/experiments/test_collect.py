"""Jobs and what is collected from them: the numbers of one comparison, or a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import senet
from senet.errors import SenetError, TrainingInterrupted
from senet.experiments import collect as collect_module
from senet.experiments import compare as compare_module
from senet.experiments.jobs import compare_job
from senet.experiments.progress import SilentComparison
from senet.experiments.single import train_one
from senet.insight.results import Comparison, Variant
from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint
from senet.training.recipe import Recipe
from tests.small import small_photos
from tests.training.test_loop import StopAt

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=2, batch_size=24, step_epochs=(1,), schedule="step")
SHARED: dict[str, Any] = {"recipe": RECIPE, "se": {"reduction": 8}, "seeds": 2, "workers": 0}
compare = partial(compare_module.compare, measure_seconds=0.05, **SHARED)
collect = partial(collect_module.collect, measure_seconds=0.05, workers=0)
job = partial(compare_job, **SHARED)


def numbers(comparison: Comparison) -> dict[str, Any]:
    """Return everything but what depends on how fast or when it ran."""
    plain = asdict(comparison)
    for run in plain["runs"]:
        for epoch in run["history"]:
            del epoch["train_seconds"], epoch["data_wait"]
    return {name: plain[name] for name in plain.keys() - {"cost", "created", "seconds", "command"}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_photos(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    return compare(photos, out=tmp_path_factory.mktemp("whole") / "x")


@pytest.fixture(scope="module")
def halves(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two jobs, each with a folder of its own."""
    root = tmp_path_factory.mktemp("halves")
    return tuple(job(f"{k}/2", photos, out=root / f"m{k}").folder for k in (1, 2))  # type: ignore[return-value]


@pytest.fixture
def copies(halves: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(each, tmp_path / each.name)) for each in halves)  # type: ignore[return-value]


def change_settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "settings.json"
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(settings))


def test_jobs_that_share_a_folder_come_to_the_same_numbers(
    whole: tuple[Comparison, Path], photos: Path, tmp_path: Path
) -> None:
    first = job("1/2", photos, out=tmp_path / "x")
    assert first.trained == ("seed0-plain", "seed1-se")
    assert first.left == (("seed0-se", "no checkpoint yet"), ("seed1-plain", "no checkpoint yet"))
    assert job("2/2", photos, out=tmp_path / "x").left == ()
    comparison, folder = collect(tmp_path / "x")
    assert folder == tmp_path / "x"
    assert numbers(comparison) == numbers(whole[0])
    for run in whole[0].runs:
        curves = [(each / run.folder / "metrics.csv").read_bytes() for each in (folder, whole[1])]
        assert curves[0] == curves[1]
    assert comparison.command == f"senet.compare(data={str(photos)!r}, se={{'reduction': 8}}, " + (
        "recipe=senet.Recipe(epochs=2, batch_size=24, schedule='step', step_epochs=(1,)), seeds=2, "
        f"out={str(tmp_path / 'x')!r}, device='auto')"
    )


def test_folders_of_their_own_are_merged_into_one_that_goes_on(
    whole: tuple[Comparison, Path], halves: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    comparison, folder = collect(halves, out=tmp_path / "both")
    assert numbers(comparison) == numbers(whole[0])
    senet.write_report(comparison, folder)
    assert {each.name for each in folder.iterdir()} == {
        *("concluded.json", "results.json", "report.html", "settings.json"),
        *(run.folder for run in comparison.runs),
    }
    for run in comparison.runs:
        assert (folder / run.folder / "metrics.csv").read_bytes() == (
            whole[1] / run.folder / "metrics.csv"
        ).read_bytes()
    own = {each.name for each in (halves[1] / "seed0-se").iterdir() if each.name[0] != "."}
    assert {each.name for each in (folder / "seed0-se").iterdir() if each.name[0] != "."} == (
        own - {"checkpoint.previous.pt"}
    )
    written = (folder / "seed0-se" / CHECKPOINT_NAME).stat().st_mtime_ns
    # What was merged is an ordinary run folder: collected again, and gone on with.
    assert numbers(collect([*halves, folder], out=folder)[0]) == numbers(comparison)
    assert numbers(compare(photos, out=folder)[0]) == numbers(comparison)
    assert (folder / "seed0-se" / CHECKPOINT_NAME).stat().st_mtime_ns == written


def test_without_a_name_the_merged_folder_is_found_again(
    halves: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert collect(halves)[1] == collect(halves)[1] == Path("runs/photos-resnet8")


def test_jobs_are_extended_and_no_mixture_is_compared(photos: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=1, step_epochs=(), warmup_epochs=0.5)
    longer = replace(recipe, epochs=2, step_epochs=(1,))
    short, long = (partial(job, data=photos, seeds=1, recipe=each) for each in (recipe, longer))
    mine, yours, both = (tmp_path / name for name in ("mine", "yours", "both"))
    short("1/2", out=mine)
    short("2/2", out=yours)
    assert collect([mine, yours], out=both)[0].looks == (1,)
    assert long("1/2", out=mine).left == (("seed0-se", "no checkpoint yet"),)
    for folders in ([mine, yours], [yours, mine]):
        with pytest.raises(SenetError, match=r"^1 of 2 trainings is not finished: seed0-se \(in epoch 2 in"):
            collect(folders, out=both)
    # In a folder that is shared, what is not extended yet is left.
    assert long("1/2", out=both).left == (("seed0-se", "in epoch 2"),)
    with pytest.raises(SenetError, match=r"^1 of 2 trainings is not finished: seed0-se \(in epoch 2 in"):
        collect(both)
    long("2/2", out=yours)
    extended, whole = (
        collect([mine, yours], out=both)[0],
        compare(photos, recipe=longer, seeds=1, out=tmp_path / "w")[0],
    )
    assert (extended.looks, whole.looks) == ((1, 1), (1,)) and extended.recipe == whole.recipe
    runs = [
        [(run["predictions"], run["history"]) for run in numbers(each)["runs"]] for each in (extended, whole)
    ]
    assert runs[0] == runs[1] and len(extended.runs[0].history) == 2
    assert collect(both)[0].looks == (1, 1), "the same look again"


def test_missing_trainings_are_named_with_what_trains_them(photos: Path, tmp_path: Path) -> None:
    class StopInSecond(SilentComparison):
        def training(self, *, number: int, total: int, seed: int, variant: Variant) -> StopAt:
            return StopAt(3 if number == 2 else -1)

    out = tmp_path / "x"
    with pytest.raises(TrainingInterrupted):
        job("1/2", photos, out=out, command="senet compare photos --out x", progress=StopInSecond())
    with pytest.raises(SenetError) as refused:
        collect(out)
    assert str(refused.value) == (
        "3 of 4 trainings are not finished: seed0-se (no checkpoint yet), seed1-plain (no checkpoint yet) "
        f"and seed1-se (in epoch 2 in {out}). The command 'senet compare photos --out x' trains them in "
        f"{out}, or 'senet compare photos --out x --job K/4' trains one of them, with K = 2, 3 and 4."
    )
    assert job("4/4", photos, out=out).trained == ("seed1-se",)
    assert numbers(compare(photos, out=out)[0])["seeds"] == (0, 1)


def test_different_comparisons_are_refused_by_what_differs(
    halves: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    other = job("2/2", photos, out=tmp_path / "other", recipe=replace(RECIPE, learning_rate=0.2))
    with pytest.raises(
        SenetError, match=r"different comparisons \(recipe\.learning_rate is 0\.2 in .*other and 0\.0188 in"
    ):
        collect([halves[0], other.folder], out=tmp_path / "out")
    for change, sentence in (
        (lambda s: s["identity"].update(images="other"), "the images differ"),
        (lambda s: s["identity"]["se"].update(reduction=4), r"se\.reduction is 4 in"),
        (lambda s: s["identity"].update(model="resnet20"), "model is resnet20 in"),
    ):
        folder = Path(shutil.copytree(halves[1], tmp_path / "changed", dirs_exist_ok=True))
        shutil.copy(halves[1] / "settings.json", folder)
        change_settings(folder, change)
        with pytest.raises(SenetError, match=sentence):
            collect([halves[0], folder], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_of_another_comparison_among_them_is_refused(copies: tuple[Path, Path]) -> None:
    path = copies[1] / "seed0-se" / CHECKPOINT_NAME
    found = load_checkpoint(path)
    assert found is not None
    found[0]["identity"]["recipe"]["epochs"] = 7
    found[0]["identity"]["checksum"] = "other"
    save_checkpoint(path, found[0])
    with pytest.raises(
        SenetError, match=r"seed0-se does not belong to the comparison.*recipe\.epochs is 7 there"
    ):
        collect(copies)


def test_the_same_training_twice_must_be_the_same(
    halves: tuple[Path, Path], copies: tuple[Path, Path]
) -> None:
    assert collect([*halves, *copies], out=copies[0].parent / "out")[0].seeds == (0, 1)
    path = copies[1] / "seed0-se" / CHECKPOINT_NAME
    found = load_checkpoint(path)
    assert found is not None
    position = found[0]["position"]
    position["predictions"][-1] = (position["predictions"][-1] + 1) % 3
    save_checkpoint(path, found[0])
    with pytest.raises(SenetError, match=r"seed0-se gave different results in .*"):
        collect([*halves, *copies], out=copies[0].parent / "other")
    assert not (copies[0].parent / "other").exists()


def test_images_elsewhere_are_named_and_other_images_refused(
    whole: tuple[Comparison, Path], photos: Path, copies: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in copies:
        change_settings(folder, lambda settings: settings["arguments"].update(data="/gone/photos"))
    with pytest.raises(
        SenetError,
        match=r"on this machine; the trainings .*them from /gone/photos: give their .*here "
        r"before --collect\.",
    ):
        collect(copies, out=tmp_path / "out")
    other = small_photos(tmp_path / "other", count=57)
    with pytest.raises(SenetError, match="not those of the trainings"):
        collect(copies, data=other, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    comparison, _ = collect(copies, data=photos, out=tmp_path / "out")
    assert comparison.top1 == whole[0].top1


def test_images_overwritten_under_the_same_names_are_other_images(
    photos: Path, copies: tuple[Path, Path], tmp_path: Path
) -> None:
    """Job 1 of 2 has trained on the one, job 2 would on the other: no verdict comes of that."""
    changed = Path(shutil.copytree(photos, tmp_path / "photos"))
    for path in changed.rglob("*.*"):
        with Image.open(path) as picture:
            turned = picture.rotate(180)
        turned.save(path)
    with pytest.raises(
        SenetError, match=r"images are not those that the training in .* started with: their content"
    ):
        job("2/2", changed, out=copies[0])
    with pytest.raises(SenetError, match="not those of the trainings: their content"):
        collect(copies, data=changed, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_of_a_comparison_is_refused(
    photos: Path, copies: tuple[Path, Path], tmp_path: Path
) -> None:
    single = train_one(photos, model="resnet8", recipe=Recipe(epochs=1), out=tmp_path / "single", workers=0)
    for folders, sentence in (
        ([photos], "photos is not a run folder"),
        (tmp_path / "nowhere", "nowhere is not a run folder"),
        ([*copies, single.folder], "contains a single training, but only"),
        ([], "at least one run folder"),
    ):
        with pytest.raises(SenetError, match=sentence):
            collect(folders)
    change_settings(copies[0], lambda settings: settings.pop("arguments"))
    with pytest.raises(SenetError, match=r"settings\.json lacks arguments"):
        collect(copies)
    (copies[0] / "settings.json").write_text("{half")
    with pytest.raises(SenetError, match=r"settings\.json cannot be read"):
        collect(copies)


def test_cost_is_measured_on_the_kind_of_device_that_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SenetError, match=r"ran on CUDA.*--device cpu"):
        collect_module._device("auto", "cuda")
    assert (
        collect_module._device("cpu", "cuda") == collect_module._device("auto", "cpu") == torch.device("cpu")
    )


def test_threads_and_versions_that_differ_are_said(copies: tuple[Path, Path], tmp_path: Path) -> None:
    said: dict[str, str] = {}

    class Listening(SilentComparison):
        def describe(self, facts: dict[str, str]) -> None:
            said.update(facts)

    change_settings(copies[1], lambda settings: settings["versions"].update(torch="2.5.0"))
    found = load_checkpoint(copies[1] / "seed0-se" / CHECKPOINT_NAME)
    assert found is not None
    save_checkpoint(copies[1] / "seed0-se" / CHECKPOINT_NAME, {**found[0], "threads": 7})
    comparison, _ = collect(copies[::-1], out=tmp_path / "out", progress=Listening())
    assert comparison.versions["torch"] == "2.5.0"
    assert "2.5.0" in said["versions of torch"] and "7; results may differ" in said["threads"]
    assert said["networks"].startswith("resnet8 and its twin se_resnet8 (reduction 8)")


def test_a_folder_keeps_its_number_of_threads(photos: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    other = before + 1
    change = {"seeds": 1, "recipe": Recipe(epochs=1, batch_size=48)}
    first = job("1/2", photos, out=tmp_path / "x", **change)
    change_settings(first.folder, lambda settings: settings.update(threads=other))
    job("2/2", photos, out=tmp_path / "x", **change)
    threads = [
        load_checkpoint(first.folder / f"seed0-{variant}" / CHECKPOINT_NAME) for variant in ("plain", "se")
    ]
    assert [found[0]["threads"] for found in threads if found] == [before, other]
    assert torch.get_num_threads() == before
