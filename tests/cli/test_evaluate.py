from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import senet
from senet.cli.main import EXIT_BAD_INPUT, main
from senet.weights.save import save_weights
from tests.experiments.test_evaluate import make_photos

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    make_photos(tmp_path / "photos", 12, images=4)
    names = [f"c{label}" for label in range(12)]
    save_weights(senet.create_model("resnet20", num_classes=12), "w.safetensors", classes=names)


def test_errors_classes_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate w.safetensors --data photos --image-size 16 20 --fuse --flip --workers 0 --out out"
    assert main(words.split()) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    values = json.loads(Path("out/evaluation.json").read_text())
    assert values["command"] == f"senet {words}"
    for row in values["rows"]:
        error = f"{row['top1']['error']:.2f} % ({row['top1']['low']:.2f} to {row['top1']['high']:.2f})"
        (line,) = (line for line in out.splitlines() if line.startswith(f"{row['view']}  "))
        assert error in line and f"{row['loss']:.4f}" in line
    assert "the 10 worst of 12 classes, 16 + 20 pixels" in out and "Most frequent confusions" in out
    assert "1 crop and mirrored" in out


def test_all_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", "w.safetensors", "photos", "--image-size", "16", "--per-class", "--workers", "0"])
        == 0
    )
    out = capsys.readouterr().out
    section = out.split("By class: all classes")[1].split("Most frequent confusions")[0]
    assert {line.split()[0] for line in section.splitlines()[2:] if line.strip()} == {
        f"c{n}" for n in range(12)
    }
    assert list(Path().glob("*.json")) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("w.safetensors photos --data photos", "given twice"),
        ("w.safetensors photos --crops 3", "crops must be one of 1, 5, 10, not 3"),
        ("w.safetensors photos --fuse", "no effect with a single image size"),
        ("w.safetensors photos --split val", "'val' is not one of test, train, all"),
        ("w.safetensors nowhere", "nowhere"),
        ("w.safetensors", "a class 'T-shirt/top'"),
        ("", "arguments are required: MODEL"),
    ],
)
def test_bad_words_are_one_sentence(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words.split()]) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_a_recipe_and_weights_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "train --recipe fine-tune --data photos --model resnet20 --se --weights w.safetensors --epochs 1 "
        "--workers 0 --out run"
    )
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert "w.safetensors" in out and "new: " in out and "warmup_epochs changes from 1 to 0.2" in out
    assert main(["evaluate", "run", "--workers", "0"]) == 0
    error = re.search(r"top-1 (\d+\.\d\d) %", out)
    assert error and f"{error[1]} % (" in capsys.readouterr().out
