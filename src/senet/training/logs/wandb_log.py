"""Weights & Biases (https://docs.wandb.ai), online or offline."""

from __future__ import annotations

import os
from importlib import import_module

from senet.insight.results import EpochMetrics
from senet.training.logs.log import Start, State, StepRecord, epoch_scalars

RUN = "wandb_run"

# Seconds to wait for uploads when a training ends; what is left can be sent by 'wandb sync'.
_PATIENCE = 300


class WandbLog:
    """Logs to a run of W&B, in the project WANDB_PROJECT or ``senet``, and goes on with it.

    Steps done again, because the training was killed after they had been logged, have the same values
    again. Online, W&B ignores steps below the last it has; the files of an offline run hold them twice.
    """

    def __init__(self, start: Start) -> None:
        """Begin a run, or go on with the one of the checkpoint.

        Raises:
            wandb.Error: nobody is logged in, or the server does not answer.
        """
        wandb = import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "senet"),
            name="/".join(start.folder.parts[-2:]),
            dir=str(start.folder),
            config=dict(start.facts),
            id=start.state.get(RUN),
            resume="allow",
            # Its capturing of the terminal would record every redrawing of the live display.
            settings=wandb.Settings(console="off", finish_timeout=_PATIENCE),
        )
        self._id = str(self._run.id)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Return W&B's own errors, and `OSError`, which comes when its helper process has died."""
        return (import_module("wandb").Error, OSError)

    def step(self, record: StepRecord) -> None:
        """Hand the step to W&B's helper process, which sends it."""
        self._run.log(record.scalars(), step=record.step)

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Hand the epoch to W&B's helper process, which sends it."""
        self._run.log(epoch_scalars(metrics), step=step)

    def flush(self) -> None:
        """Do nothing: the helper process outlives a crash of this one and writes as it receives."""

    def state(self) -> State:
        """Return the id of the run."""
        return {RUN: self._id}

    def close(self) -> None:
        """Wait for the uploads, at most five minutes."""
        self._run.finish()
