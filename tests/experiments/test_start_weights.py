from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import senet
from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.evaluate import evaluate
from senet.experiments.single import train_one
from senet.experiments.start_weights import open_start
from senet.experiments.stored_run import read_run
from senet.networks.build import build_network
from senet.networks.network import Network
from senet.networks.preprocess import Preprocess
from senet.networks.zoo import default_se, network_spec
from senet.training.recipe import Recipe
from senet.weights.save import save_weights
from tests.experiments.test_evaluate import make_photos
from tests.small import same_state

# So little is learned that the weights stay those that were given, to rounding.
STILL = Recipe(epochs=1, batch_size=12, warmup_epochs=0, learning_rate=1e-12, weight_decay=0)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_file(name: str = "resnet20", classes: int = 6, mean: float = 0.3, seed: int = 5) -> str:
    torch.manual_seed(seed)
    model = senet.create_model(name, num_classes=classes)
    model.preprocess = Preprocess(crop=32, resize=32, mean=(mean,) * 3, std=(0.2,) * 3)
    save_weights(model, f"{name}.safetensors")
    return f"{name}.safetensors"


def test_what_fits_is_taken_and_the_rest_is_the_seeds() -> None:
    path = make_file(classes=9)
    start = open_start(path, "resnet20", None, classes=6, channels=3)
    first, again, other = (start.networks(seed)[-1] for seed in (0, 0, 1))
    given = senet.create_model("resnet20", weights=path).state_dict()
    assert same_state(first, again)
    for key, value in first.state_dict().items():
        if key.startswith("fc."):
            assert value.shape[0] == 6 and not torch.equal(value, other.state_dict()[key])
        else:
            assert torch.equal(value, given[key]) and torch.equal(value, other.state_dict()[key])
    assert "new: fc.weight, fc.bias" in start.facts() and "\n" not in start.facts()
    assert (start.mean, start.std) == ((0.3,) * 3, (0.2,) * 3)


def test_the_callers_random_state_stays() -> None:
    start = open_start(make_file(), "resnet20", None, classes=3, channels=1)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    assert start.networks(0)[-1].in_channels == 1
    assert torch.equal(before, torch.random.get_rng_state())


def test_plain_weights_start_a_twin_whose_gates_are_open() -> None:
    path = make_file()
    start = open_start(path, "resnet20", default_se("resnet20"), classes=6, channels=3)
    assert start.se is not None and start.se.gate == "double_sigmoid"
    twin, plain = start.networks(0)[-1].eval(), senet.create_model("resnet20", weights=path).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), plain(images))
    with pytest.raises(SenetError, match="would disturb"):
        open_start(
            path, "resnet20", SEConfig(reduction=4), given=SEConfig(reduction=4), classes=6, channels=3
        )


def test_the_checksum_is_of_the_tensors() -> None:
    path = Path(make_file())
    first = open_start(path, "resnet20", None, classes=6, channels=3).identity()
    torch.save(senet.create_model("resnet20", weights=path).state_dict(), "same.pt")
    same = open_start("same.pt", "resnet20", None, classes=6, channels=3).identity()
    assert same["checksum"] == first["checksum"] and len(first["checksum"]) == 64
    make_file(seed=6)
    other = open_start(path, "resnet20", None, classes=6, channels=3).identity()
    assert other["checksum"] != first["checksum"]
    json.dumps(first)


def test_channels_in_another_order_are_refused() -> None:
    model = senet.create_model("resnet20")
    model.preprocess = replace(Preprocess(), channel_order="BGR")
    save_weights(model, "w.safetensors")
    with pytest.raises(SenetError, match=r"order BGR.*choose other weights"):
        open_start("w.safetensors", "resnet20", None, classes=2, channels=3)


@pytest.mark.slow
def test_a_training_starts_from_weights_and_goes_on(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    path = make_file("se_resnet20", mean=0.25)
    trained = train_one(photos, model="se_resnet20", weights=path, recipe=STILL, out="run", workers=0)
    given = senet.create_model("se_resnet20", weights=path)
    for value, start in zip(trained.model.parameters(), given.parameters(), strict=True):
        torch.testing.assert_close(value, start, rtol=0, atol=1e-6)
    settings = json.loads(Path("run/settings.json").read_text())
    assert settings["identity"]["weights"]["checksum"] and settings["images"]["mean"] == [0.25] * 3
    assert "weights='se_resnet20.safetensors'" in settings["command"]
    again = train_one(photos, model="se_resnet20", weights=path, recipe=STILL, out="run", workers=0)
    assert again.result.predictions == trained.result.predictions
    assert evaluate("run", workers=0).rows[0].predictions == trained.result.predictions
    make_file("se_resnet20", mean=0.25, seed=7)
    for weights in (path, None):
        with pytest.raises(SenetError, match=r"another training \(weights\.checksum"):
            train_one(photos, model="se_resnet20", weights=weights, recipe=STILL, out="run", workers=0)


@pytest.mark.slow
def test_a_run_starts_another_with_its_classes_and_statistics(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    first = train_one(photos, model="resnet8", recipe=STILL, out="first", workers=0)
    few = make_photos(tmp_path / "few", 3)
    second = train_one(few, model="resnet8", weights="first", recipe=STILL, out="second", workers=0)
    first_view, second_view = (read_run(Path(name)).provenance.preprocess for name in ("first", "second"))
    assert (first_view.mean, first_view.std) == (second_view.mean, second_view.std)
    assert second.model.state_dict()["fc.weight"].shape[0] == 3
    torch.testing.assert_close(
        second.model.state_dict()["conv1.weight"], first.model.state_dict()["conv1.weight"]
    )


@pytest.mark.slow
def test_options_that_the_weights_need_stay_with_the_run(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    theirs = build_network(replace(network_spec("resnet18"), pool="ceil", num_classes=3))
    save_weights(theirs, "theirs.safetensors")
    trained = train_one(
        photos,
        model="resnet18",
        weights="theirs.safetensors",
        recipe=replace(STILL, image_size=40, crop="resized"),
        out="run",
        workers=0,
    )
    options = json.loads(Path("run/settings.json").read_text())["identity"]["weights"]["options"]
    assert options == {"pool": "ceil"}
    rebuilt = read_run(Path("run")).build()
    assert isinstance(rebuilt, Network) and isinstance(trained.model, Network)
    assert rebuilt.spec == trained.model.spec
    report = evaluate("run", workers=0)
    assert report.rows[0].predictions == trained.result.predictions
    # The checkpoint alone tells them as well.
    loaded = senet.create_model("resnet18", weights="run/checkpoint.pt").eval()
    images = torch.randn(1, 3, 40, 40)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), rebuilt.eval()(images))


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("resnet20", "pretrained", "pretrained is only for networks of timm, torchvision and pytorchcv"),
        ("resnet20", "nothing.pt", "There is no file 'nothing.pt'"),
        ("resnet32", "resnet20.safetensors", "weights of resnet20"),
    ],
)
def test_weights_that_do_not_fit(name: str, weights: str, sentence: str) -> None:
    make_file()
    with pytest.raises(SenetError, match=sentence):
        open_start(weights, name, None, classes=6, channels=3)
