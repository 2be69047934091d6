import contextlib
import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import senet
from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from tests.references import import_timm


def test_hidden_width_over_the_reductions_and_widths():
    for reduction in range(1, 4097):
        exact = SEConfig(reduction=reduction, min_hidden=1)
        padded = SEConfig(reduction=reduction)
        for channels in range(reduction, 4097, 1 + reduction // 16):
            assert exact.hidden_width(channels) == channels // reduction
            assert padded.hidden_width(channels) == max(4, channels // reduction)
        if reduction > 1:
            with pytest.raises(SenetError, match=rf"at most .*, {reduction - 1}, not {reduction}\."):
                exact.hidden_width(reduction - 1)


@settings(deadline=None)
@given(st.data(), st.integers(1, 4096), st.integers(1, 64), st.integers(1, 64))
def test_hidden_width_is_the_nearest_allowed_multiple(data, channels, min_hidden, divisor):
    reduction = data.draw(st.integers(1, channels))
    config = SEConfig(reduction=reduction, min_hidden=min_hidden, divisor=divisor)
    width = config.hidden_width(channels)
    wanted = max(channels // reduction, min_hidden)
    allowed = [m for m in range(divisor, wanted + 2 * divisor, divisor) if m >= min_hidden]
    assert width in allowed
    assert abs(width - wanted) == min(abs(m - wanted) for m in allowed)


@pytest.mark.parametrize("channels", [64, 96, 216, 320, 576, 608, 1056, 2048])
@pytest.mark.parametrize("divisor", [2, 4, 8, 16])
def test_a_divisor_rounds_as_timm_does(channels, divisor):
    import_timm()
    from timm.layers import SEModule

    ours = SEConfig(reduction=16, min_hidden=1, divisor=divisor).hidden_width(channels)
    theirs = SEModule(channels, rd_ratio=1 / 16, rd_divisor=divisor).fc1.out_channels
    assert ours == theirs


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("reduction", 0, "reduction must be a whole number of at least 1, not 0"),
        ("reduction", -16, "not -16"),
        ("reduction", 16.0, "not 16.0"),
        ("reduction", True, "not True"),
        ("min_hidden", 0, "min_hidden must be"),
        ("divisor", "8", "divisor must be"),
        ("squeeze", "mean", "squeeze must be one of avg, max, none, not 'mean'"),
        ("activation", "ReLU", "activation must be one of relu, silu"),
        ("gate", "sigmoyd", "Did you mean 'sigmoid'"),
        ("gate", None, "gate must be one of sigmoid, .*, not None"),
        ("bias", 1, "bias must be true or false"),
        ("placement", "after", "be one of standard, pre, post, identity, conv3x3, branches"),
        ("stages", (), "stages must be a list of stage numbers"),
        ("stages", 2, "stages must be a list of stage numbers"),
        ("stages", (2, 2), "stages must name each stage once"),
        ("stages", (0,), "at least 1, not 0"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(field, value, words):
    with pytest.raises(SenetError, match=words.replace("(", r"\(")):
        SEConfig(**{field: value})


def test_stages_read_back_from_json_are_equal():
    assert SEConfig(stages=[4, 2]) == SEConfig(stages=(2, 4))
    assert hash(SEConfig(stages=[2])) == hash(SEConfig(stages=(2,)))


def test_every_field_can_become_an_option():
    hints = get_type_hints(SEConfig)
    for field in dataclasses.fields(SEConfig):
        assert field.metadata["help"]
        choices = get_args(hints[field.name]) if isinstance(field.default, str) else ()
        for choice in choices:
            gate = {"gate": "double_sigmoid"} if choice == "identity" and field.name == "start" else {}
            assert getattr(SEConfig(**{field.name: choice, **gate}), field.name) == choice
    assert get_args(hints["squeeze"]) == ("avg", "max", "none")


def test_the_settings_need_no_torch():
    code = "import sys, senet.blocks.se_config, senet.networks.zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


HOSTILE = [None, "x", math.nan, 1.5, 0, -1, True, 2**40, 10**400, [], torch.device("cpu"), torch.ones(2)]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "call",
    [
        senet.SqueezeExcitation,
        lambda value: senet.SqueezeExcitation(64, reduction=value),
        lambda value: SEConfig(min_hidden=value),
        lambda value: SEConfig(divisor=value),
        lambda value: SEConfig(stages=(value,)),
        lambda value: SEConfig(gate=value),
        lambda value: senet.create_model("resnet8", in_channels=value),
        senet.create_model,
        lambda value: senet.create_model("se_resnet8", se=value if value is not None else 3),
        lambda value: senet.create_model("resnet8", features_only=True, out_indices=[value]),
        senet.squeeze_excite,
        lambda value: senet.squeeze_excite(torch.nn.Conv2d(3, 8, 3), se=value if value is not None else 3),
        senet.fold,
        lambda value: senet.list_models(value if value != "x" else 3),
        senet.load_recipe,
        senet.collect,
        lambda value: senet.write_report(value, "out"),
    ],
)
def test_what_has_another_type_is_one_sentence(call: Callable[[Any], Any], value: Any) -> None:
    if isinstance(value, int) and value in (0, -1, True):
        with contextlib.suppress(SenetError):  # features have such numbers
            call(value)
        return
    with pytest.raises(SenetError, match=r"\.\)?$"):
        call(value)


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    eight = np.int64(8)
    block = senet.SqueezeExcitation(np.int32(64), reduction=eight, min_hidden=torch.tensor(4), divisor=eight)
    assert (block.channels, type(block.channels), block.fc1.out_features) == (64, int, 8)
    assert SEConfig(stages=(np.int64(2),)).stages == (2,)
    assert senet.create_model("resnet8", num_classes=eight, in_channels=eight).spec.num_classes == 8


def test_a_layer_larger_than_any_memory_is_refused() -> None:
    with pytest.raises(SenetError, match=r"exceeds any memory: choose a smaller min_hidden \(now"):
        senet.SqueezeExcitation(2**12, min_hidden=2**24)


@pytest.mark.parametrize("value", [0, -1, True, None, "64"])
def test_channels_are_counted_from_one(value: Any) -> None:
    with pytest.raises(SenetError, match="channels must be a whole number of at least 1, not"):
        senet.SqueezeExcitation(value)
