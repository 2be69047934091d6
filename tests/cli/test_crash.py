"""An error that nobody expected is one sentence and a file; one that was expected stays what it is."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from senet.cli import models
from senet.cli.main import EXIT_BAD_INPUT, EXIT_DEFECT, EXIT_INTERRUPTED, main
from senet.errors import SenetError, TrainingInterrupted

Plant = Callable[[BaseException], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    monkeypatch.chdir(tmp_path)

    def planted(error: BaseException) -> None:
        def run(arguments: object) -> None:
            raise error

        monkeypatch.setattr(models, "run", run)

    return planted


def reported(err: str) -> Path:
    found = re.search(r"report it with (.+), which contains the traceback", err)
    assert found and err.startswith("senet: Unexpected error (") and err.count("\n") == 1, err
    return Path(found[1])


@pytest.mark.parametrize(
    "error",
    [
        KeyError("planted"),
        AssertionError(),
        RuntimeError("two\nlines \x1b[2J"),
        RecursionError("deep"),
        FileNotFoundError("without a name"),
        UnicodeEncodeError("ascii", "é", 0, 1, "x"),
    ],
)
def test_an_unexpected_error_is_a_sentence_and_a_file(
    plant: Plant, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception
) -> None:
    plant(error)
    assert main(["models", "caf\udce9"]) == EXIT_DEFECT
    out, err = capsys.readouterr()
    path = reported(err)
    text = path.read_text(encoding="utf-8")
    assert path.parent == tmp_path and [*tmp_path.iterdir()] == [path]
    assert "Traceback (most recent call last)" in text and type(error).__name__ in text
    assert "command: senet models" in text and re.search(r"^torch: \d", text, flags=re.MULTILINE)
    assert "Traceback" not in out + err and "\x1b" not in err


def test_debug_prints_the_traceback_as_well(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    plant(KeyError("planted"))
    for words in (["--debug", "models"], ["models", "--debug"]):
        assert main(words) == EXIT_DEFECT
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert "--debug" not in reported(err[err.index("senet: ") :]).read_text().splitlines()[0]


def test_where_the_folder_cannot_be_written_the_report_is_a_temporary_file(
    plant: Plant, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
    plant(KeyError("planted"))
    assert main(["models"]) == EXIT_DEFECT
    assert reported(capsys.readouterr().err).parent == other
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert main(["models"]) == EXIT_DEFECT
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith(
        "senet: Unexpected error (KeyError: 'planted')"
    )


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (SenetError("No such thing."), EXIT_BAD_INPUT, "No such thing."),
        (TrainingInterrupted("Stopped."), EXIT_INTERRUPTED, "Stopped. To resume: senet models"),
        (
            KeyboardInterrupt(),
            EXIT_INTERRUPTED,
            "Stopped. Finished work is kept. To resume: ",
        ),
        (MemoryError(), EXIT_BAD_INPUT, "Out of memory: "),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            EXIT_BAD_INPUT,
            "/x cannot be used (Permission",
        ),
        (OSError(errno.EMFILE, "Too many open files"), EXIT_BAD_INPUT, "Too many files are open: "),
        (SystemExit(3), EXIT_BAD_INPUT, "Code outside senet called sys.exit(3)"),
        (SystemExit(0), EXIT_BAD_INPUT, "Code outside senet called sys.exit(0)"),
    ],
)
def test_what_is_expected_stays_a_sentence(
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    plant(error)
    assert main(["models"]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"senet: {sentence}") and err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


NETWORK = """
import os
from torch import nn
class Planted(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, num_classes)
        self.calls = 0
    def forward(self, x):
        self.calls += self.training and x.sum() != 0
        if self.calls > 3:
            raise KeyError("planted")
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))
def make(num_classes):
    return Planted(num_classes)
"""


@pytest.fixture
def options(layer_by_layer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What trains the network of a module in the present folder."""
    from tests.small import small_source

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(20):
            small_source(20, side=10).read(index).save(tmp_path / "data" / name / f"{index}.png")
    (tmp_path / "planted.py").write_text(NETWORK)
    return ["data", "--model", "planted:make", "--workers", "0", "--batch-size", "4", "--out", "x"]


def assert_planted_error_is_reported(err: str) -> None:
    assert "senet: Unexpected error (" in err and "KeyError: 'planted'" in err, err
    text = next(Path().glob("senet-error-*.txt")).read_text()
    assert "planted.py" in text and 'raise KeyError("planted")' in text


@pytest.mark.slow
def test_an_error_in_a_process_of_parallel_is_reported(
    options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--seeds", "1", "--parallel", "2", *options]) == EXIT_DEFECT
    assert_planted_error_is_reported(capfd.readouterr().err)


@pytest.mark.slow
def test_an_error_under_torchrun_is_reported(options: list[str]) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "-m", "senet", "train"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)
    assert_planted_error_is_reported(done.stderr)
