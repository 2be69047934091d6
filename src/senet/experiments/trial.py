"""Looks whether a network that somebody else built can be trained, and be one of twins."""

from __future__ import annotations

import copy
import hashlib
import random
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from senet.errors import SenetError
from senet.experiments.twins import seeded
from senet.networks.factory import said
from senet.networks.foreign import create_foreign
from senet.text import counted

_ONE_TENSOR = "senet trains networks that return one tensor of scores, (images, classes)"


def try_foreign(
    name: str, networks: tuple[nn.Module, ...], again: nn.Module, *, classes: int, shape: tuple[int, int, int]
) -> None:
    """Run foreign networks once in training and once in evaluation; they stay as they were.

    Args:
        name: of the plain network.
        networks: the plain network and, where there is one, its twin.
        again: the plain network, built a second time with the same seed.
        classes: of the images.
        shape: (channels, height, width) of the images.

    Raises:
        SenetError: a network cannot be trained on these images, or two that were built with the same seed
            are one network or differ.
    """
    for network in networks:
        _check_parameters(name, network)
    _check_built_anew(name, networks[0], again)
    for network in networks:
        for training in (True, False):
            _check_scores(name, scores_of(name, network, shape, training), classes, training)


def same_for_all_seeds(name: str, *, classes: int, channels: int) -> bool:
    """Tell whether a foreign network starts from the same values whatever the seed is.

    So does one that loads weights. A factory that seeds a generator itself is refused: it leaves the
    generator in the same state whatever the seed was.

    Raises:
        SenetError: the factory seeds a generator itself.
    """
    networks, left = [], []
    for seed in (0, 1):
        with seeded(seed):
            networks.append(create_foreign(name, num_classes=classes, in_channels=channels))
            numbers = np.random.get_state(legacy=False)["state"]
            left.append((torch.random.get_rng_state().tolist(), random.getstate(), repr(numbers)))
    first, second = (each.state_dict().items() for each in networks)
    if not all(_same(one, other) for (_, one), (_, other) in zip(first, second, strict=False)):
        return False
    for generator, one, other in zip(("torch", "random", "numpy"), *left, strict=True):
        if one == other:
            raise SenetError(
                f"{name} seeds {generator} itself, so it has the same initial weights for every seed: "
                "remove the seeding, since senet seeds it."
            )
    return True


def structure(model: nn.Module) -> str:
    """Return a fingerprint of a network's modules and of what is in its state dict, values apart."""
    digest = hashlib.blake2b(digest_size=12)
    for name, module in model.named_modules():
        # A function that a module shows has an address, which differs from run to run.
        settings = re.sub(r"0x[0-9a-f]+", "", module.extra_repr())
        digest.update(f"{name} {type(module).__qualname__} {settings}\n".encode())
    for key, value in model.state_dict().items():
        digest.update(f"{key} {tuple(value.shape) if isinstance(value, Tensor) else type(value)}\n".encode())
    return digest.hexdigest()


def _check_parameters(name: str, model: nn.Module) -> None:
    parameters = list(model.parameters())
    if any(map(is_lazy, (*parameters, *model.buffers()))):
        raise SenetError(f"{name} has lazy layers: let the factory run it once on an image.")
    if not any(each.requires_grad for each in parameters):
        raise SenetError(f"{name} has no parameter that requires a gradient: there is nothing to train.")


def _check_built_anew(name: str, first: nn.Module, again: nn.Module) -> None:
    shared = {id(each) for each in first.parameters()} & {id(each) for each in again.parameters()}
    if shared:
        raise SenetError(f"{name} returns the same parameters each time: let it build a new network.")
    pairs = zip(first.state_dict().items(), again.state_dict().items(), strict=False)
    if structure(first) != structure(again) or not all(_same(one, other) for (_, one), (_, other) in pairs):
        raise SenetError(
            f"{name} built two different networks from one seed: draw initial values from torch, numpy or "
            "random, without seeding these."
        )


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return True  # what modules keep besides tensors is theirs
    return torch.equal(one, other) or bool(torch.allclose(one, other, rtol=0, atol=0, equal_nan=True))


def scores_of(
    name: str, model: nn.Module, shape: tuple[int, int, int], training: bool, images: int = 2
) -> Any:
    """Return what a copy of ``model`` returns for so many images: on the meta device if it can run there.

    Raises:
        SenetError: it cannot run on images of ``shape``, (channels, height, width).
    """
    error: Exception
    for device in ("meta", None):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                probe = copy.deepcopy(model).train(training)
                probe = probe if device is None else probe.to(device)
                return probe(torch.zeros(images, *shape, device=device or next(model.parameters()).device))
            except Exception as failure:  # noqa: BLE001 - it is reported below; whatever a forward may raise
                error = failure
    channels, height, width = shape
    mode = "training" if training else "evaluation"
    raise SenetError(
        f"{name} cannot run in {mode} on images of {height}×{width} pixels and "
        f"{counted(channels, 'channel')}: {said(error)}. Another size is set with image_size "
        "(--image-size), and a factory receives the channels as a keyword in_channels or in_chans."
    ) from error


def count_outputs(name: str, model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return how many scores a network puts out for each image in evaluation.

    Args:
        name: of the network.
        model: it stays as it was.
        shape: (channels, height, width) of the images.

    Raises:
        SenetError: it cannot run on such images, or returns something else than one tensor of scores.
    """
    scores = scores_of(name, model, shape, training=False)
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != 2:
        returned = (
            f"a tensor of {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        )
        raise SenetError(
            f"{name} must return one tensor of scores, (images, classes), not {returned} for 2 images."
        )
    return int(scores.shape[1])


def _check_scores(name: str, scores: Any, classes: int, training: bool) -> None:
    mode = "training" if training else "evaluation"
    if not isinstance(scores, Tensor):
        raise SenetError(
            f"{name} returns a {type(scores).__name__} in {mode}, but {_ONE_TENSOR}: name a factory that "
            "returns such a network."
        )
    if scores.shape == (2, classes):
        return
    if scores.dim() == 2 and len(scores) == 2:
        raise SenetError(
            f"{name} returns {counted(scores.shape[1], 'score')} per image, but the images have "
            f"{counted(classes, 'class')}: give the factory a keyword num_classes that sets the outputs "
            "of its last layer."
        )
    raise SenetError(
        f"{name} returns a tensor of {tuple(scores.shape)} for 2 images in {mode}, but {_ONE_TENSOR}."
    )
