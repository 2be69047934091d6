"""Modules in the place of wandb and mlflow that keep what they are told.

Their signatures are those of wandb 0.31 and mlflow 3.17: a call the real package would refuse fails here too.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class FakeWandb(ModuleType):
    """One server of W&B: runs by their id."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.runs: dict[str, dict[str, Any]] = {}
        self.fails: Exception | None = None

    def Settings(self, *, console: str, finish_timeout: float) -> dict[str, Any]:  # noqa: N802
        return {"console": console, "finish_timeout": finish_timeout}

    def init(
        self,
        *,
        project: str | None = None,
        name: str | None = None,
        dir: str | Path | None = None,
        id: str | None = None,
        config: dict[str, Any] | None = None,
        resume: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> SimpleNamespace:
        if self.fails:
            raise self.fails
        number = id or f"run{len(self.runs)}"
        given = {"project": project, "name": name, "dir": dir, "config": config, "settings": settings}
        run = self.runs.setdefault(number, {"points": {}, "finished": 0, "given": given})
        assert resume == "allow" or not run["points"]

        def log(data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
            if self.fails:
                raise self.fails
            assert step is not None
            if step >= max(run["points"], default=0):
                run["points"].setdefault(step, {}).update(data)

        def finish(exit_code: int | None = None) -> None:
            if self.fails:
                raise self.fails
            run["finished"] += 1

        return SimpleNamespace(id=number, log=log, finish=finish)


class FakeMlflow(ModuleType):
    """One server of MLflow: runs by their id, in experiments by their name."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        failure = type("MlflowException", (Exception,), {})
        self.exceptions = SimpleNamespace(MlflowException=failure)
        self.entities = SimpleNamespace(
            Metric=lambda key, value, timestamp, step: SimpleNamespace(key=key, value=value, step=step),
            Param=lambda key, value: (key, value),
        )
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.fails: Exception | None = None

    def MlflowClient(self) -> FakeMlflow:  # noqa: N802
        return self

    def _answer(self, run: str) -> dict[str, Any]:
        if self.fails:
            raise self.fails
        if run not in self.runs:
            raise self.exceptions.MlflowException(f"Run '{run}' not found")
        return self.runs[run]

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        if self.fails:
            raise self.fails
        number = self.experiments.get(name)
        return None if number is None else SimpleNamespace(experiment_id=number)

    def create_experiment(self, name: str) -> str:
        assert name not in self.experiments
        self.experiments[name] = str(len(self.experiments))
        return self.experiments[name]

    def create_run(self, experiment_id: str, *, run_name: str | None = None) -> SimpleNamespace:
        assert experiment_id in self.experiments.values()
        number = f"run{len(self.runs)}"
        self.runs[number] = {"points": [], "params": {}, "status": "RUNNING", "name": run_name}
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        run = self._answer(run_id)
        assert len(params) <= 100 and all(len(value) <= 500 for _, value in params)
        run["points"] += [(each.key, each.step, each.value) for each in metrics]
        run["params"].update(params)

    def get_metric_history(self, run_id: str, key: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=step) for name, step, _ in self._answer(run_id)["points"] if name == key]

    def update_run(self, run_id: str, status: str | None = None) -> None:
        self._answer(run_id)["status"] = status

    def set_terminated(self, run_id: str) -> None:
        self._answer(run_id)["status"] = "FINISHED"


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let ``import`` find the stand-in."""
    monkeypatch.setitem(sys.modules, module.__name__, module)
