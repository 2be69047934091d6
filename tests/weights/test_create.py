"""Weights in a network that is not quite the checkpoint's: other classes, channels, heads, and new SE."""

import dataclasses

import numpy as np
import pytest
import torch

import senet
from senet.blocks import SqueezeExcitation
from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.networks import network_spec
from senet.networks.build import build_network
from senet.networks.preprocess import IMAGENET_MEAN, IMAGENET_STD
from senet.weights.load import for_channels
from tests.references import (
    import_timm,
    import_torchvision,
    pytorchcv_model,
    randomise,
    relative_difference,
)


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    """torchvision's ResNet-18, and a file of its weights."""
    model = import_torchvision().models.resnet18().eval()
    randomise(model)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(model.state_dict(), path)
    return model, path


@pytest.fixture(scope="module")
def resnet20(tmp_path_factory):
    """pytorchcv's small network, and a file of its weights."""
    model = pytorchcv_model("resnet20_cifar10").eval()
    model.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    randomise(model)
    path = tmp_path_factory.mktemp("weights") / "resnet20.pth"
    torch.save(model.state_dict(), path)
    return model, path


def images(side=64, channels=3, count=2):
    return torch.randn(count, channels, side, side)


def assert_same_bits(name, path, theirs, x, se=None):
    plain = senet.create_model(name, weights=path).eval()
    twin = senet.create_model(f"se_{name}", weights=path, se=se).eval()
    with torch.no_grad():
        assert torch.equal(twin(x), plain(x))
        with kernels("reference"):
            assert torch.equal(plain(x), theirs(x))
    assert plain.loaded.new == ()
    assert twin.loaded.new == tuple(key for key in twin.state_dict() if ".se." in key)
    assert twin.loaded.loaded == plain.loaded.loaded == len(theirs.state_dict())
    assert "every gate is exactly 1" in " ".join(twin.loaded.changes)
    assert (twin.spec.se.gate, twin.spec.se.start) == ("double_sigmoid", "identity")
    return twin


@pytest.mark.slow
def test_the_twin_of_plain_weights_puts_out_the_same_bits_and_learns(resnet18):
    theirs, path = resnet18
    torch.manual_seed(0)
    twin = assert_same_bits("resnet18", path, theirs, images())
    assert len(twin.loaded.new) == 4 * 8
    optimiser = torch.optim.SGD(twin.train().parameters(), lr=0.1)
    for _ in range(2):  # the first step moves fc2 only
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(twin(images(count=4)), torch.arange(4)).backward()
        optimiser.step()
    blocks = [module for module in twin.modules() if isinstance(module, SqueezeExcitation)]
    assert len(blocks) == 8
    for block in blocks:
        assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())


@pytest.mark.parametrize("placement", ["pre", "post", "identity", "conv3x3"])
def test_new_se_may_take_any_place(resnet20, placement):
    theirs, path = resnet20
    se = senet.SEConfig(gate="double_sigmoid", start="identity", min_hidden=1, placement=placement)
    assert_same_bits("resnet20", path, theirs, images(32), se)


def test_the_checkpoint_decides_about_classes(tmp_path):
    theirs = pytorchcv_model("resnet20_cifar100")
    torch.save(theirs.state_dict(), tmp_path / "resnet20.pth")
    model = senet.create_model("resnet20", weights=tmp_path / "resnet20.pth")
    assert model(images(32)).shape == (2, 100)
    assert model.spec.num_classes == 100


@pytest.mark.usefixtures("layer_by_layer")
def test_another_number_of_classes_leaves_the_classifier_fresh(resnet18):
    theirs, path = resnet18
    torch.manual_seed(0)
    model = senet.create_model("resnet18", weights=path, num_classes=7).eval()
    report = model.loaded
    assert report.new == ("fc.weight", "fc.bias")
    assert report.dropped == ("fc.weight", "fc.bias")
    assert "7 classes is new, because the checkpoint has 1000" in report.changes[0]
    assert model.preprocess.labels is None
    assert model.fc.weight.std() > 0
    x = images()
    features = senet.create_model("resnet18", weights=path, num_classes=0).eval()
    assert features.loaded.dropped == ("fc.weight", "fc.bias")
    assert features.loaded.changes == ()
    with torch.no_grad():
        theirs_features = torch.nn.Sequential(*list(theirs.children())[:-1])(x).flatten(1)
        assert torch.equal(features(x), theirs_features)
        assert torch.equal(model(x), model.fc(theirs_features))


def test_the_same_number_of_classes_keeps_the_classifier(resnet18):
    theirs, path = resnet18
    model = senet.create_model("resnet18", weights=path, num_classes=1000)
    assert torch.equal(model.fc.weight, theirs.fc.weight)
    assert model.loaded.new == ()


def test_a_file_without_classifier_is_for_calls_that_need_none(resnet20, tmp_path):
    theirs, _ = resnet20
    path = tmp_path / "headless.pth"
    torch.save({key: each for key, each in theirs.state_dict().items() if "output" not in key}, path)
    with pytest.raises(SenetError, match="has no classifier: set num_classes"):
        senet.create_model("resnet20", weights=path)
    assert senet.create_model("resnet20", weights=path, num_classes=3).loaded.new == ("fc.weight", "fc.bias")
    assert senet.create_model("resnet20", weights=path, num_classes=0).loaded.new == ()
    assert senet.create_model("resnet20", weights=path, features_only=True).loaded.new == ()


def test_dropped_keys_are_named_as_in_the_file(resnet20):
    _, path = resnet20
    report = senet.create_model("resnet20", weights=path, num_classes=3).loaded
    assert report.new == ("fc.weight", "fc.bias")
    assert report.dropped == ("output.weight", "output.bias")


@pytest.mark.usefixtures("layer_by_layer")
def test_features(resnet18):
    theirs, path = resnet18
    model = senet.create_model("resnet18", weights=path, features_only=True, out_indices=(1, 3)).eval()
    assert model.loaded.dropped == tuple(
        key for key in theirs.state_dict() if key.startswith(("fc.", "layer4."))
    )
    x = images()
    with torch.no_grad():
        expected = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))
        maps = model(x)
    assert torch.equal(maps[0], expected)
    assert [each.shape[1] for each in maps] == [64, 256]


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_first_convolutions_are_adapted_as_timm_does(resnet18, channels):
    import_timm()
    from timm.models import adapt_input_conv

    theirs, path = resnet18
    model = senet.create_model("resnet18", weights=path, in_channels=channels)
    expected = adapt_input_conv(channels, theirs.conv1.weight.detach())
    assert torch.equal(model.conv1.weight, expected)
    said = "summed" if channels == 1 else "repeated and scaled"
    assert said in " ".join(model.loaded.changes)
    assert model.preprocess.channels == channels


def test_a_greyscale_checkpoint_sees_the_same_in_three_equal_channels():
    weight = torch.randn(4, 1, 3, 3)
    grey = torch.randn(2, 1, 9, 9)
    expected = torch.nn.functional.conv2d(grey, weight)
    found = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), for_channels(weight, 3))
    assert torch.allclose(found, expected, atol=1e-6)
    assert for_channels(weight, 1) is weight
    half = torch.randn(4, 3, 3, 3).half()
    assert torch.equal(for_channels(half, 1), half.float().sum(1, keepdim=True))


def test_pictures_of_a_greyscale_checkpoint_keep_its_mean_in_three_channels(resnet18, tmp_path):
    theirs, _ = resnet18
    state = theirs.state_dict()
    torch.save(state | {"conv1.weight": state["conv1.weight"][:, :1]}, tmp_path / "grey.pth")
    model = senet.create_model("resnet18", weights=tmp_path / "grey.pth")
    assert model.spec.in_channels == 3
    assert model.preprocess.mean == (sum(IMAGENET_MEAN) / 3,) * 3
    assert model.preprocess.std == (sum(IMAGENET_STD) / 3,) * 3


@pytest.mark.slow
def test_load_weights_into_a_network_that_exists(resnet18):
    theirs, path = resnet18
    model = senet.create_model("resnet18", num_classes=1000)
    report = senet.load_weights(torch.nn.DataParallel(model), path)
    assert report is model.loaded
    assert senet.load_weights(torch.compile(model), path) is model.loaded is not report
    assert torch.equal(model.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert model.preprocess.labels == "ImageNet-1k, sorted by WordNet id"
    model = senet.create_model("resnet18", num_classes=5)
    own = model.fc.weight.clone()
    assert senet.load_weights(model, path).new == ("fc.weight", "fc.bias")
    assert torch.equal(model.fc.weight, own)


@pytest.mark.usefixtures("layer_by_layer")
def test_load_weights_opens_gates_that_can_be_opened(resnet20):
    theirs, path = resnet20
    se = senet.SEConfig(gate="double_sigmoid", min_hidden=1)
    model = senet.create_model("se_resnet20", se=se).eval()
    randomise(model)
    senet.load_weights(model, path)
    x = images(32)
    with torch.no_grad():
        assert torch.equal(model(x), theirs(x))
    closed = senet.create_model("se_resnet20")
    with pytest.raises(SenetError, match="gate 'sigmoid' would disturb: choose SEConfig"):
        senet.load_weights(closed, path)


def test_load_weights_never_leaves_a_network_half_loaded(resnet18, tmp_path):
    theirs, _ = resnet18
    state = dict(theirs.state_dict())
    state["layer4.1.bn2.bias"] = torch.full_like(state["layer4.1.bn2.bias"], float("nan"))
    torch.save(state, tmp_path / "nan.pth")
    model = senet.create_model("resnet18")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    preprocess = model.preprocess
    with pytest.raises(SenetError, match=r"not finite in layer4\.1\.bn2\.bias"):
        senet.load_weights(model, tmp_path / "nan.pth")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.preprocess is preprocess
    assert model.loaded is None


def test_load_weights_refuses_options_that_only_building_can_change(resnet18):
    _, path = resnet18
    model = build_network(dataclasses.replace(network_spec("resnet18"), pool="ceil"))
    before = model.conv1.weight.clone()
    with pytest.raises(
        SenetError, match=r"needs pool='padded', but this network has 'ceil': build it with senet\.create"
    ):
        senet.load_weights(model, path)
    assert torch.equal(model.conv1.weight, before)


def test_what_is_no_network_with_memory_is_refused(resnet18):
    theirs, path = resnet18
    with pytest.raises(SenetError, match=r"needs a network of senet\.create_model, not a ResNet"):
        senet.load_weights(theirs, path)
    with torch.device("meta"):
        hollow = senet.create_model("resnet18")
    with pytest.raises(SenetError, match="meta device"):
        senet.load_weights(hollow, path)
    with torch.device("meta"), pytest.raises(SenetError, match="meta device"):
        senet.create_model("resnet18", weights=path)


def test_half_precision_becomes_the_networks_precision(resnet20, tmp_path):
    theirs, _ = resnet20
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in theirs.state_dict().items()
    }
    torch.save(half, tmp_path / "half.pth")
    model = senet.create_model("resnet20", weights=tmp_path / "half.pth").eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    x = images(32)
    with torch.no_grad():
        assert 1e-6 < relative_difference(model(x), theirs(x)) < 1e-2


@pytest.mark.usefixtures("layer_by_layer")
def test_files_of_old_versions_have_no_counters(resnet20, tmp_path):
    theirs, _ = resnet20
    old = {key: value for key, value in theirs.state_dict().items() if "num_batches" not in key}
    torch.save(old, tmp_path / "old.pth")
    model = senet.create_model("resnet20", weights=tmp_path / "old.pth").eval()
    assert model.loaded.new == ()
    x = images(32)
    with torch.no_grad():
        assert torch.equal(model(x), theirs(x))


def test_a_chosen_se_that_is_the_checkpoints_is_taken(tmp_path):
    theirs = pytorchcv_model("seresnet20_cifar10")
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    se = senet.SEConfig(min_hidden=1)
    model = senet.create_model("resnet20", se=se, weights=tmp_path / "file.pth")
    assert model.spec.se == se
    assert model.loaded.changes == ()
    assert model.loaded.network == "se_resnet20"
    for wrong, said in (
        (
            senet.SEConfig(),
            r"SE with min_hidden=4 contradicts .*file\.pth, whose SE has min_hidden=1: request that",
        ),
        (senet.SEConfig(min_hidden=1, gate="tanh"), r"gate='tanh'.*has gate='sigmoid'"),
        (senet.SEConfig(min_hidden=1, placement="post"), "placement='post'.*placement='standard'"),
        (senet.SEConfig(min_hidden=1, reduction=8, bias=False), "bias=False, reduction=8.*bias=True, red"),
    ):
        with pytest.raises(SenetError, match=said):
            senet.create_model("se_resnet20", se=wrong, weights=tmp_path / "file.pth")


def test_se_is_read_off_the_tensors(tmp_path):
    import_timm()
    for se in (
        senet.SEConfig(reduction=4, min_hidden=1),
        senet.SEConfig(reduction=2, bias=False),
        senet.SEConfig(reduction=8, divisor=8),
        senet.SEConfig(min_hidden=4),
    ):
        theirs = senet.create_model("resnet20", se=se)
        state = {key.replace("output", "fc"): value for key, value in theirs.state_dict().items()}
        safe = {key: value.clone() for key, value in state.items()}
        torch.save(safe, tmp_path / "file.pth")
        model = senet.create_model("se_resnet20", weights=tmp_path / "file.pth")
        assert [tuple(p.shape) for p in model.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
        assert torch.equal(model.layer3[2].se.fc1.weight, theirs.layer3[2].se.fc1.weight)


def test_arguments_are_checked_before_anything_is_fetched():
    for wrong, said in (
        ({"num_classes": -1}, "num_classes"),
        ({"features_only": True, "num_classes": 3}, "features_only"),
        ({"in_channels": 0}, "in_channels"),
    ):
        with pytest.raises(SenetError, match=said):
            senet.create_model("resnet18", weights="nobody/nothing", **wrong)
    with pytest.raises(SenetError, match="no network called 'resnet19'"):
        senet.create_model("resnet19", weights="nobody/nothing")


def test_without_weights_nothing_has_changed():
    torch.manual_seed(0)
    one = senet.create_model("se_resnet20")
    torch.manual_seed(0)
    other = senet.networks.create_network("se_resnet20")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one.loaded is None


def test_the_report_is_short_and_says_it_all(resnet18):
    _, path = resnet18
    report = senet.create_model("se_resnet18", weights=path, num_classes=7).loaded
    lines = str(report).splitlines()
    assert lines[0] == f"se_resnet18: 120 tensors from {path} (torchvision or timm)."
    assert lines[1] == "         tensors  names"
    assert lines[2] == (
        "new           34  layer1.0.se.fc1.weight, layer1.0.se.fc1.bias, layer1.0.se.fc2.weight and 31 more"
    )
    assert lines[3] == "dropped        2  fc.weight, fc.bias"
    assert "resnetblur18" in lines[6]
    assert len(lines) == 7
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.loaded = 3


@pytest.mark.usefixtures("layer_by_layer")
def test_pictures_reach_the_scores(resnet18):
    theirs, path = resnet18
    transforms = pytest.importorskip("torchvision.transforms")
    model = senet.create_model("resnet18", weights=path).eval()
    picture = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    steps = [transforms.ToPILImage(), transforms.Resize(256), transforms.CenterCrop(224)]
    x = transforms.Compose([*steps, transforms.ToTensor(), normalise])(picture)[None]
    with torch.no_grad():
        assert torch.equal(model(model.preprocess(picture)), theirs(x))
