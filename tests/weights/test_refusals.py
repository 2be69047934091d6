"""Checkpoints of other networks, and damaged ones: one sentence that says what to do."""

import dataclasses

import pytest
import torch

from senet.blocks import SEConfig
from senet.errors import SenetError
from senet.networks import network_spec
from senet.weights.checkpoint import Checkpoint
from senet.weights.identify import fit_or_refuse
from tests.references import import_timm, pytorchcv_model
from tests.weights.pairs import pair_of
from tests.weights.test_pairs import hollow


def checkpoint(of, reference, source="file.pth", **changes):
    return dataclasses.replace(hollow(pair_of(of, reference)), source=source, **changes)


def refused(given, name, said, **options):
    with pytest.raises(SenetError, match=said) as caught:
        fit_or_refuse(given, network_spec(name), **options)
    sentence = str(caught.value)
    assert sentence.startswith(given.source)
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0, "one sentence"


@pytest.mark.parametrize(
    ("package", "reference", "asked", "said"),
    [
        (
            "torchvision",
            "resnet50",
            "resnet50",
            r"weights of resnet50b \(torchvision or timm\), with the stride in the 3x3 convolution, not of "
            r"resnet50: create 'resnet50b' instead",
        ),
        ("torchvision", "resnet50", "se_resnet50", r"not of se_resnet50: create 'se_resnet50b' instead"),
        (
            "timm",
            "seresnet50",
            "se_resnet50",
            r"se_resnet50b \(timm\), with the stride.*create 'se_resnet50b'",
        ),
        (
            "moskomule",
            "se_resnet50",
            "se_resnet50",
            r"se_resnet50b \(moskomule\), with the stride.*'se_resnet50b'",
        ),
        ("timm", "seresnet50", "resnet50b", r"se_resnet50b \(timm\), not of resnet50b: create 'se_resnet50b"),
        (
            "pretrainedmodels",
            "se_resnet50",
            "se_resnet50b",
            r"se_resnet50 \(pretrainedmodels or timm\), with the stride in the first 1x1 convolution.*"
            "create 'se_resnet50'",
        ),
        ("pretrainedmodels", "se_resnet101", "se_resnet50", "create 'se_resnet101' instead"),
        ("torchvision", "resnet18", "vgg11_bn", r"weights of resnet18 \(torch.*not of vgg11_bn"),
        ("pytorchcv", "resnet50", "resnet101", r"weights of resnet50 or resnet50b \(pytorchcv\), not of"),
        ("pytorchcv", "mobilenet_w1", "mobilenet_relu6", r"with ReLU,.*create 'mobilenet'"),
        ("timm", "mobilenetv1_100", "mobilenet", r"with ReLU6,.*create 'mobilenet_relu6'"),
    ],
)
def test_weights_of_another_network_name_it(package, reference, asked, said):
    refused(checkpoint(package, reference), asked, said)


def with_changes(state, changes):
    state = dict(state)
    for key, value in changes.items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"layer1.0.conv1.weight": None, "layer1.0.bn1.bias": None, "bn1.weight": None, "bn1.bias": None},
            r"file\.pth does not fit resnet18: it lacks bn1\.weight 64, bn1\.bias 64, "
            r"layer1\.0\.conv1\.weight 64×64×3×3 and 1 more: use a complete file of .*the "
            r"file belongs",
        ),
        (
            {"conv1.weight": torch.zeros(64, 3, 5, 5)},
            r"fit resnet18: conv1\.weight has the shape 64×3×5×5 instead of 64×any×7×7: use a",
        ),
        (
            {"bn1.bias": torch.zeros(3), "fc.bias": torch.zeros(())},
            r"resnet18: bn1\.bias has .*shape 3 instead of 64, fc\.bias has",
        ),
        ({"layer9.weight": torch.zeros(1)}, r"also has layer9\.weight: use a"),
        (
            {"fc.weight": torch.zeros(1000, 512, dtype=torch.int8)},
            r"contains integers \(torch\.int8\): use a",
        ),
        ({"fc.weight": torch.full((1000, 512), float("inf"))}, r"not finite in fc\.weight"),
        ({"fc.weight": None, "fc.bias": None}, "has no classifier: set num_classes"),
        ({"fc.bias": None}, "it lacks fc.bias any"),
    ],
)
def test_damaged_checkpoints_name_the_tensor(changes, said):
    given = checkpoint("torchvision", "resnet18")
    state = with_changes(given.state, changes)
    refused(dataclasses.replace(given, state=state), "resnet18", said)


def test_a_checkpoint_without_classifier_serves_where_none_is_needed():
    given = checkpoint("torchvision", "resnet18")
    state = with_changes(given.state, {"fc.weight": None, "fc.bias": None})
    given = dataclasses.replace(given, state=state)
    fitted = fit_or_refuse(given, network_spec("resnet18"), needs_classifier=False)
    assert fitted.spec.num_classes == 0


def test_one_tensor_under_two_names():
    given = checkpoint("pretrainedmodels", "se_resnet50")
    state = {**given.state, "fc.weight": given.state["last_linear.weight"]}
    given = dataclasses.replace(given, state=state)
    refused(given, "se_resnet50", r"two tensors for fc\.weight, last_linear\.weight and fc\.weight")


@pytest.mark.parametrize("reference", ["legacy_seresnet18", "legacy_seresnet34"])
@pytest.mark.parametrize("asked", ["se_resnet18", "se_resnet50"])
def test_timms_legacy_basic_units_are_no_senet_networks(reference, asked):
    with torch.device("meta"):
        state = import_timm().create_model(reference).state_dict()
    given = Checkpoint(state=state, source="file.pth")
    refused(given, asked, "ReLU between the last BatchNorm and SE.*plain weights of torchvision or timm")


@pytest.mark.parametrize(
    ("package", "reference", "source", "asked", "said"),
    [
        (
            "pytorchcv",
            "seresnet50",
            "/some/where/seresnet50-0560-f1b84c8d.pth",
            "se_resnet50b",
            r"seresnet50, which is se_resnet50 here, not se_resnet50b: create 'se_resnet50' instead",
        ),
        ("pytorchcv", "seresnet50b", "seresnet50b-0539-25c1b0da.pth", "se_resnet50", "create 'se_resnet50b'"),
        (
            "pytorchcv",
            "resnet50",
            "resnet50-0604-728800bf.pth",
            "se_resnet50b",
            "resnet50, which is resnet50 here, not se_resnet50b: create 'se_resnet50' instead",
        ),
        ("torchvision", "resnet18", "resnet34-b627a593.pth", "resnet18", "torchvision's resnet34"),
        ("timm", "resnet50", "resnetblur50-84f4748f.pth", "resnet50b", "of resnet50b but blurs"),
        ("timm", "resnet50", "resnetaa50_a1h-4cf422b3.pth", "resnet50b", "aa50, which has .* but blurs"),
        (
            "pytorchcv",
            "resnet20_cifar10",
            "shakedropresnet20_cifar10-0588-6c6b1f5d.pth",
            "resnet20",
            "shakedropresnet20_cifar10, which has the tensors of resnet20 but scales its",
        ),
        (
            "pretrainedmodels",
            "resnet101",
            "cafferesnet101-9d633cc0.pth",
            "resnet101b",
            "create 'resnet101' i",
        ),
    ],
)
def test_published_files_are_believed(package, reference, source, asked, said):
    refused(checkpoint(package, reference, source), asked, said)


@pytest.mark.parametrize("name", ["resnet50b", "se_resnet50b"])
def test_published_plain_weights_serve_the_network_and_its_twin(name):
    given = checkpoint("torchvision", "resnet50", "resnet50-0676ba61.pth")
    assert fit_or_refuse(given, network_spec(name)).is_plain == name.startswith("se_")


@pytest.mark.parametrize(
    "source", ["seresnet50b-0539-25c1b0da.pth", "mine.pth", "seresnet50.pth", "seresnet50-epoch12.pth"]
)
def test_other_file_names_mean_nothing(source):
    fit_or_refuse(checkpoint("pytorchcv", "seresnet50b", source), network_spec("se_resnet50b"))


def test_the_architecture_a_repository_tells_is_believed():
    given = checkpoint("timm", "resnet50", package="timm", architecture="resnetaa50")
    refused(given, "resnet50b", "belongs to timm's resnetaa50, which has the tensors of resnet50b but blurs")
    given = checkpoint("timm", "resnet50", package="timm", architecture="resnet50")
    assert fit_or_refuse(given, network_spec("resnet50b")).package == "timm"


def test_caffes_resnet_is_the_papers_with_its_preprocessing():
    given = checkpoint("pretrainedmodels", "cafferesnet101")
    fitted = fit_or_refuse(given, network_spec("resnet101"))
    assert fitted.spec == network_spec("resnet101")
    assert fitted.preprocess.channel_order == "BGR"
    assert fitted.preprocess.scale == "0..255"
    wrapped = fit_or_refuse(given, network_spec("resnet101b"))
    assert wrapped.spec == network_spec("resnet101b")
    assert wrapped.preprocess.channel_order == "RGB"


def test_hidden_layers_that_no_setting_gives():
    given = checkpoint("pytorchcv", "seresnet20_cifar10")
    state = dict(given.state)
    state["features.stage1.unit1.se.conv1.weight"] = torch.zeros(7, 16, 1, 1)
    said = r"hidden units \({} of 16.*that no usual setting gives"
    refused(dataclasses.replace(given, state=state), "se_resnet20", said.format(7))
    # One unit for all of 64 channels is a reduction that the first block has no channels for.
    ones = {key: tensor[:1] for key, tensor in given.state.items() if key.endswith("se.conv1.weight")}
    refused(dataclasses.replace(given, state=given.state | ones), "se_resnet20", said.format(1))


def test_the_background_class_is_left_out():
    given = checkpoint("pretrainedmodels", "inceptionresnetv2")
    weight = torch.arange(1001.0)[:, None].expand(1001, 1536)
    state = {**given.state, "last_linear.weight": weight, "last_linear.bias": torch.arange(1001.0)}
    fitted = fit_or_refuse(dataclasses.replace(given, state=state), network_spec("inception_resnet_v2"))
    assert fitted.spec.num_classes == 1000
    assert fitted.state["fc.bias"].tolist() == list(range(1, 1001))
    assert fitted.state["fc.weight"][0, 0] == 1
    assert "background" in fitted.changes[0]


@pytest.mark.parametrize(
    ("package", "reference", "expected"),
    [
        ("pretrainedmodels", "se_resnet50", (224, 256, "RGB", "0..1", (0.485, 0.456, 0.406))),
        ("pretrainedmodels", "bninception", (224, 256, "BGR", "0..255", (104, 117, 128))),
        ("pretrainedmodels", "inceptionresnetv2", (299, 341, "RGB", "0..1", (0.5, 0.5, 0.5))),
        ("torchvision", "googlenet", (224, 256, "RGB", "0..1", (0.5, 0.5, 0.5))),
        ("torchvision", "inception_v3", (299, 342, "RGB", "0..1", (0.5, 0.5, 0.5))),
        ("timm", "mobilenetv1_100", (224, 256, "RGB", "0..1", (0.5, 0.5, 0.5))),
        ("pytorchcv", "seresnet20_cifar10", (32, 32, "RGB", "0..1", (0.4914, 0.4822, 0.4465))),
    ],
)
def test_the_preprocessing_is_the_packages(package, reference, expected):
    pair = pair_of(package, reference)
    found = fit_or_refuse(hollow(pair), network_spec(pair.network)).preprocess
    assert (found.crop, found.resize, found.channel_order, found.scale, found.mean) == expected
    assert (found.labels is None) == (found.crop == 32)


def test_networks_that_nobody_here_has():
    with torch.device("meta"):
        state = pytorchcv_model("resnet10").state_dict()
    given = Checkpoint(state=state, source="file.pth")
    refused(given, "resnet18", "does not fit resnet18: it lacks .*: use a complete file of this network, or")


def test_identity_needs_a_gate_that_can_be_one():
    given = checkpoint("torchvision", "resnet18")
    spec = dataclasses.replace(network_spec("resnet18"), se=SEConfig(gate="hard_sigmoid"))
    with pytest.raises(SenetError, match="the gate 'hard_sigmoid' would disturb"):
        fit_or_refuse(given, spec, se_chosen=True)
