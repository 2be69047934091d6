"""Trainings of other networks from weights, and factories whose start does not depend on the seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import senet
from senet.blocks.se_config import SEConfig
from senet.cli.main import main
from senet.errors import SenetError
from senet.experiments.planned_networks import resolve_se
from senet.experiments.start_weights import Start, open_start
from senet.experiments.trial import same_for_all_seeds
from senet.training.recipe import Recipe
from tests.small import small_photos

NETS = """
import random
import numpy as np
import torch
from torch import nn

class Unit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))

class Net(nn.Module):
    def __init__(self, num_classes=5, in_channels=3):
        super().__init__()
        self.stem, self.unit = nn.Conv2d(in_channels, 16, 3, padding=1), Unit(16)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(self.unit(self.stem(x)).mean((2, 3)))

def net(num_classes=5, in_channels=3):
    return Net(num_classes, in_channels)

def seeds_torch(num_classes=5):
    torch.manual_seed(0)
    return Net(num_classes)

def from_numpy(num_classes=5):
    model = Net(num_classes)
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(torch.from_numpy(np.random.standard_normal(each.shape) / 10))
    return model

def seeds_numpy(num_classes=5):
    np.random.seed(3)
    return from_numpy(num_classes)

def same_weights(num_classes=5):
    model = Net(num_classes)
    for each in model.parameters():
        nn.init.constant_(each, random.Random(1).random())
    return model

def wrapped(num_classes=5):
    model = nn.Module()
    model.net = Net(num_classes)
    model.forward = model.net.forward
    return model
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("start_nets.py").write_text(NETS)
    monkeypatch.delitem(__import__("sys").modules, "start_nets", raising=False)


def weights(classes: int = 5) -> str:
    from start_nets import Net  # type: ignore[import-not-found]

    torch.manual_seed(11)
    torch.save(Net(classes).state_dict(), "w.pth")
    return "w.pth"


def opened(path: str, model: str = "start_nets:net", classes: int = 2, **se: object) -> Start:
    config = resolve_se(model, se)
    return open_start(path, model, config, given=se, classes=classes, channels=3)


def test_both_networks_start_from_a_file_and_open_gates() -> None:
    start = opened(weights())
    plain, twin = (each.eval() for each in start.networks(0))
    given = torch.load("w.pth")
    for key, value in plain.state_dict().items():
        assert key.startswith("fc.") or torch.equal(value, given[key])
        assert torch.equal(value, twin.state_dict()[key])
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(plain(images), twin(images)), "every gate is exactly 1"
    other = start.networks(1)[0].state_dict()
    assert not torch.equal(other["fc.weight"], plain.state_dict()["fc.weight"]), "the seed's own classifier"
    assert "new: fc.weight, fc.bias" in start.facts() and "start at identity" in start.facts()
    assert (
        opened(weights(2), classes=2)
        .networks(0)[0]
        .state_dict()["fc.weight"]
        .equal(torch.load("w.pth")["fc.weight"])
    )


def test_settings_of_se_keep_the_identity_unless_said_otherwise() -> None:
    assert opened(weights(), reduction=4).se == SEConfig(reduction=4, gate="double_sigmoid", start="identity")
    assert opened(weights(), reduction=4, start="random").se == SEConfig(reduction=4)


def test_other_channels_and_prefixes() -> None:
    weights()
    start = open_start("w.pth", "start_nets:net", None, classes=2, channels=1)
    stem = start.networks(0)[0].state_dict()["stem.weight"]
    assert torch.equal(stem, torch.load("w.pth")["stem.weight"].sum(1, keepdim=True))
    assert open_start("w.pth", "start_nets:wrapped", None, classes=2, channels=3).networks(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: state.pop("unit.conv.weight"),
            "do not belong to start_nets:net: they lack unit.conv.weight",
        ),
        (
            lambda state: state.update({"unit.conv.weight": torch.zeros(8, 16, 3, 3)}),
            "have unit.conv.weight as",
        ),
        (lambda state: state.update({"other": torch.zeros(3)}), "have other"),
    ],
)
def test_weights_of_another_network_are_refused(change: object, said: str) -> None:
    state = torch.load(weights())
    change(state)  # type: ignore[operator]
    torch.save(state, "w.pth")
    with pytest.raises(SenetError, match=said):
        opened("w.pth")


def test_no_package_released_weights_of_a_factory() -> None:
    with pytest.raises(SenetError, match="no keyword 'pretrained'"):
        opened("pretrained")


def test_what_insert_writes_is_taken() -> None:
    insert = ["insert", "--model", "start_nets:net", "--reduction", "4", "--out", "se.safetensors"]
    assert main(insert) == 0
    start = opened("se.safetensors")
    assert start.se == SEConfig(reduction=4, gate="double_sigmoid", start="identity")
    plain, twin = start.networks(0)
    assert {key for key in twin.state_dict() if ".se." in key} and "without their SE blocks" in start.facts()
    assert not [key for key in plain.state_dict() if ".se." in key]
    with pytest.raises(SenetError, match="already has SE blocks"):
        opened("se.safetensors", reduction=8)
    assert main([*insert[:3], "--kind", "eca", *insert[5:]]) == 0
    with pytest.raises(SenetError, match="kind 'eca'"):
        opened("se.safetensors")


@pytest.mark.slow
def test_a_comparison_from_weights_can_be_shared_out_and_goes_on(tmp_path: Path) -> None:
    photos, recipe = small_photos(tmp_path / "photos", 24), Recipe(epochs=1, batch_size=8)
    options = {"model": "start_nets:net", "weights": weights(), "recipe": recipe, "seeds": 1, "workers": 0}
    whole, _ = senet.compare(photos, **options, out="whole", measure_seconds=0.05)
    again, _ = senet.compare(photos, **options, out="whole", measure_seconds=0.05)
    assert [run.predictions for run in again.runs] == [run.predictions for run in whole.runs]
    for job in ("1/2", "2/2"):
        senet.compare_job(job, photos, **options, out="jobs")
    collected, _ = senet.collect("jobs", workers=0, measure_seconds=0.05)
    assert [run.predictions for run in collected.runs] == [run.predictions for run in whole.runs]
    assert json.loads(Path("whole/settings.json").read_text())["identity"]["weights"]["checksum"]
    torch.save({key: value + 1 for key, value in torch.load("w.pth").items()}, "w.pth")
    with pytest.raises(SenetError, match=r"weights\.checksum"):
        senet.compare(photos, **options, out="whole")
    # A run's own checkpoint starts another, with its statistics.
    start = open_start("whole/seed0-se", "start_nets:net", SEConfig(), classes=3, channels=3)
    assert start.mean is not None and start.se == whole_se("whole")


def whole_se(folder: str) -> SEConfig:
    return SEConfig(**json.loads(Path(folder, "settings.json").read_text())["identity"]["se"])


def test_a_factory_that_seeds_itself_is_refused() -> None:
    for factory, generator in (("seeds_torch", "torch"), ("seeds_numpy", "numpy")):
        with pytest.raises(SenetError, match=f"{factory} seeds {generator} itself.*remove the seeding"):
            same_for_all_seeds(f"start_nets:{factory}", classes=2, channels=3)


@pytest.mark.parametrize(("factory", "same"), [("net", False), ("from_numpy", False), ("same_weights", True)])
def test_a_start_that_no_seed_changes_is_noticed(factory: str, same: bool) -> None:
    assert same_for_all_seeds(f"start_nets:{factory}", classes=2, channels=3) == same
