"""What the README shows is what happens."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tools.make_docs import README, readme_with_results

from senet.cli.commands import build_parser
from senet.cli.main import main
from senet.training.recipe_files import list_recipes
from tests.references import import_timm, import_torchvision

pytestmark = pytest.mark.slow

# For the second example: the embedded images in short.
IN_SHORT = """
import dataclasses
import functools
import numpy as np
import senet
from senet.data import images
from senet.data.source import Subset

whole = images.open_embedded()
tenths = {part: Subset(every, np.arange(0, len(every), 10)) for part, every in
          (("train", whole.train), ("test", whole.test))}
images.open_embedded = lambda: dataclasses.replace(whole, **tenths)
senet.compare = functools.partial(senet.compare, measure_seconds=0.2)
"""

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


def test_the_python_example_runs(tmp_path: Path) -> None:
    example = blocks("python")[0]
    assert len(example.strip().splitlines()) <= 12
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *_, sentence, page = done.stdout.strip().splitlines()
    assert "% interval" in sentence
    assert (tmp_path / page).read_text(encoding="utf-8").count("<svg") > 3


def test_the_weights_example_runs(tmp_path: Path) -> None:
    example = blocks("python")[1]
    for network, file in (("legacy_seresnet50", "se_resnet50-ce0d4300"), ("resnet50", "resnet50-0676ba61")):
        torch.save(import_timm().create_model(network).state_dict(), tmp_path / f"{file}.pth")
        assert f"{file}.pth" in example
    Image.new("RGB", (300, 260), "orange").save(tmp_path / "goldfish.jpg")
    done = subprocess.run(
        [sys.executable, "-c", f"{example}\nprint(scores.shape)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "64 new: layer1.0.se.fc1.weight" in done.stdout
    assert "torch.Size([1, 1000])" in done.stdout


def test_the_insertion_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    import_torchvision()
    exec(blocks("python")[2], {})
    out = capsys.readouterr().out
    assert "SE with reduction 16, start identity added at 16 places: " in out
    assert "Largest change of the output on the example: 0." in out


def test_the_training_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_SHORT + blocks("python")[3]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+\.\d+ % \(.+\)", done.stdout.strip().splitlines()[-1])
    assert len(list(tmp_path.glob("runs/*/metrics.csv"))) == 1


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).exists(), target
