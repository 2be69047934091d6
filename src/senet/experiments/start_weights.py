"""The weights that a training starts from, instead of random ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.run_folder import read_settings
from senet.experiments.twins import seeded
from senet.networks.build import build_network
from senet.networks.foreign import is_foreign
from senet.networks.network import Network
from senet.networks.preprocess import Preprocess
from senet.networks.zoo import network_spec
from senet.randomness import seed_from
from senet.training.loop import CHECKPOINT_NAME
from senet.weights.checkpoint import Checkpoint
from senet.weights.find import find_checkpoint
from senet.weights.fit import Fitted
from senet.weights.identify import fit_or_refuse
from senet.weights.load import fill
from senet.weights.own import restored_options, to_options


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """A checkpoint that fits the network to be trained.

    Attributes:
        fitted: the checkpoint, checked.
        checkpoint: what was read.
        classes: of the images.
        channels: of the images.
        mean: of each channel, 0 to 1, that the weights were trained with; ``None`` where nobody tells.
        std: of each channel.
    """

    fitted: Fitted
    checkpoint: Checkpoint
    classes: int
    channels: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def se(self) -> SEConfig | None:
        """The SE blocks of the network that the weights fit."""
        return self.fitted.spec.se

    def network(self, seed: int) -> Network:
        """Return the network; what the checkpoint has nothing for gets this seed's initial values."""
        spec = replace(self.fitted.spec, num_classes=self.classes, in_channels=self.channels)
        with seeded(seed_from("initial values", seed)):
            network = build_network(spec)
            fill(network, self.fitted, self.checkpoint)
        return network

    def identity(self) -> dict[str, Any]:
        """Return what decides the training: the checksum of the tensors, and the network's options."""
        return {
            "checksum": _checksum(self.checkpoint.state),
            "options": to_options(self.fitted.spec),
            "mean": self.mean,
            "std": self.std,
        }

    def facts(self) -> str:
        """Return what came from the checkpoint and what is new, as text."""
        return str(self.network(seed=0).loaded)


def open_start(
    weights: str | Path, name: str, se: SEConfig | None, *, se_chosen: bool, classes: int, channels: int
) -> StartWeights:
    """Read weights to start from, and look whether they fit.

    Args:
        weights: a file, a released checkpoint, a repository of the Hub, or a run folder.
        name: of the plain network.
        se: the twin's SE blocks, or ``None`` for the plain network.
        se_chosen: whether they were asked for, and so must be the checkpoint's.
        classes: of the images.
        channels: of the images.

    Raises:
        SenetError: the weights cannot be had or read, or are another network's.
    """
    if is_foreign(name):
        raise SenetError(
            f"weights are for senet's own networks, and {name} is not one: name a factory "
            "(package.module:factory) that returns the network with its weights."
        )
    path = Path(weights).expanduser()
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (path / CHECKPOINT_NAME).is_file():
        weights = path / CHECKPOINT_NAME
    spec = replace(network_spec(name), se=se, num_classes=classes, in_channels=channels)
    checkpoint = find_checkpoint(weights, spec.name if se is None else spec.se_name)
    fitted = fit_or_refuse(checkpoint, spec, se_chosen=se_chosen, needs_classifier=False)
    mean, std = _normalisation(fitted, checkpoint, folder, channels)
    return StartWeights(
        fitted=fitted, checkpoint=checkpoint, classes=classes, channels=channels, mean=mean, std=std
    )


def network_of_options(
    name: str, options: Mapping[str, Any], se: SEConfig | None, *, classes: int, channels: int
) -> Network:
    """Return a network as weights with these options needed it, with fresh values.

    Args:
        name: of the plain network.
        options: what `StartWeights.identity` tells.
        se: its SE blocks.
        classes: number of classes.
        channels: of the images.
    """
    spec = restored_options(name, options)
    with torch.random.fork_rng(devices=[]):
        return build_network(replace(spec, se=se, num_classes=classes, in_channels=channels))


def _normalisation(
    fitted: Fitted, checkpoint: Checkpoint, folder: Path, channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std that the weights are used to, 0 to 1."""
    stored = (read_settings(folder) or read_settings(folder.parent)) if folder.is_dir() else None
    images = (stored or {}).get("images")
    if checkpoint.package is None and images:
        preprocess = Preprocess(
            channels=images["channels"], mean=tuple(images["mean"]), std=tuple(images["std"])
        )
    elif checkpoint.own and checkpoint.preprocess is None:
        return None, None
    elif checkpoint.own and any("mean and std" in note for note in checkpoint.notes):
        return None, None  # a checkpoint of senet's training, away from its settings
    else:
        preprocess = fitted.preprocess
    if preprocess.channel_order != "RGB":
        raise SenetError(
            f"{checkpoint.source} takes images whose channels are in the order {preprocess.channel_order}, "
            "which senet does not train: choose other weights."
        )
    preprocess = preprocess.with_channels(channels)
    full = 1 if preprocess.scale == "0..1" else 255
    return tuple(each / full for each in preprocess.mean), tuple(each / full for each in preprocess.std)


def _checksum(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()
