from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from statsmodels.stats.proportion import proportion_confint
from torch import nn

import senet
from senet.errors import SenetError
from senet.experiments.compare import compare
from senet.experiments.evaluate import evaluate
from senet.experiments.evaluation_report import Error, EvaluationReport
from senet.experiments.single import train_one
from senet.experiments.stored_run import read_run
from senet.networks.foreign_preprocess import foreign_preprocess
from senet.networks.preprocess import Preprocess
from senet.training.checkpoint import load_checkpoint, save_checkpoint
from senet.training.recipe import Recipe
from senet.weights.save import save_weights
from tests.data.pictures import encoded, noise, write
from tests.references import import_timm, import_torchvision
from tests.small import small_source

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=2, batch_size=12, warmup_epochs=0)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", 6)


def make_photos(root: Path, classes: int, images: int = 10, channels: int = 3) -> Path:
    """Classes called c0 and so on, without a split, 12×10 pixels."""
    source = small_source(classes * images, side=12, classes=tuple(map(str, range(classes))))
    for index in range(classes * images):
        folder = root / f"c{source.labels[index]}"
        folder.mkdir(parents=True, exist_ok=True)
        mode = "RGB" if channels == 3 else "L"
        source.read(index).convert(mode).crop((0, 0, 12, 10)).save(folder / f"{index}.png")
    return root


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ema_decay": 0.9}, "resnet8"),
        ({"crop": "resized", "image_size": 9, "precision": "bf16"}, "se_resnet8"),
    ],
)
def test_a_runs_last_epoch_comes_out_to_the_last_bit(
    photos: Path, changes: dict[str, object], name: str
) -> None:
    recipe = Recipe(epochs=2, batch_size=12, warmup_epochs=0, **changes)  # type: ignore[arg-type]
    trained = train_one(photos, model=name, recipe=recipe, out="run", workers=0, test_fraction=0.4)
    last = trained.result.history[-1]
    for path in ("run", "run/checkpoint.pt"):
        (row,) = evaluate(path, workers=0).rows
        assert (row.loss, row.top1.percent) == (last.test_loss, last.top1_error)
        assert row.predictions == trained.result.predictions
        assert row.in_top5 == trained.result.in_top5
    # The images named again, and the other parts of them.
    report = evaluate("run", photos, split="all", workers=0)
    assert len(report.labels) == 60 and "All 60 images" in report.part
    assert len(evaluate("run", split="train", workers=0).labels) == 36
    assert evaluate("run", photos, workers=0).rows[0].predictions == row.predictions
    assert (report.names, report.network) == (trained.classes, name)


def test_each_training_of_a_comparison(photos: Path) -> None:
    comparison, folder = compare(
        photos, model="resnet8", recipe=RECIPE, seeds=1, out="run", workers=0, measure_seconds=0.1
    )
    for run in comparison.runs:
        report = evaluate(folder / run.folder, workers=0)
        assert report.rows[0].predictions == run.predictions
        assert report.network == ("resnet8" if run.variant == "plain" else "se_resnet8")
    with pytest.raises(
        SenetError, match=r"run contains several trainings: .* seed0-plain, seed0-se, such as run/seed0-se"
    ):
        evaluate("run", workers=0)


def test_runs_that_are_not_whole(photos: Path) -> None:
    train_one(photos, model="resnet8", recipe=RECIPE, out="run", workers=0)
    path = Path("run/checkpoint.pt")
    path.write_bytes(path.read_bytes()[:1000])
    notes = " ".join(evaluate("run", workers=0).notes)
    assert "checkpoint.previous.pt is used instead" in notes and "epoch 1 of 2" in notes
    # As an older senet wrote both.
    found = load_checkpoint(path)
    assert found is not None
    save_checkpoint(path, {**found[0], "provenance": None})
    rows = evaluate("run", workers=0).rows
    settings = json.loads(Path("run/settings.json").read_text())
    del settings["images"]
    Path("run/settings.json").write_text(json.dumps(settings))
    with pytest.raises(SenetError, match=r"lacks classes, mean and std, .*run its command again"):
        evaluate("run", workers=0)
    # Which the same command does, without training anything again.
    train_one(photos, model="resnet8", recipe=RECIPE, out="run", workers=0)
    assert evaluate("run", workers=0).rows != rows


def test_images_that_were_trained_on_are_never_called_test_images(photos: Path) -> None:
    trained = train_one(photos, model="resnet8", recipe=RECIPE, out="run", workers=0)
    with pytest.raises(SenetError, match=r"test_fraction 0\.5 does not give the test images of the training"):
        evaluate("run", test_fraction=0.5, workers=0)
    shutil.copy(photos / "c0/0.png", photos / "c0/new.png")
    for model in ("run", "run/checkpoint.pt", trained.model):
        with pytest.raises(SenetError, match=r"photos were added, removed or renamed since the training"):
            evaluate(model, workers=0)
    assert len(evaluate("run", split="all", workers=0).labels) == 61
    (photos / "c0/new.png").unlink()
    assert evaluate("run", workers=0).rows[0].predictions == trained.result.predictions


def test_other_images_are_matched_by_the_names_of_their_classes(photos: Path) -> None:
    trained = train_one(photos, model="resnet8", recipe=RECIPE, out="run", workers=0)
    few = Path("few")
    few.mkdir()
    (photos / "c5").rename(few / "c5")
    (photos / "c2").rename(few / "c2")
    report = evaluate("run", few, workers=0)
    assert set(report.labels) == {2, 5} and len(report.labels) == 20 and "All 20" in report.part
    with torch.inference_mode():
        model = trained.model.eval()
        normalised = [pixels_of(few / name, trained.folder) for name in report.images]
        expected = model(torch.cat(normalised)).argmax(1).tolist()
    assert list(report.rows[0].predictions) == expected
    (few / "c5").rename(few / "owl")
    with pytest.raises(SenetError, match="a class 'owl'"):
        evaluate("run", few, workers=0)


def pixels_of(path: Path, folder: Path) -> torch.Tensor:
    """Return the centre of an image of 12×10 pixels as the training normalises it."""
    run = read_run(folder).provenance.preprocess
    image = np.asarray(Image.open(path).convert("RGB" if run.channels == 3 else "L"))
    values = torch.from_numpy(image.reshape(10, 12, -1)[:, 1:11].copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (run.mean, run.std))
    return ((values - mean) / std)[None]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_that_tells_its_network(tmp_path: Path, channels: int) -> None:
    data = make_photos(tmp_path / "mine", 6, channels=channels)
    model = senet.create_model("se_resnet20", num_classes=6, in_channels=channels)
    # The file has the classes in another order than the folders.
    names = [f"c{label}" for label in (3, 1, 5, 0, 2, 4)]
    save_weights(model, "w.safetensors", classes=names)
    report = evaluate("w.safetensors", data, views={"image_size": (24,), "test_resize": (28,)}, workers=0)
    assert report.names == tuple(names) and "All 60" in report.part
    own = Preprocess(crop=24, resize=28).with_channels(channels)
    with torch.inference_mode():
        scores = model.eval()(torch.cat([own(Image.open(data / name)) for name in report.images]))
    (row,) = report.rows
    assert list(row.predictions) == scores.argmax(1).tolist()
    assert [names[label] for label in report.labels] == [name.split("/")[0] for name in report.images]
    five = scores.topk(5).indices
    assert row.in_top5 == tuple((five == torch.tensor(report.labels)[:, None]).any(1).tolist())


def test_a_state_dict_beside_the_networks_name(photos: Path) -> None:
    model = senet.create_model("resnet20", num_classes=6)
    torch.save(model.state_dict(), "w.pt")
    with pytest.raises(SenetError, match=r"does not say which network it belongs to.*senet evaluate"):
        evaluate("w.pt", photos)
    report = evaluate("resnet20", photos, weights="w.pt", workers=0)
    assert report.network == "resnet20" and any("no class names" in note for note in report.notes)
    torch.save({key: each for key, each in model.state_dict().items() if "fc." not in key}, "no.pt")
    with pytest.raises(SenetError, match=r"nothing for fc\.weight|has no classifier"):
        evaluate("resnet20", photos, weights="no.pt")


@pytest.mark.parametrize("name", ["test_resnet.r160_in1k", "test_byobnet.r160_in1k"])
def test_timms_own_transforms_and_loop_agree(tmp_path: Path, name: str) -> None:
    timm = import_timm()
    data = tmp_path / "many"
    for label in range(7):
        (data / str(label)).mkdir(parents=True)
        for index in range(3):
            noise(200 + 30 * label, 190 + 25 * index, seed=10 * label + index).save(
                data / str(label) / f"{index}.png"
            )
    torch.manual_seed(0)
    model = timm.create_model(name.split(".", maxsplit=1)[0], num_classes=7).eval()
    model.pretrained_cfg["crop_pct"] = 0.9
    preprocess, notes = foreign_preprocess(f"timm:{name}", model)
    assert notes == ()
    report = evaluate(model, data, preprocess=preprocess, views={"batch_size": 4}, workers=0)
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    dataset = timm.data.create_dataset("", str(data))
    dataset.transform = transform
    picture = noise(231, 215)
    assert torch.equal(preprocess(picture)[0], transform(picture))
    scores, labels = [], []
    with torch.inference_mode():
        for image, label in dataset:
            scores.append(model(image[None]))
            labels.append(label)
    assert [(data / name).name for name in report.images] == [Path(name).name for name in dataset.filenames()]
    theirs = torch.cat(scores)
    wrong = int((theirs.argmax(1) != torch.tensor(labels)).sum())
    assert list(report.rows[0].predictions) == theirs.argmax(1).tolist()
    assert report.rows[0].top1 == Error(wrong=wrong, images=21)
    top1, top5 = timm.utils.accuracy(theirs, torch.tensor(labels), topk=(1, 5))
    row = report.rows[0]
    assert row.top5 is not None
    assert (100 - row.top1.percent, 100 - row.top5.percent) == pytest.approx((float(top1), float(top5)))


def test_several_sizes_crops_and_mirror_images(photos: Path) -> None:
    torch.manual_seed(0)
    model = senet.create_model("resnet20", num_classes=6).eval()
    sizes = {"image_size": (16, 20), "test_resize": (18, 24)}
    own = [Preprocess(crop=16, resize=18), Preprocess(crop=20, resize=24)]
    report = evaluate(model, photos, views={**sizes, "fuse": True, "flip": True}, workers=0)
    assert [row.view for row in report.rows] == ["16", "20", "16 + 20"]
    shares = []
    with torch.inference_mode():
        for row, preprocess in zip(report.rows, own, strict=False):
            images = torch.cat([preprocess(Image.open(photos / name)) for name in report.images])
            shares.append((model(images).softmax(1) + model(images.flip(3)).softmax(1)) / 2)
            assert list(row.predictions) == shares[-1].argmax(1).tolist()
    fused = (shares[0] + shares[1]) / 2
    assert list(report.rows[2].predictions) == fused.argmax(1).tolist()
    assert report.rows[2].confidence == pytest.approx(fused.amax(1).tolist(), rel=1e-5)
    ten = evaluate(model, photos, views={**sizes, "crops": 10}, workers=0)
    five = evaluate(model, photos, views={**sizes, "crops": 5, "flip": True}, workers=0)
    assert [row.confidence for row in ten.rows] == [row.confidence for row in five.rows]
    assert ten.rows[0].confidence != report.rows[0].confidence


@pytest.fixture
def report(photos: Path) -> EvaluationReport:
    torch.manual_seed(3)
    # Whose answers differ between images and sizes, though it is not trained.
    model = nn.Sequential(nn.AvgPool2d(4), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(27, 6))
    views = {"image_size": (16, 20), "fuse": True}
    found = evaluate(model, photos, views=views, out="written", workers=0)
    assert len({row.predictions for row in found.rows}) == 3 and len(set(found.rows[0].predictions)) > 2
    return found


def test_classes_and_confusions_add_up(report: EvaluationReport) -> None:
    for row in report.rows:
        pairs = list(zip(report.labels, row.predictions, strict=True))
        classes = report.by_class(row)
        assert sum(each.top1.wrong for each in classes) == row.top1.wrong
        assert [each.top1.percent for each in classes] == sorted(
            (e.top1.percent for e in classes), reverse=True
        )
        for each in classes:
            mine = [guess for label, guess in pairs if report.names[label] == each.name]
            wrong = Counter(report.names[guess] for guess in mine if report.names[guess] != each.name)
            assert (each.top1.wrong, each.top1.images) == (wrong.total(), len(mine))
            if each.mistaken_for is None:
                assert not wrong
            else:
                assert wrong[each.mistaken_for[0]] == each.mistaken_for[1] == max(wrong.values())
        confusions = report.confusions(row)
        assert {(each.name, each.guess): each.count for each in confusions} == Counter(
            (report.names[label], report.names[guess]) for label, guess in pairs if label != guess
        )
        assert [each.count for each in confusions] == sorted((e.count for e in confusions), reverse=True)


def test_what_is_written_is_what_was_found(report: EvaluationReport) -> None:
    values = json.loads(Path("written/evaluation.json").read_text())
    with Path("written/predictions.csv").open() as lines:
        answers = list(csv.DictReader(lines))
    with Path("written/per_class.csv").open() as lines:
        classes = list(csv.DictReader(lines))
    assert len(answers) == 3 * 60 and len(classes) == 3 * 6
    for row, written in zip(report.rows, values["rows"], strict=True):
        mine = [each for each in answers if each["view"] == row.view]
        wrong = sum(each["class"] != each["prediction"] for each in mine)
        assert wrong == row.top1.wrong == written["top1"]["wrong"]
        of_classes = Counter(each["class"] for each in mine if each["correct"] == "0")
        found = {each["class"]: int(each["wrong"]) for each in classes if each["view"] == row.view}
        assert found == {f"c{label}": of_classes[f"c{label}"] for label in range(6)}
        assert sum(each["correct"] == "1" for each in mine) == 60 - wrong
        assert written["top1"]["error"] == pytest.approx(100 * wrong / 60)
        assert [each["image"] for each in mine] == list(report.images)
        assert sum(each["in_top5"] == "0" for each in mine) == written["top5"]["wrong"]
    assert (values["images"], values["network"]) == (60, "Sequential")
    assert values["command"] == (
        "senet.evaluate(model='<Sequential>', data=" + repr(values["data"]) + ", "
        "views={'image_size': (16, 20), 'fuse': True})"
    )


@pytest.mark.parametrize(("wrong", "images"), [(0, 7), (3, 60), (60, 60), (11_250, 50_000)])
def test_the_interval_is_wilsons(wrong: int, images: int) -> None:
    low, high = proportion_confint(wrong, images, method="wilson")
    assert Error(wrong=wrong, images=images).interval == pytest.approx((100 * low, 100 * high), abs=1e-9)


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("se_resnet2", {}, "no 'se_resnet2': give a run folder.*Did you mean"),
        ("se_resnet20", {}, "se_resnet20 has no trained weights"),
        ("cadene/se_resnet5", {}, "Did you mean 'cadene/se_resnet50'"),
        ("timm:nothing", {}, "timm has no classification network"),
        ("timm:resnet18", {"weights": "x.pt"}, "senet's own networks"),
        ("photos", {}, r"is a folder without checkpoint\.pt or another file of weights"),
        ("module", {"weights": "x.pt"}, "no effect on a model object"),
        ("module", {"split": "val"}, "split must be one of test, train, all, not 'val'"),
        ("module", {"split": "all", "test_fraction": 0.3}, "no effect when all images"),
        (
            "module",
            {"views": {"image_size": (4,), "test_resize": (2,)}},
            "test_resize must be .* at least 4, .*, not 2",
        ),
        ("module", {"workers": -1}, "workers must be .*, not -1"),
        ("module", {"workers": 1000}, "workers must be .* to 256, not 1000"),
        ("module", {"device": "tpu"}, "'tpu'"),
        ("se_resnet20", {"preprocess": Preprocess()}, "with a model object"),
        (nn.Linear(3, 6), {}, "cannot run in evaluation on images of 224×224"),
        (nn.Flatten(2), {}, "one tensor of scores"),
        ("module", {"out": "file"}, "file is a file: choose a folder"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    photos: Path, model: str | nn.Module, options: dict[str, object], sentence: str
) -> None:
    Path("file").write_text("")
    subject = senet.create_model("resnet20", num_classes=6) if model == "module" else model
    before = sorted(Path().rglob("*"))
    with pytest.raises(SenetError, match=sentence) as caught:
        evaluate(subject, photos, **{"workers": 0, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value) and sorted(Path().rglob("*")) == before


def test_small_images_used_whole_have_one_crop(photos: Path) -> None:
    train_one(photos, model="resnet8", recipe=RECIPE, out="run", workers=0)
    with pytest.raises(SenetError, match=r"no effect on images that are not cropped .10 of 10 pixels"):
        evaluate("run", views={"crops": 5}, workers=0)
    report = evaluate("run", views={"crops": 5, "test_resize": (14,)}, workers=0)
    assert report.rows[0].resizes == (14,) and report.crops == 5


def test_torchvisions_own_preset() -> None:
    models = import_torchvision().models
    for name in ("resnet50", "inception_v3"):
        preset = models.get_model_weights(name).DEFAULT.transforms()
        preprocess, notes = foreign_preprocess(f"torchvision:{name}", nn.Identity())
        image = noise(400, 370)
        torch.testing.assert_close(preprocess(image)[0], preset(image), rtol=0, atol=1e-6)
        assert notes == ()
    assert "does not define its preprocessing" in foreign_preprocess("mine:net", nn.Identity())[1][0]


def test_16_bit_greyscale_is_scaled_alike_in_training_evaluation_and_preprocessing(tmp_path: Path) -> None:
    """What is black and what is white belongs to the weights; 12-bit values keep their contrast."""
    for number in range(12):
        for label, low in (("low", 1000), ("high", 3000)):
            values = np.random.default_rng(number).integers(low, low + 1000, (12, 12)).astype(np.uint16)
            write(tmp_path / "deep" / label / f"{number}.png", encoded(Image.fromarray(values)))
    recipe = Recipe(epochs=1, batch_size=8, image_size=12, crop="pad", flip=False)
    run = train_one(tmp_path / "deep", model="resnet8", recipe=recipe, out=tmp_path / "run", workers=0)
    preprocess = run.model.preprocess
    assert isinstance(preprocess, Preprocess) and preprocess.levels is not None
    assert 1000 <= preprocess.levels[0] < 1100 and 3900 < preprocess.levels[1] < 4000
    path = tmp_path / "deep" / "high" / "3.png"
    black, white = preprocess.levels
    scaled = (np.asarray(Image.open(path)).astype(float) - black) / (white - black)
    expected = (scaled - preprocess.mean[0]) / preprocess.std[0]
    assert np.abs(preprocess(path)[0, 0].numpy() - expected).max() < 0.51 / 255 / preprocess.std[0]
    assert torch.equal(preprocess(path), preprocess(np.array(Image.open(path))))
    folder, model = (evaluate(what, split="all", workers=0) for what in (run.folder, run.model))
    assert folder.rows == model.rows and len(folder.images) == 24
    few = tmp_path / "few"  # a few images alone are not scaled by their own range
    for label in ("low", "high"):
        shutil.copytree(tmp_path / "deep" / label, few / label, ignore=lambda _, names: sorted(names)[:-2])
    alone = evaluate(run.folder, few, split="all", workers=0)
    confidence = dict(zip(folder.images, folder.rows[0].confidence, strict=True))
    assert alone.rows[0].confidence == pytest.approx([confidence[name] for name in alone.images], abs=1e-5)
