"""The one training loop: resumable to the same bits at any moment.

Every random choice is a function of (seed, epoch, index) or (seed, step), so the state to save is
only where the training stands: weights, optimiser, moving average, position and history. A run
killed at any moment and started again ends with the weights it would have had.

The same code runs one process or, under torchrun, several that share every batch. All of them take
the same decisions at the same steps; the first one writes files and shows progress.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from senet.data.loader import Batch
from senet.errors import SenetError, TrainingInterrupted
from senet.insight.results import EpochMetrics
from senet.networks.provenance import Provenance
from senet.training.average import MovingAverage
from senet.training.checkpoint import CHECKPOINT_NAME
from senet.training.evaluate import evaluate, not_finite_value
from senet.training.execution import Execution
from senet.training.failures import not_finite
from senet.training.images import Normalise, TrainingImages
from senet.training.interrupt import StopRequest
from senet.training.logs.make import make_logs
from senet.training.meter import Meter
from senet.training.metrics_file import write_metrics
from senet.training.parallel import TrainableNetwork
from senet.training.position import TrainingResult
from senet.training.processes import ALONE, Processes, lost_processes_explained
from senet.training.progress import Silent, TrainingProgress
from senet.training.recipe import FittedRecipe
from senet.training.resume import Keeper
from senet.training.schedule import learning_rate
from senet.training.step import Stepper
from senet.training.unread import UnreadStep, UnreadSteps

__all__ = ["CHECKPOINT_NAME", "TrainingResult", "train"]

# Reading the loss waits for a GPU to finish, so there it is looked at only now and then.
_STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 20}


def train(
    model: nn.Module,
    images: TrainingImages,
    recipe: FittedRecipe,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    identity: dict[str, Any] | None = None,
    provenance: Provenance | None = None,
    progress: TrainingProgress | None = None,
    execution: Execution | None = None,
    processes: Processes = ALONE,
) -> TrainingResult:
    """Train ``model`` and return its learning curve; go on from a checkpoint in ``folder`` if there is one.

    Args:
        model: gives (N, classes) scores for (N, C, H, W) images; moved to ``device`` and trained in
            place. It ends with the weights that were tested last: the moving average where there is one.
        images: what this process trains and tests on.
        recipe: what is computed.
        seed: of dropout and whatever else the model draws; the order of images is in ``images``.
        folder: gets ``checkpoint.pt``, ``checkpoint.previous.pt`` and ``metrics.csv``; only the first process
            looks at it.
        device: where this process trains.
        identity: what this training is, as plain values. A checkpoint of another identity is refused.
        provenance: what belongs to the network besides its weights; its checkpoints tell it.
        progress: told about every step.
        execution: how it is computed.
        processes: those that share the training.

    Raises:
        SenetError: the loss is not finite, the memory is too small, another process ended, or a checkpoint
            belongs to another training or cannot be written.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state has been saved.
    """
    execution = execution or Execution()
    watching = progress if progress is not None and processes.first else Silent()
    network = TrainableNetwork(model, recipe, execution, processes, device)
    try:
        with lost_processes_explained():
            keeper = (folder, identity or {}, provenance)
            loop = _Loop(network, images, recipe, seed, *keeper, watching, execution, processes)
            with StopRequest() as stop, closing(loop.logs):
                return loop.run(stop)
    finally:
        images.close()
        network.release()


class _Loop:
    """State and steps of one training."""

    def __init__(
        self,
        network: TrainableNetwork,
        images: TrainingImages,
        recipe: FittedRecipe,
        seed: int,
        folder: Path,
        identity: dict[str, Any],
        provenance: Provenance | None,
        progress: TrainingProgress,
        execution: Execution,
        processes: Processes,
    ) -> None:
        self.network, self.model, self.images, self.recipe = network, network.model, images, recipe
        self.folder, self.progress = folder, progress
        self.execution, self.processes, self.device = execution, processes, network.device
        self.normalise = Normalise(
            images.mean, images.std, self.device, channels_last=execution.channels_last
        )
        network.share(self.first_batch)
        self.stepper = Stepper(network, recipe, self.normalise, processes, seed, images.train.source)
        self.average = MovingAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.keeper = Keeper(folder, identity, self.stepper, self.average, processes, progress, provenance)
        self.position = self.keeper.restore()
        if self.position.epoch < recipe.epochs:  # one that had ended and is extended answers at its new end
            self.position.predictions, self.position.in_top5 = [], None
        self.unread = UnreadSteps(processes, self.device)
        self.meter = Meter(self.device)
        self.logs = make_logs(
            execution.log if processes.first else (),
            folder,
            facts={**identity, "recipe": asdict(recipe), "seed": seed},
            step=self.position.step,
            state=self.keeper.log_state,
            every=execution.log_steps,
            note=progress.note,
        )

    def first_batch(self, forward: Callable[[Tensor], Tensor]) -> None:
        """Run forward and backward once, on black images."""
        shape = (self.images.train.piece_size, *self.images.train.image_shape)
        forward(self.normalise(torch.zeros(shape, dtype=torch.uint8))).sum().backward()  # type: ignore[no-untyped-call]

    def save(self) -> None:
        """Write a checkpoint, unless the weights are no longer worth one; all processes call this."""
        self.check()
        if not self.keeper.finite():
            raise self.not_finite("A weight", "nan or infinite", self.position.step)
        self.logs.flush()
        self.keeper.save(self.position, self.logs.state())

    def run(self, stop: StopRequest) -> TrainingResult:
        """Train what is left of the epochs."""
        position, batches = self.position, len(self.images.train)
        self.progress.begin(
            epochs=self.recipe.epochs,
            batches=batches,
            done_epochs=position.epoch,
            done_batches=position.batch,
            workers=self.images.train.workers,
        )
        saved_at = time.monotonic()
        while position.epoch < self.recipe.epochs:
            if self.freezes_norm():
                self.network.copy_buffers_from_first()
            for pieces in self.timed(self.meter.waiting(self.batches())):
                self.step(pieces)
                due = time.monotonic() - saved_at >= self.execution.checkpoint_seconds
                stopping = due_anywhere = False
                if position.step % _STEPS_BETWEEN_CHECKS[self.device.type] == 0:
                    stopping, due_anywhere = self.check(stop=self.to_stop(stop), save=due)
                self.tell(pieces)
                if stopping or (self.processes.count == 1 and stop.requested):
                    self.interrupt()
                if due_anywhere and position.batch < batches:
                    self.save()
                    saved_at = time.monotonic()
            self.finish_epoch()
            saved_at = time.monotonic()
            if self.check(stop=self.to_stop(stop))[0]:
                self.interrupt()
        if self.average:
            self.model.load_state_dict(self.average.values)
            self.network.copy_buffers_from_first()
        if self.processes.first:
            write_metrics(self.folder, position.curve())
        return position.result()

    def freezes_norm(self) -> bool:
        """Return whether BatchNorm stays as it is in the present epoch."""
        return self.position.epoch >= self.recipe.epochs - self.recipe.freeze_norm_epochs

    def batches(self) -> Iterator[Sequence[Batch]]:
        """Yield the rest of the epoch: for each step, this process's pieces of the batch."""
        loaded = iter(self.images.train.epoch(self.position.epoch, self.position.batch))
        while pieces := tuple(islice(loaded, self.recipe.accumulate)):
            yield pieces

    def timed(self, batches: Iterator[Sequence[Batch]]) -> Iterator[Sequence[Batch]]:
        """Count the time from asking for a batch to asking for the next one."""
        started = time.perf_counter()
        for batch in batches:
            yield batch
            now = time.perf_counter()
            self.position.seconds += now - started
            started = now

    def step(self, pieces: Sequence[Batch]) -> None:
        """Train on one batch."""
        position = self.position
        logged = self.logs.due(position.step + 1)
        rate = learning_rate(self.recipe, position.step, len(self.images.train))
        loss, norm = self.stepper(
            pieces, step=position.step, rate=rate, freeze_norm=self.freezes_norm(), wants_norm=logged
        )
        if self.average:
            self.average.update(self.model)
        position.step += 1
        position.batch += 1
        self.meter.step(self.images_in(pieces))
        speed = self.meter.since_last() if logged else None
        self.unread.add(UnreadStep(step=position.step, rate=rate, loss=loss, norm=norm, speed=speed))

    def images_in(self, pieces: Sequence[Batch]) -> int:
        """Return how many images the batch has in all processes."""
        return self.processes.count * sum(len(piece.labels) for piece in pieces)

    def tell(self, pieces: Sequence[Batch]) -> None:
        """Tell whoever watches that a step is done."""
        position = self.position
        read = max(1, position.batch - len(self.unread))
        self.progress.step(
            epoch=position.epoch + 1,
            batch=position.batch,
            loss=position.loss_sum / read,
            images=self.images_in(pieces),
            data_wait=self.meter.recent_data_wait(),
        )

    def to_stop(self, stop: StopRequest) -> bool:
        """Return whether this process was asked to stop, or nobody watches over it any more."""
        return stop.requested or self.processes.orphaned

    def check(self, *, stop: bool = False, save: bool = False) -> tuple[bool, bool]:
        """Add the losses not looked at so far, and agree on what comes next.

        Args:
            stop: whether this process was asked to stop.
            save: whether the first process finds that a checkpoint is due.

        Returns:
            Whether any process is to stop, and whether to save.

        Raises:
            SenetError: a loss is not finite.
        """
        steps, stopping, saving = self.unread.read(stop=stop, save=save)
        for step, loss in steps:
            if not math.isfinite(loss):
                raise self.not_finite("The loss", loss, step.step)
            self.position.loss_sum += loss
            record = step.record(epoch=self.position.epoch + 1, loss=loss)
            if record is not None:
                self.logs.step(record)
        return stopping, saving

    def finish_epoch(self) -> None:
        """Test, note the epoch in the history, and save."""
        position = self.position
        self.check()
        self.progress.testing()
        with self.average.applied_to(self.model) if self.average else nullcontext():
            self.network.copy_buffers_from_first()
            evaluation = evaluate(
                self.model,
                self.images.test,
                self.normalise,
                self.stepper.autocast,
                self.processes,
                sharded=self.network.sharded,
            )
        if not math.isfinite(evaluation.loss):
            where = "" if self.network.sharded else not_finite_value(self.model)
            what = f"The test loss ({where})" if where else "The test loss"
            raise self.not_finite(what, evaluation.loss, position.step)
        metrics = EpochMetrics(
            epoch=position.epoch + 1,
            learning_rate=learning_rate(self.recipe, position.step - 1, len(self.images.train)),
            train_loss=position.loss_sum / position.batch,
            test_loss=evaluation.loss,
            top1_error=evaluation.top1_error,
            top5_error=evaluation.top5_error,
            train_seconds=position.seconds,
            data_wait=self.meter.epoch_data_wait(),
        )
        self.logs.epoch(position.step, metrics)
        position.history.append(asdict(metrics))
        position.epoch += 1
        position.batch, position.loss_sum, position.seconds = 0, 0.0, 0.0
        if position.epoch == self.recipe.epochs:
            position.predictions, position.in_top5 = evaluation.predictions, evaluation.in_top5
        self.save()
        if self.processes.first:
            write_metrics(self.folder, position.curve())
        self.progress.epoch(metrics)

    def interrupt(self) -> NoReturn:
        """Save and stop, all processes together."""
        self.save()
        where = self.position.describe(self.recipe.epochs, len(self.images.train))
        raise TrainingInterrupted(f"Stopped in {self.folder} {where}; everything up to that point is saved.")

    def not_finite(self, what: str, value: float | str, step: int) -> SenetError:
        """Return the error for a training that has diverged."""
        return not_finite(
            what,
            value,
            step=step,
            epoch=self.position.epoch + 1,
            kept=self.keeper.path,
            rate=self.recipe.learning_rate,
        )
