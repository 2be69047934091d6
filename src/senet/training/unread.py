"""Steps whose losses still lie on the device: reading one makes a GPU wait, so several are read at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from senet.training.logs.log import StepRecord
from senet.training.meter import Speed
from senet.training.processes import Processes


@dataclass(frozen=True, kw_only=True)
class UnreadStep:
    """One step of the optimiser.

    Attributes:
        step: counted from 1, over all epochs.
        rate: its learning rate.
        loss: of this process's images.
        norm: of the gradient, where it is logged.
        speed: up to this step, where it is logged.
    """

    step: int
    rate: float
    loss: Tensor
    norm: Tensor | None = None
    speed: Speed | None = None

    def record(self, *, epoch: int, loss: float) -> StepRecord | None:
        """Return what is logged of this step, or ``None``.

        Args:
            epoch: counted from 1.
            loss: over all processes.
        """
        if self.speed is None or self.norm is None:
            return None
        return StepRecord(
            step=self.step,
            epoch=epoch,
            learning_rate=self.rate,
            loss=loss,
            gradient_norm=self.norm.item(),
            speed=self.speed,
        )


class UnreadSteps:
    """Collects steps until they are read, by all processes together.

    Args:
        processes: those that share every batch.
        device: on which they train.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self._processes, self._device = processes, device
        self._steps: list[UnreadStep] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: UnreadStep) -> None:
        """Keep a step for later."""
        self._steps.append(step)

    def read(self, *, stop: bool, save: bool) -> tuple[list[tuple[UnreadStep, float]], bool, bool]:
        """Return the steps so far with their losses over all processes, and what all agree on.

        Args:
            stop: whether this process is to stop.
            save: whether the first process finds that a checkpoint is due.

        Returns:
            The steps, whether any process is to stop, and whether to save.
        """
        steps, self._steps = self._steps, []
        asked = torch.tensor([stop, save and self._processes.first], dtype=torch.float64, device=self._device)
        losses = torch.stack([each.loss.double() for each in steps]) if steps else asked[:0]
        *sums, stopping, saving = self._processes.sum(torch.cat([losses, asked])).tolist()
        means = [total / self._processes.count for total in sums]
        return list(zip(steps, means, strict=True)), stopping > 0, saving > 0
