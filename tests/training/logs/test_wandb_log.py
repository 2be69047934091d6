from __future__ import annotations

from pathlib import Path

import pytest

from senet.training.logs.wandb_log import WandbLog
from tests.training.logs.records import FACTS, metrics, record, start
from tests.training.logs.stand_ins import FakeWandb, install


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    module = FakeWandb()
    install(monkeypatch, module)
    return module


def test_a_run_goes_on_by_its_id(tmp_path: Path, wandb: FakeWandb) -> None:
    folder = tmp_path / "runs" / "seed0-se"
    log = WandbLog(start(folder))
    for step in (10, 20, 30):
        log.step(record(step))
    log.epoch(30, metrics(1))
    state = dict(log.state())
    again = WandbLog(start(folder, step=20, state=state))
    for step in (30, 40):
        again.step(record(step))
    again.close()
    assert dict(again.state()) == state
    (run,) = wandb.runs.values()
    assert list(run["points"]) == [10, 20, 30, 40] and run["finished"] == 1
    assert run["points"][30]["train/loss"] == 1 / 30
    assert run["points"][30]["epoch/test_loss"] == 2.0
    assert "epoch/top5_error" not in run["points"][30], "there is none with five classes or fewer"
    given = run["given"]
    assert given["config"] == FACTS and given["dir"] == str(folder)
    assert given["name"] == "runs/seed0-se" and given["project"] == "senet"
    assert given["settings"] == {"console": "off", "finish_timeout": 300}


def test_the_project_can_be_named(tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    WandbLog(start(tmp_path))
    assert wandb.runs["run0"]["given"]["project"] == "mine"


def test_failures_are_those_of_wandb_and_of_its_helper(wandb: FakeWandb) -> None:
    assert WandbLog.failures() == (wandb.Error, OSError)
