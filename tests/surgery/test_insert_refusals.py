"""What `senet.squeeze_excite` and `senet.remove` refuse, in one sentence; the model is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import senet
from senet.errors import SenetError
from tests.surgery.networks import OfOddSize, Tutorial, resnet

WITHOUT: dict[str, tuple[Callable[[], nn.Module], dict[str, object], str]] = {
    "no convolution": (lambda: nn.Sequential(nn.Linear(3, 3)), {}, "Sequential has no convolution"),
    "control flow": (
        OfOddSize,
        {},
        r"The forward of the model \(OfOddSize\) cannot be traced: a branch depends on tensor values "
        r"\(line \d+ of networks.py\); give example_input=",
    ),
    "reduction": (resnet, {"reduction": 17}, "reduction must be at most 16, the channels of 1.*, not 17"),
    "no reduction": (resnet, {"reduction": 0}, "reduction must be a whole number of at least 1, not 0"),
    "misspelt name": (resnet, {"where": ["1.bn3"]}, r"where='1.bn3' matches nothing in.*'1.bn2'"),
    "no name": (resnet, {"where": 3}, "where must be names, or a function of a site, not 3"),
    "chosen none": (resnet, {"where": lambda site: False}, "3 × excluded by where="),
    "no channels": (
        resnet,
        {"where": "6"},
        "where='6' has no place for SE: the output of 6 does not have channels",
    ),
    "stage": (resnet, {"stages": [7]}, "stages must be among the stages of this model, 2, 3.*, not 7"),
    "stages": (resnet, {"stages": 2}, "stages must be a list"),
    "placement": (resnet, {"placement": "branches"}, "placement must be one of .*, not 'branches'"),
    "start": (resnet, {"start": "one"}, "start must be one of random, identity, not 'one'"),
    "kind": (resnet, {"kind": "sse"}, "kind must be one of .*, not 'sse'"),
    "both": (resnet, {"se": senet.SEConfig(), "reduction": 8}, "se= contains all SE settings"),
    "example": (resnet, {"example_input": torch.zeros(1, 4, 8, 8)}, r"\(1, 4, 8, 8\)\): RuntimeError"),
    "optimizer": (resnet, {"optimizer": "sgd"}, "optimizer must be a torch.optim.Optimizer, not str"),
    "foreign optimizer": (
        resnet,
        {"optimizer": torch.optim.SGD([torch.zeros(1)], 1)},
        "has none of the model's parameters",
    ),
    "identity": (lambda: resnet()[1], {"placement": "identity"}, "its shortcut is the identity"),
    "plain pre": (Tutorial, {"placement": "pre"}, "the placement 'pre' only exists in units with a sum"),
    "negative gates": (
        Tutorial,
        {"se": senet.SEConfig(reduction=4, gate="tanh")},
        "gates of tanh may be negative",
    ),
    "scripted": (lambda: torch.jit.script(nn.Conv2d(3, 3, 1)), {}, "scripted.*call senet.squeeze_excite"),
    "compiled": (lambda: torch.compile(resnet()), {}, "compiled: call senet.squeeze_excite first"),
    "parallel": (
        lambda: nn.DataParallel(resnet()),
        {},
        "in DataParallel: call senet.squeeze_excite first, then",
    ),
    "no module": (lambda: 3, {}, "needs a torch.nn.Module, not int"),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_refusals_leave_the_model_alone(case: str) -> None:
    build, options, sentence = WITHOUT[case]
    model = build()
    keys = list(model.state_dict()) if isinstance(model, nn.Module) else []
    with pytest.raises(SenetError, match=sentence) as error:
        senet.squeeze_excite(model, **options)
    assert "\n" not in str(error.value)
    if isinstance(model, nn.Module):
        assert list(model.state_dict()) == keys


def test_an_example_shows_what_tracing_cannot() -> None:
    model = OfOddSize()
    with pytest.raises(SenetError, match="example_input"):
        senet.squeeze_excite(model)
    x = torch.randn(1, 3, 17, 17)
    assert [site.host for site in senet.squeeze_excite(model, example_input=x).sites] == ["bn"]
    model = OfOddSize()
    assert [site.host for site in senet.squeeze_excite(model, example_input={"x": x}).sites] == ["bn"]
    model = OfOddSize()
    assert [site.host for site in senet.squeeze_excite(model, example_input=(x,)).sites] == ["bn"]


def test_remove_says_where_there_is_nothing() -> None:
    with pytest.raises(SenetError, match="Sequential has no block inserted by"):
        senet.remove(resnet())
    with pytest.raises(SenetError, match=r"cannot be used on this .*call senet\.remove first"):
        senet.remove(nn.DataParallel(resnet()))
