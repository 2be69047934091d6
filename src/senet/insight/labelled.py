"""Labelled images from whatever a user iterates over, checked and brought to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from senet.errors import SenetError
from senet.text import counted

_GIVE = "give for example a torch.utils.data.DataLoader that yields (images, labels)"


class LabelledImages:
    """The same pairs of images and labels in every pass, on a model's device and in its type.

    Args:
        loader: yields pairs of images (N, C, H, W) and class indices (N,) each time it is iterated over, in
            any order. Images of integers stay integers.
        model: gives the device, and the type of floating-point images.

    Raises:
        SenetError: the loader can be iterated over once only or not at all. While iterating: it yields
            something else, nothing, or other images than in the first pass, or it fails.
    """

    def __init__(self, loader: Iterable[Any], model: nn.Module) -> None:
        if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
            raise SenetError(f"A {type(loader).__name__} cannot be iterated over: {_GIVE}.")
        if hasattr(loader, "__next__"):
            raise SenetError(
                f"A {type(loader).__name__} can only be iterated over once, but the images are needed "
                f"several times: {_GIVE}."
            )
        tensors = (each for each in model.parameters() if each.is_floating_point())
        first = next(tensors, torch.empty(0))
        self._loader, self._device, self._dtype = loader, first.device, first.dtype
        self._seen: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of one pass."""
        seen = torch.zeros(4, dtype=torch.float64)
        for index, batch in enumerate(self._batches()):
            images, labels = _pair(batch, index)
            seen += _fingerprint(images, labels)
            dtype = self._dtype if images.is_floating_point() else images.dtype
            yield images.to(self._device, dtype), labels.to(self._device, torch.long)
        self._compare(seen)

    def first(self) -> Tensor:
        """Return the images of one batch."""
        return next(iter(self))[0]

    def _batches(self) -> Iterator[Any]:
        try:
            yield from self._loader
        except Exception as error:
            text = (str(error) or type(error).__name__).splitlines()[0]
            raise SenetError(f"The {type(self._loader).__name__} of images failed: {text}") from error

    def _compare(self, seen: Tensor) -> None:
        """Refuse a pass without images, or with others than before: their scores could not be compared."""
        if seen[0] == 0:
            raise SenetError(f"The {type(self._loader).__name__} yields no images: {_GIVE}.")
        if self._seen is None:
            self._seen = seen
        if not torch.allclose(seen, self._seen, rtol=1e-9, atol=1e-6, equal_nan=True):
            raise SenetError(
                f"The {type(self._loader).__name__} yields different images in every pass: leave out random "
                "augmentation and drop_last, so that errors can be compared."
            )


def _pair(batch: Any, index: int) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = f"{counted(len(batch), 'item')}" if isinstance(batch, tuple | list) else type(batch).__name__
        raise SenetError(f"Batch {index} is {what}, not a pair of images and labels: {_GIVE}.")
    images, labels = batch
    for each in (images, labels):
        if not isinstance(each, Tensor):
            raise SenetError(
                f"Batch {index} holds a {type(each).__name__}, not tensors of images and labels: {_GIVE}."
            )
    if labels.dim() != 1 or labels.is_floating_point() or images.dim() < 2 or len(images) != len(labels):
        kind = str(labels.dtype).removeprefix("torch.")
        raise SenetError(
            f"Batch {index} has images of shape {tuple(images.shape)} and {kind} labels of shape "
            f"{tuple(labels.shape)}: give one class index for each image."
        )
    return images, labels


def _fingerprint(images: Tensor, labels: Tensor) -> Tensor:
    """Return sums that tell images apart, whatever their order."""
    flat = images.detach().flatten(1)
    flat = (flat if flat.device.type in ("cpu", "cuda") else flat.cpu()).double()  # MPS has no float64
    each = flat.mean(1)
    sums = (each.sum(), (each * labels.to(each.device)).sum(), flat.square().mean(1).sum())
    return torch.tensor([len(images), *(total.item() for total in sums)], dtype=torch.float64)
