"""Networks that benchmarks train first: on a CPU, with seed 0."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import senet
from senet.experiments.images import ReadyImages, ready_images
from senet.training.images import TrainingImages
from senet.training.loop import TrainingResult, train
from senet.training.progress import TrainingProgress
from senet.training.recipe import Recipe

CPU = torch.device("cpu")


class Trained(NamedTuple):
    """A trained network, the images it was trained on, and the loaders that read them."""

    model: nn.Module
    ready: ReadyImages
    images: TrainingImages


def train_new(data: str | None, name: str, *, epochs: int, batch_size: int) -> Trained:
    """Train a network of senet's from the beginning.

    Args:
        data: images as for `senet train`, or ``None`` for the embedded ones.
        name: of the network.
        epochs: of the training.
        batch_size: images per step.
    """
    recipe = Recipe(epochs=epochs, batch_size=batch_size)
    ready = ready_images(data, recipe, test_fraction=None, workers=0, progress=None)
    torch.manual_seed(0)
    model = senet.create_model(name, num_classes=len(ready.classes), in_channels=ready.checked.channels)
    images = ready.loaders(seed=0, workers=0)
    train_in_passing(model, images, ready.recipe, seed=0)
    return Trained(model, ready, images)


def train_in_passing(
    model: nn.Module,
    images: TrainingImages,
    recipe: Recipe,
    *,
    seed: int,
    progress: TrainingProgress | None = None,
) -> TrainingResult:
    """Train ``model`` in a run folder that is not kept, and return what the engine returns."""
    with tempfile.TemporaryDirectory() as folder:
        return train(model, images, recipe, seed=seed, folder=Path(folder), device=CPU, progress=progress)


def parser(description: str | None, out: Path, model: str, epochs: int) -> argparse.ArgumentParser:
    """Return the options that these benchmarks have in common."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("data", nargs="?", help="images as for `senet train` (default: the embedded ones)")
    made.add_argument("--model", default=model, help=f"network (default: {model})")
    made.add_argument("--epochs", type=int, default=epochs, help=f"of the training (default: {epochs})")
    made.add_argument("--out", type=Path, default=out, help="the file to write")
    return made
