"""Weights into a network: all of them, or none and a sentence on why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.networks.network import Network
from senet.text import counted
from senet.weights.checkpoint import Checkpoint
from senet.weights.find import find_checkpoint
from senet.weights.fit import Fitted, other_options
from senet.weights.identify import fit_or_refuse
from senet.weights.own import spec_name
from senet.weights.report import LoadReport
from senet.weights.shapes import COUNTER, first_convolution


def load_weights(model: nn.Module, weights: str | Path) -> LoadReport:
    """Load weights into a network that exists; nothing of it changes unless everything fits.

    Args:
        model: a senet network, also within DataParallel or compiled.
        weights: as for `senet.create_model`.

    Returns:
        What was loaded, also as ``model.loaded``. ``model.preprocess`` and ``model.classes`` become those of
        the checkpoint.
        A classifier of another number of classes keeps its values, and new SE blocks with the gate
        double_sigmoid get gates of exactly 1.

    Raises:
        SenetError: the model is not senet's, the weights cannot be had, or do not fit.
    """
    network = senet_network(model, "load_weights")
    checkpoint = find_checkpoint(weights, spec_name(network.spec))
    fitted = fit_or_refuse(checkpoint, network.spec, se_chosen=True, needs_classifier=False)
    different = other_options(fitted.spec, network.spec)
    if different:
        name = different[0]
        raise SenetError(
            f"{checkpoint.source} needs {name}={getattr(fitted.spec, name)!r}, but this network has "
            f"{getattr(network.spec, name)!r}: build it with "
            f"senet.create_model({spec_name(network.spec)!r}, weights=...)."
        )
    return fill(network, fitted, checkpoint)


def senet_network(model: nn.Module, function: str) -> Network:
    """Return the senet network within whatever torch has wrapped around it.

    Raises:
        SenetError: there is none, or it has no memory yet.
    """
    inner: object = model
    while isinstance(inner, nn.Module) and not isinstance(inner, Network):
        # torch.compile; DataParallel and its distributed kin.
        inner = getattr(inner, "_orig_mod", getattr(inner, "module", None))
    if not isinstance(inner, Network):
        raise SenetError(f"{function} needs a network of senet.create_model, not a {type(model).__name__}.")
    if any(tensor.is_meta for tensor in inner.state_dict().values()):
        raise SenetError(
            f"{function} needs a network with allocated memory, not one on the meta device: build it on "
            "another device."
        )
    return inner


@dataclass(frozen=True)
class _Transfer:
    """What goes into a network: tensors by its keys, keys that stay as they are, and sentences."""

    values: Mapping[str, Tensor]
    new: tuple[str, ...]
    changes: tuple[str, ...]


def fill(network: Network, fitted: Fitted, checkpoint: Checkpoint) -> LoadReport:
    """Copy a checkpoint that fits into a network of its kind, and set ``preprocess`` and ``loaded``.

    Args:
        network: as ``fitted.spec``, but for the numbers of classes and channels and its head.
        fitted: the checkpoint, checked.
        checkpoint: what was read.
    """
    transfer = _transfer(network, fitted)
    target = network.state_dict()
    with torch.no_grad():
        for key, value in transfer.values.items():
            target[key].copy_(value)
        if fitted.is_plain:
            _open_gates(network)
    classifier = network.classifier_name
    has_scores = classifier is not None and f"{classifier}.weight" in transfer.values
    unused = [fitted.names[key] for key in fitted.state if key not in transfer.values]
    preprocess = fitted.preprocess.with_channels(network.in_channels)
    network.preprocess = preprocess if has_scores else replace(preprocess, labels=None)
    network.classes = checkpoint.classes if has_scores else None
    network.provenance = checkpoint.provenance if has_scores else None
    network.loaded = LoadReport(
        source=checkpoint.source,
        package=fitted.package,
        network=spec_name(network.spec),
        loaded=len(transfer.values),
        new=transfer.new,
        dropped=(*unused, *fitted.dropped),
        changes=(*fitted.changes, *transfer.changes),
        assumed=fitted.assumed,
        classes=network.classes,
    )
    report: LoadReport = network.loaded
    return report


def _transfer(network: Network, fitted: Fitted) -> _Transfer:
    """Decide about each tensor of the network."""
    classifier, stem = network.classifier_name, first_convolution(network)
    there, here = fitted.spec, network.spec
    changes = []
    values: dict[str, Tensor] = {}
    new = []
    for key in network.state_dict():
        is_score = classifier is not None and key.startswith(f"{classifier}.")
        if key not in fitted.state or (is_score and there.num_classes != here.num_classes):
            if not key.endswith(COUNTER):
                new.append(key)
        elif key == f"{stem}.weight":
            values[key] = for_channels(fitted.state[key], here.in_channels)
        else:
            values[key] = fitted.state[key]
    if classifier is not None and f"{classifier}.weight" in new:
        there_are = f"has {there.num_classes}" if there.num_classes else "has no classifier"
        changes.append(
            f"The classifier for {counted(here.num_classes, 'class')} is new, because the checkpoint "
            f"{there_are}."
        )
    if there.in_channels != here.in_channels:
        how = "summed" if here.in_channels == 1 else "repeated and scaled"
        changes.append(
            f"The first convolution's weights for {counted(there.in_channels, 'channel')} are {how} for "
            f"images with {here.in_channels}."
        )
    return _Transfer(values, tuple(new), tuple(changes))


def for_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution's weights, (O, C, h, w), for images of another number of channels.

    One channel gets the sum over C; more repeat the C there are in turn, scaled by C over their
    number, so that a map of equal channels gives the sums it gave before. timm does the same.
    """
    present = weight.shape[1]
    if channels == present:
        return weight
    if channels == 1:
        return weight.float().sum(1, keepdim=True)
    turns = -(-channels // present)
    return weight.repeat(1, turns, 1, 1)[:, :channels].float() * (present / channels)


def _open_gates(network: Network) -> None:
    """Make every SE block a multiplication by exactly 1."""
    for block in network.modules():
        if isinstance(block, SqueezeExcitation):
            nn.init.zeros_(block.fc2.weight)
            if block.fc2.bias is not None:
                nn.init.zeros_(block.fc2.bias)
