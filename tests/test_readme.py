"""What the README shows is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tools.make_docs import README, readme_with_results

import senet
from senet.cli.commands import build_parser
from senet.cli.main import main
from senet.data import images
from senet.data.source import Subset
from senet.training.recipe_files import list_recipes
from tests.references import import_timm, import_torchvision

pytestmark = pytest.mark.slow

ROOT = README.parent
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


COMMANDS = [line for block in blocks("console") for line in block.splitlines()]


def test_the_table_is_the_one_the_script_makes() -> None:
    assert readme_with_results(TEXT) == TEXT, "run python tools/make_docs.py"


# One process of torchrun is what `senet` is, so that its options can be looked at alike.
SENET = re.compile(r"^(torchrun .*-m )?senet ")


@pytest.mark.parametrize("command", [each for each in COMMANDS if SENET.match(each)])
def test_commands_are_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(SENET.sub("", command))
    arguments = build_parser().parse_args(words)
    if recipe := getattr(arguments, "recipe", None):
        assert recipe in list_recipes()
    if arguments.run.__module__.endswith(("models", "recipes")):
        assert main(words) == 0
        assert capsys.readouterr().out.count("\n") > 3


def test_make_targets_exist() -> None:
    targets = [each.split()[1] for each in COMMANDS if each.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Run an example on a tenth of the images, as `make demo` trains on all, and return what it prints."""
    whole = images.open_embedded()
    train, test = (Subset(each, np.arange(0, len(each), 10)) for each in (whole.train, whole.test))
    monkeypatch.setattr(images, "open_embedded", lambda: replace(whole, train=train, test=test))
    monkeypatch.setattr(senet, "compare", partial(senet.compare, measure_seconds=0.2))
    monkeypatch.chdir(tmp_path)

    def run(example: str) -> str:
        exec(example, {})
        return capsys.readouterr().out.strip()

    return run


def test_the_python_example_runs(run: Callable[[str], str]) -> None:
    example = blocks("python")[0]
    assert len(example.strip().splitlines()) <= 12
    *_, sentence, page = run(example).splitlines()
    # So few images teach nothing in one epoch, and the verdict says so.
    assert sentence.startswith("These networks have not learned") or "% interval" in sentence
    assert Path(page).read_text(encoding="utf-8").count("<svg") > 3


def test_the_weights_example_runs(run: Callable[[str], str]) -> None:
    example = blocks("python")[1]
    for network, file in (("legacy_seresnet50", "se_resnet50-ce0d4300"), ("resnet50", "resnet50-0676ba61")):
        torch.save(import_timm().create_model(network).state_dict(), f"{file}.pth")
        assert f"{file}.pth" in example
    Image.new("RGB", (300, 260), "orange").save("goldfish.jpg")
    out = run(f"{example}\nprint(scores.shape)")
    assert re.search(r"^new +64 +layer1\.0\.se\.", out, flags=re.MULTILINE)
    assert "torch.Size([1, 1000])" in out


def test_the_insertion_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    import_torchvision()
    exec(blocks("python")[2], {})
    out = capsys.readouterr().out
    assert "SE with reduction 16, start identity added at 16 places (+" in out
    assert "Largest change of the output for the example: 0." in out


def test_the_training_example_runs(run: Callable[[str], str]) -> None:
    assert re.fullmatch(r"\d+\.\d+ % \(.+\)", run(blocks("python")[3]).splitlines()[-1])
    assert len(list(Path().glob("runs/*/metrics.csv"))) == 1


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).exists(), target
