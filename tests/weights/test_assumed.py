"""What a file does not tell: the report says that the call decided it."""

import dataclasses
import warnings
from collections import defaultdict
from itertools import combinations

import pytest
import torch
from safetensors.torch import save_file

import senet
from senet.networks import list_models, network_spec
from senet.weights.identify import fit_or_refuse
from senet.weights.known import LOOK_ALIKES, TWO_FORMS
from senet.weights.shapes import outline_of
from tests.references import import_timm, pytorchcv_model
from tests.weights.pairs import pair_of
from tests.weights.test_pairs import hollow


def assumed(of, reference, name, **changes):
    given = dataclasses.replace(hollow(pair_of(of, reference)), **{"source": "mine.pth", **changes})
    return " ".join(fit_or_refuse(given, network_spec(name)).assumed)


BLURRED = "timm's resnetaa50 (which blurs before downsampling) and of timm's resnetblur50 (which blurs before"


@pytest.mark.parametrize(
    ("package", "reference", "name", "said"),
    [
        ("pytorchcv", "resnet50", "resnet50b", "is resnet50b; the tensors of pytorchcv's resnet50 ("),
        ("pytorchcv", "resnet50b", "resnet50", "is resnet50; the tensors of pytorchcv's resnet50b ("),
        (
            "pytorchcv",
            "seresnet50",
            "se_resnet50b",
            "pytorchcv's seresnet50 (here se_resnet50) have the same",
        ),
        ("pytorchcv", "resnet50", "se_resnet50b", "is resnet50b; the tensors of pytorchcv's resnet50 (here"),
        ("pytorchcv", "resnet101", "resnet101b", "pytorchcv's resnet101 (here resnet101) have the"),
        ("pytorchcv", "resnet20_cifar10", "resnet20", "pytorchcv's shakedropresnet20_cifar10 (which scales"),
        ("timm", "resnet50", "resnet50b", BLURRED),
        (
            "torchvision",
            "resnet18",
            "resnet18",
            "timm's resnetblur18 (which blurs before downsampling) have the",
        ),
        ("pretrainedmodels", "resnet101", "resnet101b", "cafferesnet101 (here resnet101) have the same"),
    ],
)
def test_what_the_tensors_do_not_tell_is_said(package, reference, name, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sentence = assumed(package, reference, name)
    assert said in sentence
    # Where the file may as well be of another network of ours, a report that nobody prints is not enough.
    assert [str(each.message) for each in caught] == [f"mine.pth: {sentence}"] * ("(here " in sentence)


@pytest.mark.parametrize(
    ("package", "reference", "name", "told"),
    [
        ("pytorchcv", "resnet50b", "resnet50b", {"source": "resnet50b-0611-e4b7c4ac.pth"}),
        ("timm", "resnet50", "resnet50b", {"package": "timm", "architecture": "resnet50"}),
        ("torchvision", "resnet34", "resnet34", {}),
        ("timm", "seresnet18", "se_resnet18", {}),
        ("timm", "seresnet50", "se_resnet50b", {}),
        ("pretrainedmodels", "se_resnet50", "se_resnet50", {}),
        ("moskomule", "se_resnet50", "se_resnet50b", {}),
        ("pytorchcv", "mobilenet_w1", "mobilenet", {}),
        ("timm", "mobilenetv1_100", "mobilenet_relu6", {}),
        ("pytorchcv", "seresnet20_cifar10", "se_resnet20", {}),
    ],
)
def test_nothing_is_said_where_the_file_tells(package, reference, name, told):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assumed(package, reference, name, **told) == ""


@pytest.mark.slow
def test_the_table_of_two_forms_is_that_of_all_networks():
    groups = defaultdict(list)
    for name in list_models():
        spec = network_spec(name)
        if spec.se is None:
            groups[frozenset(outline_of(spec).shapes.items())].append(name)
    pairs = {pair for group in groups.values() for pair in combinations(sorted(group), 2)}
    assert pairs == {tuple(sorted(pair)) for pair in TWO_FORMS.items()}


@pytest.mark.parametrize("package", LOOK_ALIKES)
def test_look_alikes_have_the_tensors_of_ours(package):
    for reference, (network, _) in LOOK_ALIKES[package].items():
        with torch.device("meta"):
            theirs = (
                import_timm().create_model(reference) if package == "timm" else pytorchcv_model(reference)
            )
        state = theirs.state_dict()
        *_, bias = state.values()
        ours = outline_of(network_spec(network))
        free = {f"{ours.stem}.weight": 3}  # channels; elsewhere it is the classes that are free
        expected = [
            tuple(free.get(key, len(bias)) if side is None else side for side in shape)
            for key, shape in ours.shapes.items()
        ]
        assert sorted(tuple(each.shape) for each in state.values()) == sorted(expected)


def test_a_state_dict_of_ours_tells_nothing_but_tensors(tmp_path):
    model = senet.create_model("se_resnet8")
    torch.save(model.state_dict(), tmp_path / "file.pth")
    report = senet.create_model("se_resnet8", weights=tmp_path / "file.pth").loaded
    assert "contains only tensors, so everything that they do not show is assumed as requested" in str(report)
    senet.save_weights(model, tmp_path / "file.safetensors")
    assert senet.create_model("se_resnet8", weights=tmp_path / "file.safetensors").loaded.assumed == ()


def test_the_report_says_it_last(tmp_path):
    save_file(pytorchcv_model("resnet20_cifar10").state_dict(), tmp_path / "file.safetensors")
    report = senet.create_model("se_resnet20", weights=tmp_path / "file.safetensors").loaded
    assert (
        str(report)
        .splitlines()[-1]
        .startswith("Only the requested name says that this is resnet20; the tensors")
    )
    assert len(report.assumed) == 1
