"""Output that is closed, full, or of an encoding with few characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from senet.cli.main import EXIT_BAD_INPUT

pytestmark = pytest.mark.slow

# A command that puts out more than any buffer holds, then goes on.
PROGRAM = """
import sys
from senet.cli import main as command, models, train
from senet.cli.terminal import Console
def run(arguments):
    console = Console()
    for _ in range(3000):
        console.print("epoch 1 × 2 … 3 ² caf\\udce9 \\u732b", soft_wrap=True)
    open("done", "w").close()
models.run = train.run = run
sys.exit(command.main(sys.argv[1:]))
"""
TRAIN = "train --model resnet8"


def program(words: str, redirect: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    line = f"set -o pipefail; {sys.executable} program.py {words} {redirect}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("words", "redirect", "code", "said"),
    [
        ("models", "| head -1", 0, ""),
        ("models", "> /dev/full", EXIT_BAD_INPUT, "Standard output cannot be written (No space"),
        ("models", ">&-", 0, ""),
        ("models", "2>&-", 0, ""),
        ("models", "> /dev/full 2> /dev/full", EXIT_BAD_INPUT, ""),
        (TRAIN, "| head -1", 0, "Standard output can no longer be written (Broken pipe); continuing"),
        (TRAIN, "> /dev/full", 0, "Standard output can no longer be written (No space"),
        (TRAIN, "> /dev/full 2>&1", 0, ""),
        (TRAIN, ">&- 2>&- <&-", 0, ""),
        ("--help", "| head -1", 0, ""),
        ("--help", "> /dev/full", EXIT_BAD_INPUT, "Standard output cannot be written (No space"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_ends_nothing(
    tmp_path: Path, words: str, redirect: str, code: int, said: str
) -> None:
    done = program(words, redirect, tmp_path)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "done").exists() or words == "--help"
    assert done.stderr.count("\n") == (1 if said else 0)
    assert done.stderr.startswith(f"senet: {said}" if said else "")


@pytest.mark.parametrize(
    ("words", "encoding", "shown"),
    [
        (TRAIN, "utf-8", r"epoch 1 × 2 … 3 ² caf\xe9 猫"),
        (TRAIN, "ascii", r"epoch 1 x 2 ... 3 2 caf\xe9 \u732b"),
        ("models", "latin-1", r"epoch 1 × 2 ... 3 ² caf\xe9 \u732b"),
    ],
)
def test_any_encoding_can_be_written(tmp_path: Path, words: str, encoding: str, shown: str) -> None:
    done = program(words, "> out", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes().splitlines()[0].decode(encoding) == shown


@pytest.mark.parametrize("columns", ["0", "1", "abc", "-5"])
def test_help_can_be_read_at_any_width(tmp_path: Path, columns: str) -> None:
    done = program("train --help", "", tmp_path, COLUMNS=columns, TERM="dumb", NO_COLOR="1", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "") and "--learning-rate" in done.stdout
