from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from senet.cli.main import EXIT_BAD_INPUT, main
from senet.networks.foreign import create_foreign
from tests.nets import nets
from tests.references import import_timm

__all__ = ["nets"]

pytestmark = pytest.mark.usefixtures("nets")
WRITE = ("--num-classes", "3", "--out", "x.safetensors")


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused: one sentence, exit code 2, nothing written."""
    before = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    assert main(["insert", *words]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("senet: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert out == ""
    assert {path for path in Path().rglob("*") if "__pycache__" not in path.parts} == before
    return err


def metadata(path: str) -> dict[str, str]:
    with safetensors.safe_open(path, "pt") as file:
        found: dict[str, str] = file.metadata()
    return found


def test_a_dry_run_prints_the_plan_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    assert main(["insert", "--model", "nets:Net", "--dry-run", "--input-size", "16"]) == 0
    out = capsys.readouterr().out
    assert "layer1.0" in out and "layer1.1" in out and "Written" not in out
    assert [each for each in sorted(Path().iterdir()) if each.name != "__pycache__"] == before


def test_the_file_is_the_network_with_se(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--num-classes", "4", "--in-channels", "1", "--reduction", "4", "--out", "x.safetensors"]
    assert main(["insert", "--model", "nets:tiny", *words]) == 0
    out = " ".join(capsys.readouterr().out.split())
    state = safetensors.torch.load_file("x.safetensors")
    model = create_foreign("nets:tiny", num_classes=4, in_channels=1)
    added = state.keys() - model.state_dict().keys()
    assert model.state_dict().keys() <= state.keys() and added and all(".se." in key for key in added)
    assert {tuple(state[key].shape) for key in added if key.endswith("fc1.weight")} == {(4, 16)}
    assert metadata("x.safetensors").keys() == {"format", "senet_digests", "senet_inserted"}
    assert json.loads(metadata("x.safetensors")["senet_inserted"]) == {
        "model": "nets:tiny",
        "num_classes": 4,
        "in_channels": 1,
        "pretrained": False,
        "squeeze_excite": {"reduction": 4},
        "senet": __import__("senet").__version__,
    }

    # What it prints is how to get the network back, here with gates that are exactly 1.
    assert "In Python: senet.squeeze_excite(model, reduction=4)" in out
    from senet.surgery.insert import squeeze_excite

    plain = {key: value for key, value in state.items() if key not in added}
    image = torch.randn(2, 1, 16, 16)
    model.load_state_dict(plain)
    expected = model.eval()(image)
    squeeze_excite(model, reduction=4)
    model.load_state_dict(state)
    assert torch.equal(model.eval()(image), expected)


def test_every_setting_and_the_image_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[str, Any] = {}

    def listen(model: torch.nn.Module, **options: Any) -> str:
        heard.update(options)
        return "the plan"

    import senet.surgery.insert as home

    monkeypatch.setattr(home, "squeeze_excite", listen)
    common = ["insert", "--model", "nets:tiny", "--num-classes", "3", "--dry-run"]
    assert main(common) == 0
    assert heard == {"example_input": None, "dry_run": True}
    heard.clear()
    settings = "--reduction 8 --kind eca --placement pre --stages 2 3 --where *.bn2 fc --start random"
    assert main([*common, *settings.split(), "--in-channels", "2", "--input-size", "40"]) == 0
    assert heard.pop("example_input").shape == (1, 2, 40, 40)
    assert heard == {
        "reduction": 8,
        "kind": "eca",
        "placement": "pre",
        "stages": (2, 3),
        "where": ("*.bn2", "fc"),
        "start": "random",
        "dry_run": True,
    }
    assert main([*common, "--input-size", "40"]) == 0
    assert heard["example_input"].shape == (1, 3, 40, 40)
    import_timm()
    assert main(["insert", "--model", "timm:resnet10t", "--out", "x.safetensors"]) == 0
    assert heard["example_input"].shape == (1, 3, 176, 176) and heard["dry_run"] is False


def test_tied_layers_are_written_under_each_key() -> None:
    assert main(["insert", "--model", "nets:tied", *WRITE]) == 0
    state = safetensors.torch.load_file("x.safetensors")
    assert torch.equal(state["layer1.0.conv1.weight"], state["layer1.1.conv1.weight"])


def test_an_older_file_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.safetensors").write_text("old")
    assert main(["insert", "--model", "nets:tiny", *WRITE]) == 0
    assert len(safetensors.torch.load_file("x.safetensors")) > 10
    assert not list(Path().glob(".x*"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model nets:tiny", r"--out FILE\.safetensors, or print the plan with --dry-run"),
        ("--model nets:tiny --dry-run --out x.safetensors", r"--dry-run writes nothing, so --out x\.safe"),
        ("--model nets:tiny --out x.pth", r"--out must end with \.safetensors, not x\.pth"),
        (
            "--model nets:tiny --out no/x.safetensors",
            "cannot be written: choose a file in an existing folder",
        ),
        ("--model resnet50 --dry-run", "'resnet50' is not a network of another package: .*senet models"),
        ("--dry-run", "--model"),
        ("--model nets:tiny --dry-run --input-size 0", "--input-size must be .*at least 1, not 0"),
        ("--model nets:tiny --dry-run --num-classes -1", "--num-classes must be .*not -1"),
        ("--model nets:tiny --dry-run --in-channels 0", "--in-channels must be .*not 0"),
        ("--model nets:tiny --dry-run", r"nets:tiny\(\) failed: TypeError: .*'num_classes'"),
        ("--model nets:fixed --dry-run --num-classes 3", "takes no keyword num_classes, so 3"),
        ("--model nets:anything --dry-run --in-channels 3", "takes no keyword in_channels or in_chans, so 3"),
        ("--model nets:tiny --num-classes 3 --dry-run --pretrained", "has no keyword 'pretrained'"),
        ("--model nets:tiny --num-classes 3 --dry-run --kind nothing", "'nothing'"),
        ("--model nets:tiny --num-classes 3 --dry-run --reduction 0", "reduction must be"),
        (
            "--model nets:tiny --num-classes 3 --reduction 17 --out x.safetensors",
            "at most 16, the channels .* not 17",
        ),
        ("--model nets:tiny --num-classes 3 --dry-run --placement up", "'up' is not one of standard"),
        ("--model nets:plain_vgg --num-classes 3 --out x.safetensors", ""),
        ("--model nets:extra --num-classes 3 --out x.safetensors", "stores a dict as '_extra_state'"),
        ("--model timm:resnet5O --dry-run", "Did you mean 'resnet50'"),
    ],
)
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], words: str, sentence: str) -> None:
    import_timm()
    assert re.search(sentence, complaint(capsys, *words.split()))


def test_nothing_is_built_before_the_file_can_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    complaint(capsys, "--model", "nets:tiny", "--out", "no/x.safetensors")
    assert "nets" not in sys.modules
