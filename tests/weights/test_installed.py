from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

from senet.networks.zoo import create_network
from senet.weights import installed
from senet.weights.installed import installed_networks
from tests.references import import_timm


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def test_the_same_networks_of_other_packages() -> None:
    import_timm()
    builders, missing = installed_networks(["resnet50b", "se_resnet50b"])
    assert list(builders) == ["timm resnet50", "timm seresnet50", "torchvision resnet50"] and not missing
    with torch.device("meta"):
        for name, ours in (("timm seresnet50", "se_resnet50b"), ("torchvision resnet50", "resnet50b")):
            assert parameters(builders[name]()) == parameters(create_network(ours))


def test_of_two_names_the_first_known_is_taken() -> None:
    import_timm()
    # timm also has legacy_seresnext50_32x4d.
    builders, _ = installed_networks(["se_resnext50_32x4d"])
    assert list(builders) == ["timm seresnext50_32x4d"]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_come_without_auxiliary_classifiers(name: str) -> None:
    import_timm()
    builders, _ = installed_networks([name], ["torchvision"])
    with torch.device("meta"):
        network = builders[f"torchvision {name}"]()
        assert isinstance(network.train()(torch.empty(2, 3, 299, 299)), torch.Tensor)
        assert parameters(network) == parameters(create_network(name))


def failing(error: Exception) -> Callable[[str], ModuleType]:
    def fail(name: str) -> ModuleType:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "timm is not installed; run pip install timm to measure it too.",
        ),
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            "timm cannot be imported (No module named 'yaml').",
        ),
        (
            RuntimeError("operator x does not exist\nTraceback"),
            "timm cannot be imported (operator x does not exist).",
        ),
        (OSError(), "timm cannot be imported (OSError)."),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", failing(error))
    assert installed_networks(["se_resnet50b"], ["timm"]) == ({}, [sentence])


def test_nothing_is_imported_for_a_network_that_nobody_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.importlib, "import_module", failing(AssertionError()))
    assert installed_networks(["resnet8", "se_resnet8"]) == ({}, [])
