"""The weights that a training starts from, instead of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.foreign_start import PRETRAINED, checksum_of, open_at_start, open_foreign_start
from senet.experiments.run_folder import read_settings
from senet.experiments.twins import seeded
from senet.files import user_path
from senet.networks.build import build_network
from senet.networks.foreign import is_foreign
from senet.networks.network import Network
from senet.networks.preprocess import Preprocess
from senet.networks.specs import NetworkSpec
from senet.networks.zoo import network_spec
from senet.randomness import seed_from
from senet.training.loop import CHECKPOINT_NAME
from senet.weights.checkpoint import Checkpoint
from senet.weights.find import find_checkpoint
from senet.weights.fit import Fitted
from senet.weights.identify import fit_or_refuse
from senet.weights.load import fill
from senet.weights.own import restored_options, to_options


class Start(Protocol):
    """Weights that fit the network to be trained.

    Attributes:
        se: the SE blocks of the twin as these weights start it, or ``None`` where there is no twin.
        mean: of each channel, 0 to 1, that the weights were trained with; ``None`` where nobody tells.
        std: of each channel.
    """

    @property
    def se(self) -> SEConfig | None:
        """The twin's SE blocks."""

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Of each channel, 0 to 1."""

    @property
    def std(self) -> tuple[float, ...] | None:
        """Of each channel."""

    def networks(self, seed: int) -> tuple[nn.Module, ...]:
        """Return the plain network and, where there is SE, its twin, both started from the weights.

        What the weights have nothing for, such as a classifier of other classes, gets this seed's initial
        values, the same in both.
        """

    def identity(self) -> dict[str, Any]:
        """Return what decides a training that starts from the weights, as plain values."""

    def facts(self) -> str:
        """Return what came from the weights and what is new, as text."""


@dataclass(frozen=True, kw_only=True)
class StartWeights:
    """A checkpoint that fits one of senet's networks: a `Start`.

    Attributes:
        fitted: the checkpoint, checked.
        checkpoint: what was read.
        classes: of the images.
        channels: of the images.
        mean: as `Start` says.
        std: likewise.
    """

    fitted: Fitted
    checkpoint: Checkpoint
    classes: int
    channels: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @property
    def se(self) -> SEConfig | None:
        """The SE blocks of the twin."""
        return self.fitted.spec.se

    def networks(self, seed: int) -> tuple[Network, ...]:
        """Return the networks, as `Start` says."""
        spec = replace(self.fitted.spec, num_classes=self.classes, in_channels=self.channels)
        with seeded(seed_from("initial values", seed)):
            plain = build_network(replace(spec, se=None))
            fill(plain, self.fitted, self.checkpoint)
            if spec.se is None:
                return (plain,)
            twin = build_network(spec)
            fill(twin, self.fitted, self.checkpoint)
        twin.load_state_dict(plain.state_dict(), strict=False)
        return plain, twin

    def identity(self) -> dict[str, Any]:
        """Return the checksum of the tensors, and the network's options."""
        return {
            "checksum": checksum_of(self.checkpoint.state),
            "options": to_options(self.fitted.spec),
            "mean": self.mean,
            "std": self.std,
        }

    def facts(self) -> str:
        """Return what came from the checkpoint and what is new, as text."""
        report = self.networks(seed=0)[-1].loaded
        return "" if report is None else report.sentences


def open_start(
    weights: str | Path,
    name: str,
    se: SEConfig | None,
    *,
    given: SEConfig | Mapping[str, Any] | None = None,
    classes: int,
    channels: int,
) -> Start:
    """Read weights to start from, and look whether they fit.

    Args:
        weights: a file, a released checkpoint, a repository of the Hub, a run folder, or ``"pretrained"`` for
            those that another package released for a network of its own.
        name: of the plain network.
        se: the twin's SE blocks, or ``None`` for the plain network.
        given: what of them a user chose. The rest is the checkpoint's; where that has none, every gate
            starts at exactly 1 unless ``gate`` or ``start`` is chosen.
        classes: of the images.
        channels: of the images.

    Raises:
        SenetError: the weights cannot be had or read, or are another network's.
    """
    path = user_path(weights)
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (path / CHECKPOINT_NAME).is_file():
        weights = path / CHECKPOINT_NAME
    if is_foreign(name):
        return open_foreign_start(
            weights, name, se, given=given, classes=classes, channels=channels, stored=_images_of(folder)
        )
    if weights == PRETRAINED and not path.exists():
        raise SenetError(
            f"pretrained is only for networks of timm, torchvision and pytorchcv: for {name}, give "
            "weights, one of senet.list_weights() or a file."
        )
    spec = replace(network_spec(name), se=se, num_classes=classes, in_channels=channels)
    checkpoint = find_checkpoint(weights, spec.name if se is None else spec.se_name)
    fitted = _fitted(checkpoint, spec, given)
    mean, std = _normalisation(fitted, checkpoint, folder, channels)
    return StartWeights(
        fitted=fitted, checkpoint=checkpoint, classes=classes, channels=channels, mean=mean, std=std
    )


def _fitted(checkpoint: Checkpoint, spec: NetworkSpec, given: SEConfig | Mapping[str, Any] | None) -> Fitted:
    fitted = fit_or_refuse(checkpoint, spec, needs_classifier=False)
    if spec.se is None or not given:
        return fitted
    if not fitted.is_plain or isinstance(given, SEConfig):
        return fit_or_refuse(checkpoint, spec, se_chosen=True, needs_classifier=False)
    se = open_at_start(spec.se, given)
    changes = fitted.changes
    if se.start != "identity":
        changes = (*(each for each in changes if "every gate is exactly 1" not in each),)
        changes = (*changes, "The SE blocks are new and change what the network computes.")
    return replace(fitted, spec=replace(fitted.spec, se=se), is_plain=se.start == "identity", changes=changes)


def network_of_options(
    name: str, options: Mapping[str, Any], se: SEConfig | None, *, classes: int, channels: int
) -> tuple[Network, ...]:
    """Return the plain network and its twin as weights with these options needed them, with fresh values.

    Args:
        name: of the plain network.
        options: what `StartWeights.identity` tells.
        se: the twin's SE blocks, or ``None`` for no twin.
        classes: number of classes.
        channels: of the images.
    """
    spec = replace(restored_options(name, options), num_classes=classes, in_channels=channels)
    with torch.random.fork_rng(devices=[]):
        kinds = (None,) if se is None else (None, se)
        return tuple(build_network(replace(spec, se=each)) for each in kinds)


def _images_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run folder, or that of one of its trainings, tells about its images."""
    stored = (read_settings(folder) or read_settings(folder.parent)) if folder.is_dir() else None
    images: dict[str, Any] | None = (stored or {}).get("images")
    return images


def _normalisation(
    fitted: Fitted, checkpoint: Checkpoint, folder: Path, channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std that the weights are used to, 0 to 1."""
    images = _images_of(folder)
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
            f"{checkpoint.source} expects channels in the order {preprocess.channel_order}, which senet "
            "cannot train with: choose other weights."
        )
    preprocess = preprocess.with_channels(channels)
    full = 1 if preprocess.scale == "0..1" else 255
    return tuple(each / full for each in preprocess.mean), tuple(each / full for each in preprocess.std)
