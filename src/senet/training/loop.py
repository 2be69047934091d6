"""The one training loop: resumable to the same bits at any moment.

Every random choice is a function of (seed, epoch, index) or (seed, step), so the state to save is
only where the training stands: weights, optimiser, moving average, position and history. A run
killed at any moment and started again ends with the weights it would have had.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.data.loader import Batch
from senet.errors import SenetError, TrainingInterrupted
from senet.files import make_folder
from senet.insight.results import EpochMetrics
from senet.randomness import seed_from
from senet.training.average import MovingAverage
from senet.training.checkpoint import load_checkpoint, save_checkpoint
from senet.training.evaluate import evaluate
from senet.training.identity import refuse_other_training
from senet.training.images import Normalise, TrainingImages
from senet.training.interrupt import StopRequest
from senet.training.metrics_file import write_metrics
from senet.training.progress import Silent, TrainingProgress
from senet.training.recipe import Recipe
from senet.training.schedule import learning_rate

CHECKPOINT_NAME = "checkpoint.pt"

# Reading the loss waits for a GPU to finish, so there it is looked at only now and then.
_STEPS_BETWEEN_LOSS_CHECKS = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A finished training: its learning curve and the last epoch's answers.

    Attributes:
        history: one entry per epoch.
        predictions: the first guess for each test image.
        in_top5: whether each test image's class was among five guesses; ``None`` with five classes or fewer.
    """

    history: tuple[EpochMetrics, ...]
    predictions: tuple[int, ...]
    in_top5: tuple[bool, ...] | None


@dataclass
class _Position:
    """Where a training stands: epochs finished, batches done in the present one, and its sums."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[int] = field(default_factory=list)
    in_top5: list[bool] | None = None


def train(
    model: nn.Module,
    images: TrainingImages,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    identity: dict[str, Any] | None = None,
    progress: TrainingProgress | None = None,
    checkpoint_seconds: float = 300.0,
) -> TrainingResult:
    """Train ``model`` and return its learning curve; go on from a checkpoint in ``folder`` if there is one.

    Args:
        model: gives (N, classes) scores for (N, C, H, W) images; moved to ``device`` and trained in
            place. It ends with the weights that were tested last: the moving average where there is one.
        images: what to train and test on.
        recipe: how.
        seed: of dropout and whatever else the model draws; the order of images is in ``images``.
        folder: gets ``checkpoint.pt``, ``checkpoint.previous.pt`` and ``metrics.csv``.
        device: where to train.
        identity: what this training is, as plain values. A checkpoint of another identity is refused.
        progress: told about every step.
        checkpoint_seconds: save within an epoch when that much time has passed; every epoch's end is saved.

    Raises:
        SenetError: the loss is not finite, a checkpoint belongs to another training or cannot be written.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state has been saved.
    """
    make_folder(folder)
    loop = _Loop(model, images, recipe, seed, folder, device, identity or {}, progress or Silent())
    loop.restore()
    with StopRequest() as stop:
        return loop.run(stop, checkpoint_seconds)


class _Loop:
    """State and steps of one training."""

    def __init__(
        self,
        model: nn.Module,
        images: TrainingImages,
        recipe: Recipe,
        seed: int,
        folder: Path,
        device: torch.device,
        identity: dict[str, Any],
        progress: TrainingProgress,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images, self.recipe, self.seed, self.folder = images, recipe, seed, folder
        self.device, self.identity, self.progress = device, identity, progress
        self.optimiser = torch.optim.SGD(
            model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.average = MovingAverage(model, recipe.ema_decay) if recipe.ema_decay else None
        self.normalise = Normalise(images.mean, images.std, device)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
        self.position = _Position()
        self.unread_losses: list[tuple[int, Tensor]] = []

    def save(self) -> None:
        """Write a checkpoint, unless the weights are no longer worth one."""
        self.read_losses()
        if not all(bool(torch.isfinite(value).all()) for value in self.model.parameters()):
            raise self.not_finite("A weight", "nan or infinite", self.position.step)
        state = {
            "identity": self.identity,
            "position": asdict(self.position),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "threads": torch.get_num_threads(),
        }
        save_checkpoint(self.folder / CHECKPOINT_NAME, state)

    def restore(self) -> None:
        """Go back to where the newest readable checkpoint stands, if there is one."""
        path = self.folder / CHECKPOINT_NAME
        found = load_checkpoint(path)
        if found is None:
            return
        state, source = found
        refuse_other_training(state["identity"], self.identity, self.folder)
        if source != path:
            self.progress.note(
                f"{path} is missing or damaged: going on from {source.name}, the one before it."
            )
        if state["threads"] != torch.get_num_threads():
            # Sums are split over threads: another number of them would round differently.
            torch.set_num_threads(state["threads"])
            self.progress.note(f"Going on with {state['threads']} threads, as {self.folder} was begun.")
        self.position = _Position(**state["position"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            self.average.load_state_dict(state["average"])

    def run(self, stop: StopRequest, checkpoint_seconds: float) -> TrainingResult:
        """Train what is left of the epochs."""
        position, batches = self.position, len(self.images.train)
        self.progress.begin(
            epochs=self.recipe.epochs,
            batches=batches,
            done_epochs=position.epoch,
            done_batches=position.batch,
        )
        saved_at = time.monotonic()
        while position.epoch < self.recipe.epochs:
            for batch in self.timed(self.images.train.epoch(position.epoch, position.batch)):
                self.step(batch)
                if stop.requested:
                    self.interrupt()
                if time.monotonic() - saved_at >= checkpoint_seconds and position.batch < batches:
                    self.save()
                    saved_at = time.monotonic()
            self.finish_epoch()
            saved_at = time.monotonic()
            if stop.requested:
                self.interrupt()
        if self.average:
            self.model.load_state_dict(self.average.values)
        history = tuple(EpochMetrics(**row) for row in position.history)
        write_metrics(self.folder, history)
        return TrainingResult(
            history=history,
            predictions=tuple(position.predictions),
            in_top5=None if position.in_top5 is None else tuple(position.in_top5),
        )

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Count the time from asking for a batch to asking for the next one."""
        started = time.perf_counter()
        for batch in batches:
            yield batch
            now = time.perf_counter()
            self.position.seconds += now - started
            started = now

    def step(self, batch: Batch) -> None:
        """Train on one batch."""
        position, recipe = self.position, self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, position.step, len(self.images.train))
        self.seed_generator(seed_from("step", self.seed, position.step))
        self.model.train()
        with self.autocast:
            scores = self.model(self.normalise(batch.images))
        labels = batch.labels.to(self.device, non_blocking=True)
        loss = functional.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
        position.step += 1
        position.batch += 1
        self.unread_losses.append((position.step, loss.detach()))
        if len(self.unread_losses) >= _STEPS_BETWEEN_LOSS_CHECKS[self.device.type]:
            self.read_losses()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if self.average:
            self.average.update(self.model)
        read = max(1, position.batch - len(self.unread_losses))
        self.progress.step(
            epoch=position.epoch + 1, batch=position.batch, loss=position.loss_sum / read, images=len(labels)
        )

    def seed_generator(self, seed: int) -> None:
        """Seed the device's generator; torch.manual_seed would seed all and costs a hundred times more."""
        if self.device.type == "cuda":
            index = self.device.index if self.device.index is not None else torch.cuda.current_device()
            torch.cuda.default_generators[index].manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)

    def read_losses(self) -> None:
        """Add the losses not looked at so far, and stop at the first that is not finite."""
        if not self.unread_losses:
            return
        steps, losses = zip(*self.unread_losses, strict=True)
        self.unread_losses.clear()
        for step, loss in zip(steps, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise self.not_finite("The loss", loss, step)
            self.position.loss_sum += loss

    def finish_epoch(self) -> None:
        """Test, note the epoch in the history, and save."""
        position = self.position
        self.read_losses()
        with self.average.applied_to(self.model) if self.average else nullcontext():
            evaluation = evaluate(self.model, self.images.test, self.normalise, self.autocast)
        if not math.isfinite(evaluation.loss):
            raise self.not_finite("The test loss", evaluation.loss, position.step)
        metrics = EpochMetrics(
            epoch=position.epoch + 1,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            train_loss=position.loss_sum / position.batch,
            test_loss=evaluation.loss,
            top1_error=evaluation.top1_error,
            top5_error=evaluation.top5_error,
            train_seconds=position.seconds,
        )
        position.history.append(asdict(metrics))
        position.epoch += 1
        position.batch, position.loss_sum, position.seconds = 0, 0.0, 0.0
        if position.epoch == self.recipe.epochs:
            position.predictions, position.in_top5 = evaluation.predictions, evaluation.in_top5
        self.save()
        write_metrics(self.folder, tuple(EpochMetrics(**row) for row in position.history))
        self.progress.epoch(metrics)

    def interrupt(self) -> NoReturn:
        """Save and stop."""
        self.save()
        epoch, batch = self.position.epoch + 1, self.position.batch
        raise TrainingInterrupted(
            f"Stopped in {self.folder} in epoch {epoch} of {self.recipe.epochs}, after batch {batch} of "
            f"{len(self.images.train)}; everything up to there is saved."
        )

    def not_finite(self, what: str, value: float | str, step: int) -> SenetError:
        """Return the error for a training that has diverged."""
        epoch, kept = self.position.epoch + 1, self.folder / CHECKPOINT_NAME
        last = (
            f"the last good checkpoint is kept in {kept}"
            if kept.exists()
            else "no checkpoint was written yet"
        )
        return SenetError(
            f"{what} became {value} at step {step} (epoch {epoch}) of {self.folder}; {last}. Try a lower "
            f"learning rate than {self.recipe.learning_rate} or a longer warm-up, in a new folder."
        )
