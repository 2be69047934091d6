from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest
import torch
from torch import nn

from senet.errors import SenetError
from senet.networks.foreign import create_foreign, package_version, usual_image
from tests.references import import_timm, import_torchvision


@pytest.fixture(autouse=True, scope="module")
def importable() -> None:
    import_timm()


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("timm:resnet18", 1, 64),
        ("timm:resnet18.a1_in1k", 5, 64),
        ("torchvision:resnet18", 3, 64),
        ("torchvision:googlenet", 3, 64),
        ("torchvision:inception_v3", 3, 80),
        ("pytorchcv:resnet18", 1, 224),
        ("torchvision.models:resnet18", 3, 64),
    ],
)
def test_every_package_builds_what_was_asked_for(name: str, channels: int, size: int) -> None:
    with torch.device("meta"):
        model = create_foreign(name, num_classes=7, in_channels=channels).train()
        assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_without_numbers_they_are_the_networks_own() -> None:
    with torch.device("meta"):
        for name in ("timm:resnet18", "torchvision:resnet18", "pytorchcv:resnet18"):
            model = create_foreign(name)
            assert sum(each.numel() for each in model.parameters()) == 11_689_512
            assert usual_image(name, model) == (3, 224, 224)
        name = "timm:inception_v3"
        assert usual_image(name, create_foreign(name)) == (3, 299, 299)
        name = "pytorchcv:resnet20_cifar10"
        assert usual_image(name, create_foreign(name)) == (3, 32, 32)
    assert usual_image("torchvision:inception_v3", nn.Identity()) == (3, 299, 299)


def test_it_is_the_packages_network() -> None:
    torch.manual_seed(0)
    ours = create_foreign("torchvision:resnet18", num_classes=4).state_dict()
    torch.manual_seed(0)
    theirs = import_torchvision().models.resnet18(num_classes=4).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:resnet5O", "timm has no classification network called 'resnet5O'.* 'resnet50'"),
        ("torchvision:resnet_50", r"torchvision has no .* 'resnet_50'\. Did you mean 'resnet50'"),
        ("torchvision:fcn_resnet50", "torchvision has no classification network called 'fcn_resnet50'"),
        ("torchvision:list_models", "no classification network called 'list_models'"),
        ("pytorchcv:resnt18", "pytorchcv has no .* Did you mean 'resnet18'"),
        ("pytorchcv:resnet20_cifar10", r"built: AssertionError: assert \(num_classes in \[10, 100\]\)\."),
        ("timm:", "timm has no .* called ''"),
        ("timm:resnet18.nothing", r"timm:resnet18\.nothing could not be built: RuntimeError: .*tag"),
    ],
)
def test_an_unknown_name_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence) as error:
        create_foreign(name, num_classes=3)
    assert "\n" not in str(error.value) and ".py" not in str(error.value)


def test_torchvision_takes_three_channels() -> None:
    with pytest.raises(SenetError, match=r"torchvision:resnet18 takes images of 3 channels, not 1.*timm"):
        create_foreign("torchvision:resnet18", in_channels=1)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("No module", name="timm"), r"^timm is not installed: run pip install timm\.$"),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), "timm cannot be imported .*'yaml'"),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "timm cannot be imported .*nms does not exist.*install the version th",
        ),
    ],
)
def test_a_package_that_is_missing_or_broken(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(_: str) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(SenetError, match=sentence):
        create_foreign("timm:resnet18")


def test_the_version_of_the_package() -> None:
    assert package_version("timm:resnet18") == {"timm": import_timm().__version__}
    assert package_version("torchvision.models:resnet18").keys() == {"torchvision"}
    assert package_version("resnet50") == {}


@pytest.mark.parametrize("name", ["timm:resnet18", "torchvision:inception_v3", "pytorchcv:resnet18"])
def test_released_weights_are_asked_for_and_execute_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: dict[str, object] = {}

    def build(network: str, **options: object) -> nn.Module:
        asked.update(options, network=network, only=os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD"))
        return nn.Linear(1, 1)

    monkeypatch.setattr(import_timm(), "create_model", build)
    monkeypatch.setattr(import_torchvision().models, "get_model", build)
    monkeypatch.setattr(importlib.import_module("pytorchcv.model_provider"), "get_model", build)
    model = create_foreign(name, pretrained=True)
    assert asked.pop("only") == "1" and asked.pop("network") == name.partition(":")[2]
    if name.startswith("torchvision"):
        # With weights torchvision insists on the auxiliary classifier, which then is taken out.
        assert asked == {"weights": "DEFAULT"} and model.AuxLogits is None and model.aux_logits is False
    else:
        assert asked == {"pretrained": True}
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    if not name.startswith("timm"):
        with pytest.raises(SenetError, match="fixed number of classes, so 5 classes are not possible"):
            create_foreign(name, num_classes=5, pretrained=True)


def test_what_a_package_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> nn.Module:
        raise OSError("no such host\nmore")

    monkeypatch.setattr(import_timm(), "create_model", fail)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    with pytest.raises(SenetError, match=r"^timm:resnet18 could not be built: OSError: no such host"):
        create_foreign("timm:resnet18", pretrained=True)
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"
