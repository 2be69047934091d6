"""``senet compare``: jobs and what is collected from them."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
from benchmarks.chaos import differences

from senet.cli.main import EXIT_BAD_INPUT, main
from senet.experiments import collect as collect_module
from tests.small import small_photos


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--job", "3/2"], "for example 2/4, not '3/2'"),
        (["--job", ""], "is empty"),
        (["--job", "7/7"], "job must be K/N with N at most 6, the number of trainings, not 7/7"),
        (
            ["--job", "1/2", "--seeds", "0"],
            "seeds must be from 1 to 1,000 (3 or more tell an effect from chance), not 0",
        ),
        (["--job", "1/2", "--parallel", "4"], "parallel must be at most the number of trainings, 3, not 4"),
        (["--parallel", "0"], "parallel must be from 1 (one training after another) to 64, not 0"),
        (["--parallel", "7"], "parallel must be at most the number of trainings, 6, not 7"),
        (["--parallel", "many"], "'many' is not a whole number"),
        (["--collect"], "expected at least one argument"),
        (["--collect", "x", "--job", "1/2"], "--job cannot be combined with --collect"),
        (["--collect", "x", "--parallel", "2"], "--parallel cannot be combined with --collect"),
        (
            ["--collect", "x", "--epochs", "3", "--no-flip"],
            "--epochs, --flip cannot be combined",
        ),
        (["--collect", "x", "--model", "resnet20"], "--model cannot be combined with --collect"),
        (["--collect", "x", "--reduction", "4"], "--reduction cannot be combined with --collect"),
        (["--collect", "x", "--compile"], "--compile cannot be combined with --collect"),
        (
            ["--collect", "x", "--seeds", "3", "--test-fraction", "0.3"],
            "--test-fraction cannot be combined",
        ),
        (["--collect", "x"], "x is not a run folder"),
        (["--collect", "photos"], "photos is not a run folder"),
    ],
)
def test_what_contradicts_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["compare", "photos", *words]) == EXIT_BAD_INPUT
    _, err = capsys.readouterr()
    assert sentence in err and err.count("\n") == 1 and "Traceback" not in err
    assert [each.name for each in Path().iterdir()] == ["photos"]


@pytest.mark.slow
def test_two_jobs_and_what_is_collected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_module, "collect", partial(collect_module.collect, measure_seconds=0.05))
    words = ["compare", "photos", "--epochs", "1", "--seeds", "1", "--workers", "0", "--out", "x"]
    assert main([*words, "--job", "1/2"]) == 0
    assert "seed0-se (no checkpoint yet)" in capsys.readouterr().out
    assert main(["compare", "--collect", "x"]) == EXIT_BAD_INPUT
    command = f"senet {' '.join(words)}"
    assert f"'{command} --job K/2' trains one of them, with K = 2." in capsys.readouterr().err
    assert main([words[0], "--job=2/2", *words[1:]]) == 0
    out = capsys.readouterr().out
    assert "All trainings are finished" in out and out.rstrip().endswith("senet compare --collect x")
    assert json.loads(Path("x/settings.json").read_text())["command"] == command
    assert main(["compare", "--collect", "x"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Report: x/report\.html", out) and "Top-1 error" in out
    assert json.loads(Path("x/results.json").read_text())["command"] == command


STEPS = ["--batch-size", "16", "--workers", "0", "--schedule", "step", "--step-epochs", "1"]


def test_more_epochs_extend_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "photos", "--model", "se_resnet8", "--ema-decay", "0.9", *STEPS, "--out"]
    warm = ["--warmup-epochs", "0.5"]
    assert main([*words, "x", "--epochs", "2", *warm]) == 0
    before = [Path("x", name).read_bytes() for name in ("settings.json", "metrics.csv", "checkpoint.pt")]
    for refused, said in (
        (
            ["--epochs", "3"],
            "only with the settings that it began with: add --warmup-epochs 0.5, or choose another",
        ),
        (
            ["--epochs", "3", "--momentum", "0.8", *warm],
            "contains another training (recipe.epochs is 2 there and",
        ),
        (["--epochs", "3", "--seed", "1", *warm], "contains another training (seed is 0 there and 1 here"),
    ):
        assert main([*words, "x", *refused]) == EXIT_BAD_INPUT
        assert said in capsys.readouterr().err
    assert before == [
        Path("x", name).read_bytes() for name in ("settings.json", "metrics.csv", "checkpoint.pt")
    ]
    for folder in ("x", "whole"):
        assert main([*words, folder, "--epochs", "3", *warm]) == 0
    assert capsys.readouterr().out.count("Extending x, which ended after 2 epochs.") == 1
    assert differences(Path("whole"), Path("x")) == []
    assert main([*words, "x", "--epochs", "2", *warm]) == EXIT_BAD_INPUT
    said = "The training in x has 3 epochs and cannot be shortened to 2 epochs: give --epochs 3"
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_is_extended_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "photos", "--seeds", "1", *STEPS, "--warmup-epochs", "0.5", "--out"]
    assert main([*words, "x", "--epochs", "2", "--job", "1/1"]) == 0
    assert main([*words, "x", "--epochs", "3", "--job", "1/1", "--parallel", "2"]) == 0
    assert capsys.readouterr().out.count("which ended after 2 epochs.") == 2
    assert main([*words, "whole", "--epochs", "3", "--job", "1/1"]) == 0
    for each in ("seed0-plain", "seed0-se"):
        assert differences(Path("whole") / each, Path("x") / each) == []
