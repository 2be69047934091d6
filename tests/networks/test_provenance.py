"""What a training leaves with its network: folder, checkpoint and model see images alike, to the last bit."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import senet
from senet.errors import SenetError
from senet.experiments.single import TrainedNetwork
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import Provenance, attach_provenance, provenance_of
from senet.training.recipe import Recipe
from tests.data.pictures import noise
from tests.small import small_photos

FACTORY = """
from torch import nn
def net(num_classes, in_channels=3):
    return nn.Sequential(nn.Conv2d(in_channels, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)


def awkward_photos(root: Path, count: int = 2) -> Path:
    """Write files as people have them: sideways, CMYK, palettes, transparency, 16 bits, greyscale."""
    exif = Image.Exif()
    exif[274] = 6
    for label, name in enumerate(("cat", "dog")):
        folder = root / name
        folder.mkdir(parents=True)
        for index in range(count):
            image = noise(70 + index, 61, seed=10 * index + label)
            pixels = np.asarray(image) // 2 + np.uint8(100 * label)
            image = Image.fromarray(pixels)
            image.save(folder / f"{index}-sideways.jpg", exif=exif)
            image.convert("CMYK").save(folder / f"{index}-cmyk.jpg")
            image.quantize(16).save(folder / f"{index}-palette.png", transparency=3)
            image.convert("L").save(folder / f"{index}-grey.png")
            image.convert("LA").save(folder / f"{index}-la.png")
            deep = pixels[:, :, 0].astype(np.uint16) * 128
            Image.fromarray(deep).save(folder / f"{index}-deep.png")
    return root


def trained(
    data: Path, model: str, *, out: str = "run", with_se: bool = False, **changes: object
) -> TrainedNetwork:
    settings: dict[str, object] = {"epochs": 1, "batch_size": 8, "warmup_epochs": 0, **changes}
    recipe = Recipe(**settings)  # type: ignore[arg-type]
    return senet.train_one(
        data, model=model, with_se=with_se, recipe=recipe, out=out, workers=0, test_fraction=0.3
    )


def numbers(subject: str | Path | nn.Module, **options: object) -> tuple[float, float, tuple[int, ...]]:
    (row,) = senet.evaluate(subject, workers=0, **options).rows  # type: ignore[arg-type]
    return row.loss, row.top1.percent, row.predictions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("resnet8", {"image_size": 16}),
        ("se_resnet8", {"crop": "resized", "image_size": 20, "ema_decay": 0.5}),
        ("resnet8", {"crop": "resized", "image_size": 12, "test_resize": 13, "precision": "bf16"}),
        ("mine:net", {"image_size": 16}),
        ("mine:net", {"image_size": 16, "with_se": True}),
    ],
)
def test_folder_checkpoint_and_model_give_the_trainings_numbers(
    model: str, changes: dict[str, object]
) -> None:
    data = awkward_photos(Path("photos"))
    run = trained(data, model, **changes)  # type: ignore[arg-type]
    last = run.result.history[-1]
    expected = (last.test_loss, last.top1_error, run.result.predictions)
    Path("elsewhere").mkdir()
    moved = Path("elsewhere/best.pt")
    moved.write_bytes((run.folder / "checkpoint.pt").read_bytes())
    subjects: list[str | Path | nn.Module] = [run.folder, "run/", run.folder / "checkpoint.pt", moved]
    subjects += [run.model, copy.deepcopy(run.model), torch.nn.DataParallel(run.model)]
    if ":" not in model:
        subjects += [
            senet.create_model(model, weights=each) for each in ("run", run.folder / "checkpoint.pt")
        ]
    for subject in subjects:
        assert numbers(subject, data=data if isinstance(subject, str) else None) == expected
        if isinstance(subject, nn.Module) and not isinstance(subject, nn.DataParallel):
            assert (subject.preprocess, subject.classes) == (run.model.preprocess, ("cat", "dog"))


def keep(seen: list[torch.Tensor], _: nn.Module, given: tuple[torch.Tensor]) -> None:
    seen.append(given[0].clone())


def test_preprocess_is_the_test_loader_bit_for_bit() -> None:
    data = awkward_photos(Path("photos"))
    for side, channels in ((12, 3), (40, 3)):
        run = trained(data, "resnet8", out=f"run{side}", crop="resized", image_size=side)
        seen: list[torch.Tensor] = []
        run.model.register_forward_pre_hook(partial(keep, seen))
        report = senet.evaluate(run.model, workers=0)
        paths = [data / name for name in report.images]
        preprocess = run.model.preprocess
        assert isinstance(preprocess, Preprocess) and preprocess.channels == channels
        for form in (
            paths,
            [str(path) for path in paths],
            [path.read_bytes() for path in paths],
            [Image.open(path) for path in paths],
        ):
            assert torch.equal(preprocess(form), seen[-1])


def test_greyscale_stays_greyscale(tmp_path: Path) -> None:
    run = trained(small_photos(tmp_path / "grey"), "resnet8")
    assert run.model.preprocess.channels == 1 and run.model.classes == ("cat", "dog", "owl")
    again = senet.create_model("resnet8", in_channels=1, weights="run")
    assert again.preprocess == run.model.preprocess
    three = senet.create_model("resnet8", weights="run")
    assert three.preprocess.mean == run.model.preprocess.mean * 3


def test_what_belongs_to_weights_goes_where_they_go(tmp_path: Path) -> None:
    run = trained(small_photos(tmp_path / "photos"), "resnet8")
    model = run.model
    folded = senet.fold(model)
    senet.save_weights(model, "shared.safetensors")
    loaded = senet.create_model("resnet8", in_channels=1, weights="shared.safetensors")
    with_se = copy.deepcopy(model)
    senet.squeeze_excite(with_se)
    pickled = pickle.loads(pickle.dumps(model))
    into = senet.create_model("resnet8", num_classes=3, in_channels=1)
    senet.load_weights(into, "run/")
    for each in (folded, loaded, with_se, pickled, into):
        assert (each.preprocess, each.classes) == (model.preprocess, ("cat", "dog", "owl"))
    last = run.result.history[-1]
    for each in (with_se, pickled, into):
        assert numbers(each)[1:] == (last.top1_error, run.result.predictions)
    # A file to share does not tell where somebody keeps pictures, but the rest.
    assert str(tmp_path).encode() not in Path("shared.safetensors").read_bytes()
    assert (
        numbers("shared.safetensors", data="photos", split="test", test_fraction=0.3)[2] == numbers(model)[2]
    )
    # Another classifier has other classes.
    fresh = senet.create_model("resnet8", num_classes=5, in_channels=1, weights="run")
    assert (fresh.classes, fresh.provenance) == (None, None)


def test_a_comparisons_folder_says_what_is_in_it(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8, warmup_epochs=0)
    comparison, folder = senet.compare(
        small_photos(tmp_path / "photos", 30), model="resnet8", recipe=recipe, seeds=1, out="run", workers=0,
        measure_seconds=0.1,
    )  # fmt: skip
    for run in comparison.runs:
        model = senet.create_model(
            "se_resnet8" if run.variant == "se" else "resnet8", in_channels=1, weights=folder / run.folder
        )
        assert numbers(model)[2] == numbers(folder / run.folder)[2] == run.predictions
    for call in (lambda: senet.evaluate("run"), lambda: senet.create_model("resnet8", weights="run")):
        with pytest.raises(
            SenetError,
            match=r"run contains several trainings: .* seed0-plain, seed0-se, such as run/seed0-se",
        ):
            call()


def test_the_file_that_is_named_is_the_one_that_is_taken(tmp_path: Path) -> None:
    photos = small_photos(tmp_path / "photos", 30)
    run = trained(photos, "resnet8", epochs=2)
    other = senet.create_model("resnet8", num_classes=3, in_channels=1)
    senet.save_weights(other, "run/other.safetensors", classes=["cat", "dog", "owl"])
    assert senet.evaluate("run/other.safetensors", "photos", workers=0).source.endswith("other.safetensors")
    previous = senet.evaluate("run/checkpoint.previous.pt", workers=0)
    assert previous.rows[0].loss == run.result.history[0].test_loss
    with pytest.raises(SenetError, match="not a checkpoint"):
        senet.evaluate("run/metrics.csv", "photos")
    with pytest.raises(
        SenetError, match=r"photos is a folder without checkpoint\.pt or another file of weights"
    ):
        senet.create_model("resnet8", weights=photos)
    Path("files").mkdir()
    senet.save_weights(other, "files/w.safetensors")
    with pytest.raises(SenetError, match=r"without checkpoint\.pt: choose a file in it \(w\.safetensors\)"):
        senet.create_model("resnet8", weights="files")


def test_a_network_of_somebody_else_keeps_its_own_names() -> None:
    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.preprocess = nn.Conv2d(3, 3, 1)
            self.classes = 7

    model = Theirs()
    provenance = Provenance(preprocess=Preprocess(), classes=("a", "b"))
    attach_provenance(model, provenance)
    assert isinstance(model.preprocess, nn.Conv2d) and model.classes == 7
    assert provenance_of(torch.nn.DataParallel(model)) == provenance
    assert provenance_of(nn.Linear(2, 2)) is None
    again = Provenance(preprocess=Preprocess(crop=20), classes=("c", "d"))
    plain = nn.Linear(2, 2)
    for each in (provenance, again):
        attach_provenance(plain, each)
        assert (plain.preprocess, plain.classes) == (each.preprocess, each.classes)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": "ab"},
        {"classes": None},
        {"precision": "int8"},
        {"batch": 0},
        {"batch": "9"},
        {"preprocess": {"crop": "x"}},
        {"preprocess": {"std": (0.0, 0.0, 0.0)}},
        {"preprocess": 3},
        {"data": 5},
        {"test_fraction": "much"},
    ],
)
def test_damaged_values_are_one_sentence(changes: dict[str, object]) -> None:
    values = asdict(Provenance(preprocess=Preprocess(), classes=("a", "b")))
    assert asdict(Provenance.from_values(values, "w.pt")) == values
    with pytest.raises(SenetError, match=r"The training information in w\.pt is"):
        Provenance.from_values({**values, **changes}, "w.pt")


def test_training_goes_on_from_a_run_without_false_notes(tmp_path: Path) -> None:
    photos = small_photos(tmp_path / "photos", 30)
    first = trained(photos, "resnet8", out="first")
    second = senet.train_one(
        photos,
        model="resnet8",
        weights=Path("first"),
        recipe=Recipe(epochs=1, batch_size=8, warmup_epochs=0),
        out="second",
        workers=0,
    )
    assert second.model.preprocess.mean == first.model.preprocess.mean
    assert "mean and std" not in str(second.model.loaded)
