from __future__ import annotations

import sys
import time

import pytest

from senet.cli.main import EXIT_BAD_INPUT, main

WRONG = ["models", "alexnet"]


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_only_the_first_process_complains_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str | None
) -> None:
    """Of a complaint that all processes have, torchrun shows the first one's and ends the others."""
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    before_sleeping: list[str] = []

    def sleep(seconds: float) -> None:
        assert seconds >= 1
        sys.stderr.flush()
        before_sleeping.append(capsys.readouterr().err)

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(WRONG) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert before_sleeping == ([""] if rank == "1" else [])
    start = "senet, process 1: No network" if rank == "1" else "senet: No network"
    assert said.startswith(start) and said.count("\n") == 1
