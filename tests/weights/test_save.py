"""Files that senet writes, its trainings' included: what comes back is what was there."""

import dataclasses
import errno
import json
import re

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import senet
from senet import files
from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.networks import list_models, network_spec
from senet.networks.build import build_network
from senet.networks.preprocess import Preprocess
from senet.weights.own import METADATA_KEY, from_metadata, from_training, to_metadata
from tests.references import randomise

PREPROCESS = Preprocess(
    crop=30, resize=33, channel_order="BGR", scale="0..255", mean=(1, 2, 3), std=(4, 5, 6), labels="mine"
)


def small(of="se_resnet8", **changes):
    model = build_network(dataclasses.replace(network_spec(of), **changes)).eval()
    randomise(model)
    return model


def same_state(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_everything_comes_back(tmp_path):
    se = SEConfig(reduction=4, gate="tanh", placement="post", stages=(2, 4), bias=False)
    model = small(se=se, num_classes=3)
    model.preprocess = PREPROCESS
    path = tmp_path / "model.safetensors"
    senet.save_weights(model, path, classes=["cat", "dog", "Käfer"])
    back = senet.create_model("se_resnet8", weights=path).eval()
    assert same_state(model, back)
    assert back.spec == model.spec
    assert back.preprocess == PREPROCESS
    assert back.loaded.classes == ("cat", "dog", "Käfer")
    assert (back.loaded.package, back.loaded.new, back.loaded.dropped) == ("senet", (), ())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), back(x))
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]


def test_other_classes_and_channels_than_the_files(tmp_path):
    senet.save_weights(small(num_classes=3), tmp_path / "file", classes=["a", "b", "c"])
    model = senet.create_model("se_resnet8", num_classes=5, in_channels=1, weights=tmp_path / "file")
    assert model.loaded.classes is None
    assert model.loaded.new == ("fc.weight", "fc.bias")
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 5)


def test_options_that_tensors_do_not_show_come_back(tmp_path):
    model = small("resnet18", pool="ceil", num_classes=2)
    senet.save_weights(model, tmp_path / "file")
    back = senet.create_model("resnet18", weights=tmp_path / "file").eval()
    assert back.spec.pool == "ceil"
    assert "not padded" in back.loaded.changes[0]
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(x), back(x))


def test_wrappers_formats_and_precision(tmp_path):
    model = small().to(memory_format=torch.channels_last).half()
    senet.save_weights(torch.nn.DataParallel(model), tmp_path / "file")
    with safetensors.safe_open(tmp_path / "file", framework="pt") as file:
        assert file.get_tensor("conv1.weight").dtype == torch.float16
        assert set(file.keys()) == set(model.state_dict())
    back = senet.create_model("se_resnet8", weights=tmp_path / "file")
    assert torch.equal(back.conv1.weight, model.conv1.weight.float())


def test_networks_without_classifier(tmp_path):
    senet.save_weights(small(num_classes=0), tmp_path / "file")
    assert senet.create_model("se_resnet8", weights=tmp_path / "file").spec.num_classes == 0
    model = senet.create_model("se_resnet8", weights=tmp_path / "file", num_classes=4)
    assert "because the checkpoint has no classifier" in model.loaded.changes[0]
    features = senet.create_model("se_resnet8", features_only=True)
    senet.save_weights(features, tmp_path / "features")
    back = senet.create_model("se_resnet8", weights=tmp_path / "features", features_only=True)
    assert same_state(features, back)
    assert senet.create_model("se_resnet8", weights=tmp_path / "features").spec.num_classes == 0


def test_the_plain_networks_file_fits_its_twin(tmp_path):
    plain = small("resnet8")
    senet.save_weights(plain, tmp_path / "file")
    twin = senet.create_model("se_resnet8", weights=tmp_path / "file").eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(twin(x), plain(x))


@pytest.mark.parametrize("name", ["se_resnet20", "resnet8", "vgg11_bn"])
def test_another_name_is_refused(tmp_path, name):
    senet.save_weights(small(), tmp_path / "file")
    with pytest.raises(SenetError, match=rf"weights of se_resnet8 \(senet\), not of {name}: create 'se_res"):
        senet.create_model(name, weights=tmp_path / "file")


@pytest.mark.parametrize(
    ("of", "name", "value"),
    [
        ("se_resnet8", "gate", "tanh"),
        ("se_resnet8", "squeeze", "max"),
        ("se_resnet8", "activation", "silu"),
        ("se_resnet8", "placement", "post"),
        ("se_resnet8", "stages", (3, 4)),
        ("se_shufflenet_g3", "units", "stride1"),
    ],
)
def test_another_se_is_refused(tmp_path, of, name, value):
    default = network_spec(of).se
    senet.save_weights(small(of, se=dataclasses.replace(default, **{name: value})), tmp_path / "file")
    asked = re.escape(f"{name}={getattr(default, name)!r}")
    with pytest.raises(SenetError, match=rf"SE with {asked} contradicts .*{re.escape(f'{name}={value!r}')}"):
        senet.create_model(of, se=default, weights=tmp_path / "file")


def test_a_damaged_file_of_the_right_network(tmp_path):
    state = small().state_dict()
    del state["layer2.0.conv1.weight"]
    spec = network_spec("se_resnet8")
    safetensors.torch.save_file(state, tmp_path / "file", to_metadata(spec, Preprocess.of(spec), None))
    with pytest.raises(
        SenetError, match=r"file does not fit se_resnet8: it lacks layer2\.0\.conv1\.weight 32"
    ):
        senet.create_model("se_resnet8", weights=tmp_path / "file")


@pytest.mark.parametrize("name", list_models())
def test_every_network_comes_back_from_its_metadata(name):
    spec = network_spec(name)
    changed = dataclasses.replace(spec, num_classes=7, in_channels=1)
    for each in (spec, changed):
        metadata = to_metadata(each, Preprocess.of(each), None)
        checkpoint = from_metadata(metadata[METADATA_KEY], {}, "file")
        assert checkpoint.spec == each
        assert checkpoint.preprocess == Preprocess.of(each)
    assert json.loads(to_metadata(spec, Preprocess.of(spec), None)[METADATA_KEY])["spec"] == {}


def test_inner_settings_come_back_too():
    spec = network_spec("se_resnet50")
    inside = dataclasses.replace(spec.bottleneck, groups=32, widths=(128, 256, 512, 1024))
    spec = dataclasses.replace(spec, bottleneck=inside, depths=(1, 1, 1, 1))
    text = to_metadata(spec, Preprocess.of(spec), None)[METADATA_KEY]
    assert from_metadata(text, {}, "file").spec == spec


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"network": "se_resnet9"},
        {"spec": {"colour": "red"}},
        {"spec": {"se": {"gate": "swish"}}},
        {"spec": {"depths": {"x": 1}}},
        {"preprocess": {"crop": 0}},
        {"preprocess": {"sharpness": 0}},
        {"classes": 3},
    ],
)
def test_metadata_of_another_senet_is_refused(change):
    spec = network_spec("se_resnet8")
    values = json.loads(to_metadata(spec, Preprocess.of(spec), None)[METADATA_KEY]) | change
    with pytest.raises(SenetError, match=r"metadata of file is invalid .*another version of senet"):
        from_metadata(json.dumps(values), {}, "file")


def test_what_cannot_be_saved(tmp_path, monkeypatch):
    with pytest.raises(SenetError, match="classes must have one name per output, 10 in all, not 2"):
        senet.save_weights(small(), tmp_path / "file", classes=["a", "b"])
    with pytest.raises(
        SenetError, match=r"save_weights needs a network of senet\.create_model, not a Linear\."
    ):
        senet.save_weights(torch.nn.Linear(2, 2), tmp_path / "file")
    with pytest.raises(SenetError, match="no network called 'mine'"):
        senet.save_weights(small("resnet8", name="mine"), tmp_path / "file")
    with pytest.raises(SenetError, match="This preresnet110 differs from the network that senet knows"):
        senet.save_weights(small("resnet8", name="preresnet110"), tmp_path / "file")
    assert not list(tmp_path.iterdir())
    senet.save_weights(small(), tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SenetError, match="disk is full"):
        senet.save_weights(small(), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["resnet18", "se_resnet18", "resnext50_32x4d", "googlenet"])
def test_a_state_dict_that_torch_saved_is_known_as_ours(tmp_path, name):
    # torchvision has the same keys, and pads a pool that ours does not.
    model = senet.create_model(name)
    torch.save(model.state_dict(), tmp_path / "file.pth")
    back = senet.create_model(name, weights=tmp_path / "file.pth")
    assert back.spec == model.spec
    assert (back.loaded.package, back.loaded.changes) == ("senet", ())
    assert back.preprocess == model.preprocess
    assert back.preprocess.labels is None  # nobody tells the order of its classes


@pytest.mark.parametrize("se", [SEConfig(min_hidden=2), SEConfig(gate="tanh", placement="post", divisor=3)])
def test_a_state_dict_of_ours_fits_the_se_it_was_made_with(tmp_path, se):
    # Neither the gate nor the rule of such hidden widths shows in the tensors.
    model = senet.create_model("se_resnet8", se=se).eval()
    torch.save(model.state_dict(), tmp_path / "file.pth")
    back = senet.create_model("se_resnet8", se=se, weights=tmp_path / "file.pth").eval()
    assert back.spec == model.spec
    assert back.loaded.changes == ()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(back(x), model(x))
    with pytest.raises(SenetError, match=r"that no usual setting gives: give the SEConfig .* as se\.$"):
        senet.create_model("se_resnet8", weights=tmp_path / "file.pth")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of a few grey pictures."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(16):
        folder = root / ("light" if number % 2 else "dark")
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 128, (12, 12)) + 100 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def recipe(**changes):
    return senet.Recipe(epochs=1, batch_size=4, warmup_epochs=0, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_training_of_senet_loads_as_it_was_tested(pictures, tmp_path, decay):
    se = SEConfig(reduction=4, gate="hard_sigmoid")
    trained = senet.train_one(
        pictures, model="se_resnet8", se=se, recipe=recipe(ema_decay=decay), out=tmp_path, workers=0
    )
    path = trained.folder / "checkpoint.pt"
    model = senet.create_model("se_resnet8", in_channels=1, weights=path)
    assert same_state(model, trained.model)
    assert model.spec == trained.model.spec
    assert (model.preprocess.crop, model.preprocess.resize, model.preprocess.channels) == (12, 12, 1)
    said = " ".join(model.loaded.changes)
    assert ("moving average" in said) == (decay > 0)
    assert "mean and std" not in said
    assert (model.preprocess, model.classes) == (trained.model.preprocess, trained.classes)
    with pytest.raises(SenetError, match="weights of se_resnet8"):
        senet.create_model("resnet8", weights=path)
    for folder in (trained.folder, f"{trained.folder}/", f"{trained.folder}#model"):
        of_folder = senet.create_model("se_resnet8", in_channels=1, weights=folder)
        assert of_folder.preprocess == model.preprocess
        assert same_state(of_folder, model) == (decay == 0 or "#" not in str(folder))


@pytest.mark.parametrize(
    ("recipe", "crop", "resize"),
    [
        ({"image_size": 160, "crop": "resized"}, 160, 183),
        ({"image_size": 299, "crop": "resized", "test_resize": 0}, 299, 352),
        ({"image_size": 224, "crop": "resized", "test_resize": 240}, 224, 240),
        ({"image_size": 32, "crop": "pad", "test_resize": 0}, 32, 32),
    ],
)
def test_the_crop_of_a_training(recipe, crop, resize):
    value = {
        "identity": {"model": "resnet18", "se": None, "recipe": recipe},
        "average": None,
        "model": {},
    }
    preprocess = from_training(value, "file").preprocess
    assert (preprocess.crop, preprocess.resize) == (crop, resize)
    assert from_training({**value, "identity": {}}, "file").spec is None


def test_both_networks_of_a_comparison_load(pictures, tmp_path):
    _, folder = senet.compare(
        pictures, model="resnet8", recipe=recipe(), seeds=1, out=tmp_path, workers=0, measure_seconds=0.01
    )
    for variant, name in (("plain", "resnet8"), ("se", "se_resnet8")):
        path = folder / f"seed0-{variant}" / "checkpoint.pt"
        model = senet.create_model(name, in_channels=1, weights=path)
        assert model.spec == dataclasses.replace(network_spec(name), num_classes=2, in_channels=1)
        assert model.loaded.new == ()
        with pytest.raises(SenetError, match=rf"weights of {name} \(senet\), not of resnet20"):
            senet.create_model("resnet20", in_channels=1, weights=path)


def test_a_network_that_lacks_some_of_its_blocks_is_not_written(tmp_path):
    model = small()
    first = next(each for each in model.modules() if getattr(each, "se", None) is not None)
    first.se = first.placement = None
    with pytest.raises(SenetError, match=r"lacks the SE blocks of layer1\.0: save the whole model"):
        senet.save_weights(model, tmp_path / "file")
    assert not (tmp_path / "file").exists()
