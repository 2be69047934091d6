"""What a checkpoint of a training holds, and how a training goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from senet.errors import SenetError
from senet.files import make_folder
from senet.networks.provenance import Provenance
from senet.text import counted
from senet.training.average import MovingAverage
from senet.training.checkpoint import (
    CHECKPOINT_NAME,
    FORMAT,
    checked_training,
    load_checkpoint,
    save_checkpoint,
)
from senet.training.evaluate import STATISTICS
from senet.training.identity import extends, refuse_other_training
from senet.training.position import Position
from senet.training.processes import Processes
from senet.training.progress import TrainingProgress
from senet.training.state import (
    network_state,
    optimiser_state,
    own_part,
    set_network_state,
    set_optimiser_state,
)
from senet.training.step import Stepper


class Keeper:
    """Saves and restores one training; only the first process looks at the folder.

    Args:
        folder: gets ``checkpoint.pt`` and ``checkpoint.previous.pt``.
        identity: what the training is, as plain values. A checkpoint of another identity is refused.
        stepper: whose network and optimiser are kept.
        average: of the weights, or ``None``.
        processes: those that share the training.
        progress: told what going on in another way changes.
        provenance: what belongs to the network besides its weights, or ``None``.

    Attributes:
        log_state: what the checkpoint that was restored says of the logs.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        stepper: Stepper,
        average: MovingAverage | None,
        processes: Processes,
        progress: TrainingProgress,
        provenance: Provenance | None = None,
    ) -> None:
        self.provenance = provenance
        self.path = folder / CHECKPOINT_NAME
        self.folder, self.identity, self.progress = folder, identity, progress
        self.stepper, self.model = stepper, stepper.network.model
        self.average, self.processes = average, processes
        self.log_state: dict[str, int | str] = {}

    def finite(self) -> bool:
        """Return whether all weights, in all processes, are worth a checkpoint."""
        statistics = [each for name, each in self.model.named_buffers() if name.endswith(STATISTICS)]
        values = (*self.model.parameters(), *statistics)
        good = all(bool(torch.isfinite(own_part(each)).all()) for each in values)
        bad = torch.tensor(int(not good), device=self.stepper.device)
        return self.processes.sum(bad).item() == 0

    def save(self, position: Position, log_state: Mapping[str, int | str]) -> None:
        """Write a checkpoint; all processes call this, and return when it is written.

        Args:
            position: where the training stands.
            log_state: what its logs need to go on from here.

        Raises:
            SenetError: the disk is full or the folder cannot be written; older checkpoints are untouched.
        """
        state = {
            "format": FORMAT,
            "identity": self.identity,
            "provenance": asdict(self.provenance) if self.provenance else None,
            "position": asdict(position),
            "model": network_state(self.model),
            "optimiser": optimiser_state(self.model, self.stepper.optimiser),
            "scaler": self.stepper.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "log": dict(log_state),
            "threads": torch.get_num_threads(),
            "processes": self.processes.count,
        }
        if self.processes.first:
            save_checkpoint(self.path, state)
        self.processes.wait()

    def restore(self) -> Position:
        """Go back to where the newest readable checkpoint stands, or stay at the beginning.

        Raises:
            SenetError: the checkpoint is of another training or an older senet, or none can be read.
        """
        found: tuple[dict[str, Any], Path] | None = None
        if self.processes.first:
            make_folder(self.folder)
            found = load_checkpoint(self.path)
        found = self.processes.from_first(found)
        if found is None:
            return Position()
        state, source = found
        checked_training(state, source)
        refuse_other_training(state["identity"], self.identity, self.folder)
        if source != self.path:
            self.progress.note(
                f"{self.path} is missing or damaged: resuming from {source.name}, the previous checkpoint."
            )
        position = Position(**state["position"])
        if position.predictions and extends(state["identity"], self.identity):
            self.progress.note(
                f"Extending {self.folder}, which ended after {counted(position.epoch, 'epoch', 'epochs')}."
            )
        self.log_state = state["log"]
        self._take_over(state["threads"], state["processes"])
        try:
            set_network_state(self.model, state["model"])
            set_optimiser_state(self.model, self.stepper.optimiser, state["optimiser"])
            self.stepper.scaler.load_state_dict(state["scaler"])
            if self.average:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            # torch's own checks of names, shapes and kinds.
            reason = " ".join(str(error).split())[:160]
            raise SenetError(
                f"{source} does not fit this network and recipe ({reason}): choose another folder with --out."
            ) from error
        return position

    def _take_over(self, threads: int, processes: int) -> None:
        """Say what going on in another way than before changes."""
        if processes != self.processes.count:
            self.progress.note(
                f"{self.folder} was started with {counted(processes, 'process')} and continues with "
                f"{self.processes.count}: images, their order and the learning rate are the same; "
                "dropout, BatchNorm's statistics (without sync_norm) and rounding differ."
            )
        elif threads != torch.get_num_threads():
            # Sums are split over threads: another number of them would round differently.
            torch.set_num_threads(threads)
            self.progress.note(
                f"Resuming with {counted(threads, 'thread')}, as {self.folder} was started with."
            )
