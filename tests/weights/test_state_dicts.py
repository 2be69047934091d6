"""Checkpoints as other people's training scripts leave them: the right weights and a line, or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import senet
from senet.errors import SenetError
from senet.weights.read import read_checkpoint
from senet.weights.state_dicts import network_weights

NETWORK = senet.create_model("resnet18", num_classes=5).eval()
STATE: dict[str, Tensor] = dict(NETWORK.state_dict())
OTHER = {key: torch.zeros_like(each) for key, each in STATE.items()}
HEADLESS = {key: each for key, each in STATE.items() if not key.startswith("fc.")}
HEAD = {"weight": STATE["fc.weight"], "bias": STATE["fc.bias"]}


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": each for key, each in state.items()}


def stored(key: str, value: Tensor) -> dict[str, Tensor]:
    return {**STATE, key: value}


LINES: list[tuple[str, dict[Any, Any], str]] = [
    ("compiled within DDP", under("module._orig_mod"), ""),
    ("DDP compiled", under("_orig_mod.module"), ""),
    ("a part of a larger module", under("model.backbone.net"), ""),
    ("an encoder", under("encoder"), ""),
    ("a network of timm within a module", under("timm_model"), ""),
    ("a name of the user's own", under("my_network"), ""),
    (
        "Lightning",
        {
            "state_dict": {
                **under("model"),
                "criterion.weight": torch.ones(5),
                "train_acc.total": torch.tensor(3),
                "criterion.vgg.0.weight": torch.ones(1, 1, 1, 1),
            },
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2, 2)}}}],
            "loops": {},
        },
        "Ignored, as not part of the network: 'criterion.weight', 'train_acc.total', "
        "'criterion.vgg.0.weight'.",
    ),
    (
        "Lightning whose module is the network",
        {"state_dict": {**STATE, "loss_fn.weight": torch.ones(5), "val_metrics.f1.tp": torch.ones(5)}},
        "Ignored, as not part of the network: 'loss_fn.weight', 'val_metrics.f1.tp'.",
    ),
    (
        "mmpretrain",
        {"meta": {"epoch": 9}, "state_dict": {**under("backbone", HEADLESS), **under("head.fc", HEAD)}},
        "The network's classifier is head.fc.",
    ),
    (
        "thop",
        {**STATE, "total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1)},
        "Left out: 2 counters of thop (total_ops and total_params).",
    ),
    (
        "an average beside the weights",
        {"model": OTHER, "ema": {"module": STATE, "updates": 3}},
        "moving average 'ema/module' is used, as in its training's evaluation; the file "
        "also contains 'model' "
        "(weights='file#model')",
    ),
    (
        "an average deep down",
        {"state_dict": OTHER, "callbacks": {"EMA": {"ema_state_dict": STATE}}},
        "'state_dict'",
    ),
    (
        "an average of torch",
        {"state_dict": OTHER, "swa_model": {"n_averaged": torch.tensor(3), **under("module")}},
        "swa",
    ),
    (
        "an average in the same mapping",
        {
            "state_dict": {
                **under("model", OTHER),
                **under("ema_model"),
                "ema_model.n_averaged": torch.tensor(1),
            }
        },
        "The moving average 'ema_model' is used; the file also contains 'model' (weights='file#model').",
    ),
    (
        "sparse",
        stored("fc.weight", STATE["fc.weight"].to_sparse()),
        "'fc.weight' was converted from sparse_coo float32",
    ),
    (
        "quantised",
        stored("fc.bias", torch.quantize_per_tensor(torch.ones(5), 1.0, 0, torch.qint8)),
        "'fc.bias' was converted from qint8 to float32.",
    ),
    ("with the state of modules", {**STATE, "layer1._extra_state": torch.ones(3)}, ""),
]


@pytest.mark.parametrize(("value", "said"), [each[1:] for each in LINES], ids=[each[0] for each in LINES])
def test_the_networks_weights_are_found_and_the_rest_is_said(value: dict[Any, Any], said: str) -> None:
    checkpoint = network_weights(value, "file")
    assert checkpoint.state.keys() == STATE.keys()
    same = [torch.equal(each, STATE[key]) for key, each in checkpoint.state.items() if key != "fc.bias"]
    assert all(same)
    assert said in " ".join(checkpoint.notes)
    assert bool(said) == bool(checkpoint.notes)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (stored("fc.weight", STATE["fc.weight"].to(torch.complex64)), "holds complex numbers"),
        (stored("fc.weight", STATE["fc.weight"].to("meta")), "in file has no values, because it was saved"),
        (
            stored("fc.weight", torch.empty(2**40, 2**20, layout=torch.sparse_coo)),
            "is sparse, of 1,152,921",
        ),
        (
            {"student": STATE, "teacher": OTHER},
            r"several networks, 'student', 'teacher': choose one, such as ",
        ),
        (
            {"state_dict": {**under("module.encoder_q"), **under("module.encoder_k", OTHER)}},
            r"several networks, 'encoder_q', 'encoder_k': choose one, such as weights='file#encoder_q'",
        ),
    ],
)
def test_what_no_network_can_take_is_a_sentence(value: dict[str, Any], said: str) -> None:
    with pytest.raises(SenetError, match=said):
        network_weights(value, "file")


def test_one_of_several_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save({"model": under("module"), "ema": {"module": OTHER}, "optimizer": {"a": torch.ones(2)}}, path)
    assert read_checkpoint(path).state["fc.weight"].sum() == 0
    model = senet.create_model("resnet18", weights=f"{path}#model")
    assert torch.equal(model.fc.weight, STATE["fc.weight"]) and model.loaded.changes == ()
    safetensors.torch.save_file({**under("student"), **under("teacher", OTHER)}, path)
    model = senet.create_model("resnet18", weights=f"{path}#student")
    assert torch.equal(model.fc.weight, STATE["fc.weight"])
    assert model.loaded.changes == ("The weights under 'student' are used, as requested.",)
    for wrong in ("nobody", "optimizer"):
        with pytest.raises(SenetError, match=f"no entry '{wrong}'"):
            senet.create_model("resnet18", weights=f"{path}#{wrong}")


def test_float8_is_widened_and_a_head_of_other_features_is_no_classifier() -> None:
    small = {key: each.to(torch.float8_e4m3fn) if each.dim() == 4 else each for key, each in STATE.items()}
    checkpoint = network_weights(small, "file")
    assert {each.dtype for each in checkpoint.state.values()} == {torch.float32, torch.int64}
    assert "and 17 more were converted from float8_e4m3fn to float32." in checkpoint.notes[0]
    projected = {**under("backbone", HEADLESS), "head.fc.weight": torch.ones(5, 128)}
    assert network_weights(projected, "file").notes == (
        "Ignored, as not part of the network: 'head.fc.weight'.",
    )
