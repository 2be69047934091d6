from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.parameter import is_lazy

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.trial import structure, try_foreign
from senet.experiments.twins import build_twins
from tests.nets import nets
from tests.small import same_state

__all__ = ["nets"]

pytestmark = pytest.mark.usefixtures("nets")


def attempt(name: str, classes: int = 3, size: int = 12, channels: int = 1) -> None:
    networks, (again,) = (
        build_twins(name, se, classes=classes, channels=channels, seed=0) for se in (SEConfig(), None)
    )
    before = [copy.deepcopy(each.state_dict()) for each in networks]
    modes = [[module.training for module in each.modules()] for each in networks]
    state = torch.get_rng_state()
    try:
        try_foreign(name, networks, again, classes=classes, shape=(channels, size, size))
    finally:
        for network, values, mode in zip(networks, before, modes, strict=True):
            after = network.state_dict()
            assert all(is_lazy(value) or torch.equal(value, values[key]) for key, value in after.items())
            assert [module.training for module in network.modules()] == mode
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "name", ["nets:tiny", "nets:three", "nets:values", "nets:numpy_and_random", "nets:tied"]
)
def test_a_network_that_can_be_trained_passes_and_stays_as_it_was(name: str) -> None:
    attempt(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "nets:deep",
            r"nets:deep cannot run in training on .*12×12 pixels and 1 channel: RuntimeError.*--image-size",
        ),
        ("nets:wrong", r"cannot run .* AttributeError: .*'missing' \(nets\.py, line \d+\)\. Another size"),
        ("nets:pair", "nets:pair returns a tuple in training, but senet"),
        ("nets:named", "nets:named returns a dict in evaluation"),
        ("nets:maps", r"returns a tensor of \(2, 3, 1\) for 2 images in training"),
        (
            "nets:fixed",
            "nets:fixed returns 10 scores per image, but the images have 3 classes: give "
            ".*keyword num_classes that",
        ),
        ("nets:kept", "nets:kept returns the same parameters each time"),
        ("nets:unseeded", "nets:unseeded built two different networks from one seed:"),
        ("nets:frozen", "nets:frozen has no parameter that requires a gradient"),
        ("nets:lazy", "nets:lazy has lazy layers"),
        ("nets:uncopyable", "nets:uncopyable cannot be copied to add SE to it: RuntimeError: Only"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence) as error:
        attempt(name)
    assert "\n" not in str(error.value)


def test_channels_that_no_factory_was_told_are_one_sentence() -> None:
    with pytest.raises(SenetError, match=r"12×12 pixels and 3 channels: .*keyword in_channels or in_chans"):
        attempt("nets:anything", channels=3)


def test_one_class_too_many_is_seen() -> None:
    attempt("nets:fixed", classes=10)
    with pytest.raises(SenetError, match=r"returns 10 scores per .*have 11 classes: give"):
        attempt("nets:fixed", classes=11)


def test_the_structure_is_that_of_modules_and_keys_not_of_values() -> None:
    def of(name: str, classes: int = 3, seed: int = 0) -> str:
        return structure(build_twins(name, None, classes=classes, channels=1, seed=seed)[0])

    assert of("nets:tiny") == of("nets:tiny", seed=1) == of("nets:tiny")
    assert len({of("nets:tiny"), of("nets:tiny", classes=4), of("nets:deep")}) == 3
    network = build_twins("nets:tiny", None, classes=3, channels=1, seed=0)[0]
    before = structure(network)
    network.conv1.stride = (1, 1)  # type: ignore[assignment]
    assert structure(network) != before


def test_an_address_is_no_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_twins("nets:tiny", None, classes=3, channels=1, seed=0)[0]
    shown = iter(["<function f at 0x7f01ab>", "<function f at 0x7f99cd>"])
    monkeypatch.setattr(type(network), "extra_repr", lambda self: next(shown))
    assert structure(network) == structure(network)


def test_twins_share_every_value_and_repeat() -> None:
    import random

    import numpy as np

    for name in ("nets:tiny", "nets:numpy_and_random"):
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        plain, twin = build_twins(name, SEConfig(), classes=3, channels=1, seed=1)
        again, twin_again = build_twins(name, SEConfig(), classes=3, channels=1, seed=1)
        other, twin_other = build_twins(name, SEConfig(), classes=3, channels=1, seed=2)
        assert states[0] == random.getstate() and states[1] == np.random.get_state()[1].tolist()
        assert torch.equal(states[2], torch.get_rng_state())
        assert same_state(plain, again) and same_state(twin, twin_again)
        mine, theirs = plain.state_dict(), twin.state_dict()
        added = [key for key in theirs if key not in mine]
        assert added and all(".se." in key for key in added)
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
        assert not {id(each) for each in plain.parameters()} & {id(each) for each in twin.parameters()}
        for key in ("conv1.weight", "fc.weight", "fc.bias"):
            assert not torch.equal(mine[key], other.state_dict()[key])
        key = next(key for key in added if key.endswith("fc1.weight"))
        assert not torch.equal(theirs[key], twin_other.state_dict()[key])


def test_the_settings_of_se_arrive() -> None:
    _, twin = build_twins("nets:tiny", SEConfig(reduction=2, min_hidden=1), classes=3, channels=1, seed=0)
    widths = [value.shape[0] for key, value in twin.state_dict().items() if key.endswith("se.fc1.weight")]
    assert widths == [8, 8]
