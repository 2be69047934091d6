"""The images of one training, ready for the loop: loaders and normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from senet.data.loader import ImageLoader, make_loader
from senet.data.part import Part
from senet.data.source import ImageSource
from senet.data.transforms import EvalTransform, TrainTransform
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import Provenance
from senet.training.recipe import FittedRecipe, Recipe
from senet.training.sizes import first_sizes


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """What a training reads.

    Attributes:
        train: training batches, in an order that depends on seed and epoch only.
        test: test batches, always in the same order.
        mean: of each channel, in units of the full range 0 to 1.
        std: of each channel, in the same units.
    """

    train: ImageLoader
    test: ImageLoader
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def close(self) -> None:
        """End the processes that load."""
        self.train.close()
        self.test.close()


def prepare_images(
    train: ImageSource,
    test: ImageSource,
    recipe: FittedRecipe,
    *,
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
    workers: int,
    process: int = 0,
    processes: int = 1,
) -> TrainingImages:
    """Return the loaders that ``recipe`` asks for.

    Args:
        train: training images.
        test: test images.
        recipe: with ``crop`` and ``image_size`` chosen, not automatic.
        channels: 1 or 3.
        mean: of each channel, 0 to 1.
        std: of each channel, 0 to 1.
        seed: decides order and augmentation.
        workers: processes that decode and augment; 0 does it in this process.
        process: number of this process among those that share the training, from 0.
        processes: how many share it.
    """
    assert recipe.crop != "auto", "choose the crop first"
    return TrainingImages(
        train=make_loader(
            train,
            train_transform(recipe, channels, mean),
            batch_size=recipe.batch_size,
            seed=seed,
            workers=workers,
            train=True,
            part=Part(process=process, processes=processes, accumulate=recipe.accumulate),
            sampling=recipe.sampling,
            repeats=recipe.repeats,
        ),
        test=make_loader(
            test,
            test_transform(recipe, channels),
            batch_size=test_batch(recipe),
            seed=seed,
            workers=workers,
            train=False,
            part=Part(process=process, processes=processes),
        ),
        mean=mean,
        std=std,
    )


def train_transform(recipe: FittedRecipe, channels: int, mean: tuple[float, ...]) -> TrainTransform:
    """Return what is done to training images; ``mean``, 0 to 1, fills what lies outside of an image."""
    assert recipe.crop != "auto", "choose the crop first"
    return TrainTransform(
        size=recipe.image_size,
        channels=channels,
        crop=recipe.crop,
        sizes=first_sizes(recipe),
        least_area=recipe.least_area,
        flip=recipe.flip,
        erasing=recipe.erasing,
        cutout=recipe.cutout,
        rotation=recipe.rotation,
        jitter=recipe.jitter,
        randaugment=recipe.randaugment,
        randaugment_layers=recipe.randaugment_layers,
        fill=tuple(round(value * 255) for value in mean),
    )


def test_transform(recipe: Recipe, channels: int) -> EvalTransform:
    """Return what is done to test images."""
    assert recipe.crop != "auto", "choose the crop first"
    return EvalTransform(
        size=recipe.image_size, channels=channels, crop=recipe.crop, resize=recipe.test_resize
    )


def test_batch(recipe: FittedRecipe) -> int:
    """Return how many test images are looked at together, whatever the number of processes is."""
    return min(max(recipe.batch_size // recipe.accumulate, 64), 256)


def provenance_of_training(
    recipe: FittedRecipe,
    *,
    classes: Sequence[str],
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    data: str | None,
    test_fraction: float | None,
    levels: tuple[int, int] | None = None,
    test_images: str = "",
) -> Provenance:
    """Return what belongs to the network that a training leaves besides its weights.

    Args:
        recipe: fitted to the images.
        classes: in the order of the outputs.
        channels: of the images.
        mean: of each channel, 0 to 1.
        std: of each channel.
        data: where the images are, to be found from every working folder; ``None`` for the embedded ones.
        test_fraction: that was asked for.
        levels: of 16-bit greyscale, what was black and what was white.
        test_images: digest of those that were chosen at random, else ``""``.
    """
    return Provenance(
        preprocess=Preprocess(
            crop=recipe.image_size,
            resize=test_transform(recipe, channels).shorter_side,
            channels=channels,
            mean=tuple(mean),
            std=tuple(std),
            transform="senet",
            levels=levels,
        ),
        classes=tuple(classes),
        precision=recipe.precision,
        batch=test_batch(recipe),
        data=data,
        test_fraction=None if test_fraction is None else float(test_fraction),
        test_images=test_images,
    )


class Normalise:
    """Bytes (N, C, H, W) to floats of mean 0 and standard deviation 1, on the training device."""

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        *,
        channels_last: bool = True,
    ) -> None:
        self.device = device
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1) * 255
        self.factor = 1 / (torch.tensor(std, device=device).view(1, -1, 1, 1) * 255)

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 images on the device."""
        moved = images.to(self.device, non_blocking=True)
        floats = moved.to(torch.float32, memory_format=self.layout)
        return floats.sub_(self.mean).mul_(self.factor)
