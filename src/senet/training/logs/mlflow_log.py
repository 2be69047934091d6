"""MLflow (https://mlflow.org), on the server or the files that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from senet.insight.results import EpochMetrics
from senet.training.logs.log import Start, State, StepRecord, epoch_scalars

RUN = "mlflow_run"

# Limits of MLflow's interface: parameters in one call, and characters of a parameter's value.
_PARAMETERS = 100
_CHARACTERS = 500


class MlflowLog:
    """Logs to a run of MLflow, in the experiment MLFLOW_EXPERIMENT_NAME or ``senet``, and goes on with it.

    MLflow keeps every point it is given. So steps done again, because the training was killed after they
    had been logged, are left out: the training computes the same values again.
    """

    def __init__(self, start: Start) -> None:
        """Begin a run, or go on with the one of the checkpoint.

        Raises:
            mlflow.exceptions.MlflowException: the server does not answer, or no longer has the run.
        """
        self._mlflow = import_module("mlflow")
        self._client = self._mlflow.MlflowClient()
        self._logged: dict[str, int] = {}
        if RUN in start.state:
            self._id = str(start.state[RUN])
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._begin(start)

    def _begin(self, start: Start) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "senet")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        run = self._client.create_run(number, run_name="/".join(start.folder.parts[-2:])).info.run_id
        make = self._mlflow.entities.Param
        parameters = [make(key, str(value)[:_CHARACTERS]) for key, value in _flat(start.facts)]
        for first in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(run, params=parameters[first : first + _PARAMETERS])
        return str(run)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Return MLflow's own errors, in which it wraps those of networks and databases, and `OSError`."""
        return (import_module("mlflow").exceptions.MlflowException, OSError)

    def step(self, record: StepRecord) -> None:
        """Send the step."""
        self._send(record.scalars(), record.step)

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Send the epoch."""
        self._send(epoch_scalars(metrics), step)

    def _send(self, scalars: dict[str, float], step: int) -> None:
        first = next(iter(scalars))
        if first not in self._logged:
            history = self._client.get_metric_history(self._id, first)
            self._logged[first] = max((point.step for point in history), default=0)
        if step <= self._logged[first]:
            return
        now, make = round(time.time() * 1000), self._mlflow.entities.Metric
        points = [make(key, value, now, step) for key, value in scalars.items()]
        self._client.log_batch(self._id, metrics=points)

    def flush(self) -> None:
        """Do nothing: every point is sent at once."""

    def state(self) -> State:
        """Return the id of the run."""
        return {RUN: self._id}

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._id)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
