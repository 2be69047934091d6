"""A training that a test can afford: 96 images of 8×8 pixels, 3 classes, a thousand parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from senet.data.source import ArraySource
from senet.training.images import TrainingImages, prepare_images
from senet.training.loop import TrainingResult, train
from senet.training.recipe import FittedRecipe

CLASSES = ("a", "b", "c")


def small_source(
    count: int = 96, seed: int = 0, side: int = 8, classes: tuple[str, ...] = CLASSES
) -> ArraySource:
    """Noise whose brightness tells the class, faintly."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    noise = random.integers(0, 120, (count, side, side, 1))
    return ArraySource(
        (noise + 60 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8), labels, classes
    )


def small_recipe(**changes: object) -> FittedRecipe:
    settings: dict[str, object] = {
        "epochs": 3,
        "batch_size": 16,
        "image_size": 8,
        "crop": "pad",
        "learning_rate": 0.05,
        "weight_decay": 5e-4,
        "warmup_epochs": 0.5,
    }
    return FittedRecipe(**{**settings, **changes})  # type: ignore[arg-type]


def small_images(recipe: FittedRecipe, seed: int = 0, workers: int = 0) -> TrainingImages:
    return prepare_images(
        small_source(),
        small_source(30, seed=1),
        recipe,
        channels=1,
        mean=(0.4,),
        std=(0.2,),
        seed=seed,
        workers=workers,
    )


def small_network(seed: int = 0) -> nn.Module:
    """Has everything whose state must survive: BatchNorm statistics, dropout, momentum."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )


def small_train(
    folder: Path, recipe: FittedRecipe | None = None, **options: object
) -> tuple[nn.Module, TrainingResult]:
    recipe = recipe or small_recipe()
    network = small_network()
    settings: dict[str, object] = {"seed": 0, "folder": folder, "device": torch.device("cpu"), **options}
    result = train(network, small_images(recipe), recipe, **settings)  # type: ignore[arg-type]
    return network, result


def same_state(first: nn.Module, second: nn.Module) -> bool:
    """Tell whether two modules hold the same bits."""
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(name == other and torch.equal(value, twin) for (name, value), (other, twin) in pairs)


def small_photos(root: Path, count: int = 60) -> Path:
    """Write a folder as a user has it: three classes, no split, 12×12 pixels."""
    source = small_source(count, side=12, classes=("cat", "dog", "owl"))
    for index in range(count):
        folder = root / source.classes[source.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        source.read(index).save(folder / f"{index}.png")
    return root
