"""SGD as the recipe wants it, and what protects a step: clipping and loss scaling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from senet.training.recipe import FittedRecipe, Precision, Recipe
from senet.training.state import gathered

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def make_optimiser(model: nn.Module, recipe: FittedRecipe) -> torch.optim.SGD:
    """Return SGD on all parameters; with ``decay_norm`` off, vectors (biases, normalisation) do not decay."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not recipe.decay_norm:
        groups = [
            {"params": [each for each in parameters if each.ndim > 1]},
            {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
        ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def make_autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Return what surrounds the forward."""
    enabled = recipe.precision != "fp32"
    return torch.autocast(
        device.type, DTYPES[recipe.precision] if enabled else torch.bfloat16, enabled=enabled
    )


def make_scaler(recipe: FittedRecipe, device: torch.device) -> torch.amp.GradScaler:
    """Return what scales the loss, so that small gradients are not lost in fp16."""
    return torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")


def gradient_norm(model: nn.Module, largest: float) -> Tensor:
    """Return the norm of all gradients, after scaling them down to ``largest`` where that is above 0."""
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    norm: Tensor = gathered(torch.nn.utils.get_total_norm(gradients))
    if largest > 0:
        torch.nn.utils.clip_grads_with_norm_(list(model.parameters()), largest, norm)
    return norm
