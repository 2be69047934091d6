"""One step of the optimiser on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from senet.data.loader import Batch
from senet.data.source import ImageSource
from senet.errors import SenetError
from senet.randomness import seed_from
from senet.training.class_weights import class_weights
from senet.training.failures import is_out_of_memory, largest_that_fits, out_of_memory
from senet.training.images import Normalise
from senet.training.loss import training_loss
from senet.training.mixing import Mixing
from senet.training.optimiser import gradient_norm, make_autocast, make_optimiser, make_scaler
from senet.training.parallel import TrainableNetwork
from senet.training.processes import Processes
from senet.training.recipe import FittedRecipe

Loss = Callable[[Tensor, Tensor], Tensor]


class Stepper:
    """Trains a network batch by batch.

    Args:
        network: ready to be trained, its weights shared out where they are to be.
        recipe: how.
        normalise: makes images ready.
        processes: those that share a batch.
        seed: of whatever the network draws.
        source: the training images, whose classes may weigh differently in the loss.
    """

    def __init__(
        self,
        network: TrainableNetwork,
        recipe: FittedRecipe,
        normalise: Normalise,
        processes: Processes,
        seed: int,
        source: ImageSource,
    ) -> None:
        self.network, self.recipe, self.normalise = network, recipe, normalise
        self.processes, self.seed, self.classes = processes, seed, len(source.classes)
        weights = class_weights(recipe.class_weights, source.labels, source.classes)
        self.weights = None if weights is None else weights.to(normalise.device)
        self.mixing: Mixing | None = None
        if recipe.mixup or recipe.cutmix:
            self.mixing = Mixing(mixup=recipe.mixup, cutmix=recipe.cutmix, seed=seed, repeats=recipe.repeats)
        self.device = normalise.device
        self.optimiser = make_optimiser(network.model, recipe)
        self.autocast = make_autocast(recipe, self.device)
        self.scaler = make_scaler(recipe, self.device)

    def __call__(
        self, pieces: Sequence[Batch], *, step: int, rate: float, freeze_norm: bool, wants_norm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Take one step.

        Args:
            pieces: this process's part of the batch, cut into as many as the recipe's ``accumulate``.
            step: steps taken before.
            rate: learning rate.
            freeze_norm: leave BatchNorm's parameters and statistics as they are.
            wants_norm: whether to return the norm of the gradient also where it is not clipped.

        Returns:
            The loss of this process's images, not yet read from the device, and the norm of the gradient of
            the whole batch, before clipping, or ``None``.

        Raises:
            SenetError: the memory is too small; the sentence says how many images would fit.
        """
        try:
            return self._step(pieces, step, rate, freeze_norm, wants_norm)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here is the error gone, and with it what the failed step kept in memory.
        raise self._out_of_memory(pieces[0])

    def _step(
        self, pieces: Sequence[Batch], step: int, rate: float, freeze_norm: bool, wants_norm: bool
    ) -> tuple[Tensor, Tensor | None]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        model = self.network.model
        model.train()
        if freeze_norm:
            for layer in self.network.norms:
                layer.eval()
        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for number, piece in enumerate(pieces):
            self.seed_generator(seed_from("step", self.seed, step, number, self.processes.number))
            with self.network.adding_up(last=number == len(pieces) - 1):
                part = self.loss_of(piece, step, number) / len(pieces)
                self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        if freeze_norm:
            self._forget_gradients_of_norms()
        norm = self._norm(wants_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss, norm

    def loss_of(self, piece: Batch, step: int, number: int) -> Tensor:
        """Return the loss of piece ``number`` of the batch of a step."""
        targets = piece.labels.to(self.device, non_blocking=True)
        images = self.normalise(piece.images)
        if self.mixing is not None:
            count, others = len(piece.labels), self.processes.count
            images, targets = self.mixing(
                images,
                functional.one_hot(targets, self.classes).float(),
                step=step,
                first=(number * others + self.processes.number) * count,
                total=count * others * self.recipe.accumulate,
            )
        with self.autocast:
            scores = self.network.forward(images)
        return training_loss(scores.float(), targets, self.weights, self.recipe.label_smoothing)

    def _out_of_memory(self, piece: Batch) -> SenetError:
        """Return the error that names how many images would fit."""
        self.optimiser.zero_grad(set_to_none=True)
        fits = None
        if not self.network.sharded and not (self.recipe.sync_norm and self.processes.count > 1):
            # On its own: the other processes take no part in this.
            self.network.forward = self.network.model
            fits = largest_that_fits(partial(self._try, piece), len(piece.labels), self.device)
            self.optimiser.zero_grad(set_to_none=True)
        return out_of_memory(self.recipe, len(piece.labels), fits, self.device, self.processes.count)

    def _try(self, piece: Batch, count: int) -> None:
        first = self.normalise(piece.images[:count])
        with self.autocast:
            scores = self.network.forward(first)
        scores.float().sum().backward()  # type: ignore[no-untyped-call]

    def _norm(self, wanted: bool) -> Tensor | None:
        if not wanted and not self.recipe.clip_norm:
            return None
        self.scaler.unscale_(self.optimiser)
        return gradient_norm(self.network.model, self.recipe.clip_norm)

    def _forget_gradients_of_norms(self) -> None:
        # Without a gradient, neither momentum nor weight decay moves a parameter.
        for norm in self.network.norms:
            for parameter in norm.parameters():
                parameter.grad = None

    def seed_generator(self, seed: int) -> None:
        """Seed the device's generator; torch.manual_seed would seed all and costs a hundred times more."""
        if self.device.type == "cuda":
            index = self.device.index if self.device.index is not None else torch.cuda.current_device()
            torch.cuda.default_generators[index].manual_seed(seed)
        else:
            torch.default_generator.manual_seed(seed)
