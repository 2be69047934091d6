from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from senet.training.logs.mlflow_log import MlflowLog
from tests.training.logs.records import metrics, record, start
from tests.training.logs.stand_ins import FakeMlflow, install


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    module = FakeMlflow()
    install(monkeypatch, module)
    return module


def test_steps_done_again_are_there_once(tmp_path: Path, mlflow: FakeMlflow) -> None:
    folder = tmp_path / "runs" / "seed0-se"
    log = MlflowLog(start(folder))
    for step in (10, 20, 30):
        log.step(record(step))
        log.epoch(step, metrics(step // 10))
    state = dict(log.state())
    again = MlflowLog(start(folder, step=20, state=state))
    assert mlflow.runs["run0"]["status"] == "RUNNING"
    for step in (30, 40):
        again.step(record(step))
        again.epoch(step, metrics(step // 10))
    again.close()
    (run,) = mlflow.runs.values()
    for tag in ("train/loss", "speed/seconds", "epoch/test_loss"):
        assert [step for name, step, _ in run["points"] if name == tag] == [10, 20, 30, 40], tag
    assert ("train/loss", 40, 1 / 40) in run["points"] and ("epoch/test_loss", 40, 0.5) in run["points"]
    assert run["status"] == "FINISHED" and run["name"] == "runs/seed0-se"
    assert mlflow.experiments == {"senet": "0"}


def test_facts_become_parameters(tmp_path: Path, mlflow: FakeMlflow) -> None:
    many = {"model": "x" * 600, "recipe": {f"field{i}": i for i in range(250)}}
    MlflowLog(replace(start(tmp_path), facts=many))
    params = mlflow.runs["run0"]["params"]
    assert len(params) == 251 and params["recipe.field249"] == "249" and params["model"] == "x" * 500


def test_an_experiment_is_made_once_and_can_be_named(
    tmp_path: Path, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    for _ in range(2):
        MlflowLog(start(tmp_path))
    assert mlflow.experiments == {"mine": "0"} and len(mlflow.runs) == 2


def test_failures_are_those_of_mlflow(mlflow: FakeMlflow) -> None:
    assert MlflowLog.failures() == (mlflow.exceptions.MlflowException, OSError)
