"""All logs of one training as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from senet.errors import SenetError
from senet.insight.results import EpochMetrics
from senet.training.logs.log import Log, Start, State, StepRecord
from senet.training.logs.names import LogName, default_names, refuse_missing


class Logs:
    """Several logs as one.

    A log that cannot be reached while the network trains is left out from then on, with one note: no
    training ends for it. When the training is started again, the log is tried again.
    """

    def __init__(
        self, logs: Mapping[str, Log], *, every: int, state: State, note: Callable[[str], None]
    ) -> None:
        self._logs = dict(logs)
        self._every = every
        # A log that is not asked for, or has failed, may be asked for again after the next checkpoint.
        self._state = dict(state)
        self._note = note

    def due(self, step: int) -> bool:
        """Return whether optimiser step ``step``, counted from 1, is one to be logged.

        Every process gets the same answer, whatever it logs: all must help to compute the gradient's norm.
        """
        return step % self._every == 0

    def step(self, record: StepRecord) -> None:
        """Log a step.

        Raises:
            SenetError: the disk is full.
        """
        self._each(lambda log: log.step(record))

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Log an epoch that ended with optimiser step ``step``; call it before its checkpoint is saved.

        Raises:
            SenetError: the disk is full.
        """
        self._each(lambda log: log.epoch(step, metrics))

    def flush(self) -> None:
        """Make what was logged survive a crash; call it right before `state` and a checkpoint.

        Raises:
            SenetError: the disk is full.
        """
        self._each(lambda log: log.flush())

    def state(self) -> dict[str, int | str]:
        """Return what a checkpoint must keep for the logs to go on after this moment."""
        for log in self._logs.values():
            self._state.update(log.state())
        return dict(self._state)

    def close(self) -> None:
        """Finish; what comes after is not logged."""
        self._each(lambda log: log.close())
        self._logs.clear()

    def _each(self, tell: Callable[[Log], None]) -> None:
        for name, log in list(self._logs.items()):
            try:
                tell(log)
            except log.failures() as error:
                self._state.update(log.state())
                del self._logs[name]
                self._note(f"The log {name} failed ({_reason(error)}); training continues without it.")


def make_logs(
    names: Sequence[LogName] | None,
    folder: Path,
    *,
    facts: Mapping[str, Any],
    step: int,
    state: State,
    every: int,
    note: Callable[[str], None],
) -> Logs:
    """Open the logs of one training, or go on with them.

    With several processes, only the first one may do so; the others pass ``()`` for ``names``.

    Args:
        names: which logs; ``None`` for tables and, where it is installed, TensorBoard.
        folder: of the training.
        facts: what the training is, as plain values: network, seed, recipe.
        step: optimiser steps done and kept; 0 at the beginning.
        state: what `Logs.state` returned for the checkpoint; empty at the beginning.
        every: optimiser steps between two that are logged.
        note: tells a user one sentence.

    Raises:
        SenetError: a log is unknown or not installed, a file cannot be written, or, at the beginning of
            a training, a log cannot be reached. Later the training goes on without it and says so.
    """
    chosen = default_names() if names is None else names
    refuse_missing(chosen)
    start = Start(folder=folder, facts=facts, step=step, state=state, note=note)
    logs: dict[str, Log] = {}
    for name in dict.fromkeys(chosen):
        kind = _kind(name)
        try:
            logs[name] = kind(start)
        except kind.failures() as error:
            if step == 0:
                raise SenetError(
                    f"The log {name} cannot be used ({_reason(error)}): fix that, or leave {name} out of "
                    "--log."
                ) from error
            note(f"The log {name} failed ({_reason(error)}); training continues without it.")
    return Logs(logs, every=every, state=state, note=note)


def _kind(name: LogName) -> Any:
    if name == "csv":
        from senet.training.logs.csv_log import CsvLog

        return CsvLog
    if name == "tensorboard":
        from senet.training.logs.tensorboard_log import TensorBoardLog

        return TensorBoardLog
    if name == "wandb":
        from senet.training.logs.wandb_log import WandbLog

        return WandbLog
    from senet.training.logs.mlflow_log import MlflowLog

    return MlflowLog


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
