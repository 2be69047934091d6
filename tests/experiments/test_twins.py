from __future__ import annotations

from pathlib import Path

import pytest
import torch

from senet.blocks.se_config import SEConfig
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.experiments.twins import build_twins, se_places
from senet.networks.zoo import default_se
from senet.training.loop import TrainingResult, train
from tests.nets import nets
from tests.small import CLASSES, small_images, small_recipe

__all__ = ["nets"]

NETWORKS = ["resnet8", "resnet50", "googlenet"]


def seconds_removed(result: TrainingResult) -> list[tuple[object, ...]]:
    return [(e.train_loss, e.test_loss, e.top1_error, e.learning_rate) for e in result.history]


def fit(network: torch.nn.Module, folder: Path) -> TrainingResult:
    recipe = small_recipe(epochs=2, erasing=0.3)
    return train(network, small_images(recipe), recipe, seed=0, folder=folder, device=torch.device("cpu"))


def open_gates(network: torch.nn.Module) -> int:
    """Make every gate exactly 1, whatever is in the images; return how many there were."""
    blocks = [each for each in network.modules() if isinstance(each, SqueezeExcitation)]
    for block in blocks:
        block.gate = torch.ones_like
    return len(blocks)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_shared_value_is_the_same(name: str) -> None:
    plain, twin = build_twins(name, default_se(name), classes=7, channels=1, seed=3)
    states = plain.state_dict(), twin.state_dict()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert {key for key in states[1] if key not in states[0]} == {key for key in states[1] if ".se." in key}
    assert len(states[1]) > len(states[0])


def test_seeds_differ_and_repeat_and_leave_the_random_state() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (
        build_twins("resnet8", SEConfig(min_hidden=1), classes=3, channels=1, seed=seed)[1]
        for seed in (0, 0, 1)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert torch.equal(first.layer1[0].se.fc1.weight, again.layer1[0].se.fc1.weight)
    assert not torch.equal(first.layer1[0].se.fc1.weight, other.layer1[0].se.fc1.weight)


@pytest.mark.usefixtures("layer_by_layer")
@pytest.mark.parametrize("placement", ["standard", "pre", "post", "identity", "conv3x3"])
def test_open_gates_reproduce_the_plain_training_exactly(placement: str, tmp_path: Path) -> None:
    config = SEConfig(min_hidden=1, placement=placement)  # type: ignore[arg-type]
    plain, twin = build_twins("resnet8", config, classes=len(CLASSES), channels=1, seed=0)
    assert open_gates(twin) == 3
    expected, got = fit(plain, tmp_path / "plain"), fit(twin, tmp_path / "se")
    assert seconds_removed(got) == seconds_removed(expected)
    assert got.predictions == expected.predictions
    trained = twin.state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in plain.state_dict().items())


def test_real_gates_do_not(tmp_path: Path) -> None:
    plain, twin = build_twins("resnet8", SEConfig(min_hidden=1), classes=len(CLASSES), channels=1, seed=0)
    assert seconds_removed(fit(plain, tmp_path / "plain")) != seconds_removed(fit(twin, tmp_path / "se"))


def test_without_se_there_is_no_twin() -> None:
    assert len(build_twins("se_resnet8", None, classes=3, channels=1, seed=0)) == 1


def test_a_reduction_too_large_is_refused() -> None:
    with pytest.raises(SenetError, match=r"number of channels, 16, not 32"):
        build_twins("resnet8", SEConfig(reduction=32), classes=3, channels=1, seed=0)


@pytest.mark.parametrize("size", [None, 32])
def test_a_network_that_checks_its_images_gets_se_at_the_end_of_each_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    lines = [
        "import torch",
        "from tests.surgery.test_insert_checked import Asserts, Block, LooksForNaN, Net",
        "class Sized(Net):",
        "    def forward(self, x):",
        "        assert x.shape[2:] == (32, 32)",
        "        return super().forward(x)",
        "def checked(num_classes):",
        "    net = Sized(Asserts(), Block(), LooksForNaN(), Asserts())",
        "    net.fc = torch.nn.Linear(16, num_classes)",
        "    return net",
    ]
    (tmp_path / "checking_nets.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    plain, twin = build_twins(
        "checking_nets:checked", SEConfig(), classes=5, channels=3, seed=0, image_size=size
    )
    assert se_places(twin) == "4 places: blocks.0.b2, blocks.1.b2, blocks.2.b2, …"
    assert se_places(plain) == "0 places: "


def test_an_image_size_that_a_network_refuses_is_said_as_in_training(nets: Path) -> None:
    with pytest.raises(SenetError, match=r"nets:deep cannot run in evaluation on images of 4×4 pixels"):
        build_twins("nets:deep", SEConfig(), classes=3, channels=1, seed=0, image_size=4)
