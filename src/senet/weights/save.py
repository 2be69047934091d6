"""Weights to a file that carries what belongs to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from senet import __version__
from senet.blocks.attached import attached
from senet.checks import require_type
from senet.errors import SenetError
from senet.files import user_path, write_bytes
from senet.networks.build import build_network
from senet.networks.features import FeatureNetwork
from senet.networks.network import Network
from senet.schema import shown
from senet.weights.checkpoint import INSERTED_KEY
from senet.weights.load import senet_network
from senet.weights.own import to_metadata, with_digests


def save_weights(model: nn.Module, path: str | Path, *, classes: Sequence[str] | None = None) -> None:
    """Write a network's weights to a safetensors file, whole or not at all.

    The file also holds the network's name, the options in which it differs from the one that
    `senet.list_models` names, its ``preprocess`` and the names of its classes. ``senet.create_model(name,
    weights=path)`` reads all of it back.

    Args:
        model: a senet network, also within DataParallel or compiled.
        path: of the file; an older one is replaced.
        classes: names in the order of the model's outputs.

    Raises:
        SenetError: the model is not senet's, `senet.prune_gates` took some of its SE blocks, it got SE from
            `senet.squeeze_excite`, there are more or fewer names than classes, or the file cannot be written.
    """
    network = senet_network(model, "save_weights")
    require_type("path", path, (str, Path), "the path of a safetensors file")
    spec = network.spec
    if isinstance(network, FeatureNetwork):
        spec = replace(spec, num_classes=0)  # it has no classifier
    if any(attached(network)):
        raise SenetError(
            "SE was inserted into this network with senet.squeeze_excite, which a file for "
            "senet.create_model cannot describe: save its state dict, or build the network with SE using "
            "senet.create_model."
        )
    _refuse_fewer_blocks(network)
    if classes is None and network.classes is not None and len(network.classes) == spec.num_classes:
        classes = network.classes
    if classes is not None and (isinstance(classes, str) or not isinstance(classes, Sequence)):
        raise SenetError(f"classes must be a list of names, not {shown(classes)}.")
    names = None if classes is None else tuple(map(str, classes))
    # One tensor for each key, in one piece: networks may be in channels_last.
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    metadata = with_digests(to_metadata(spec, network.preprocess, names, network.provenance), tensors)
    write_bytes(user_path(path), safetensors.torch.save(tensors, metadata))


def save_inserted(
    model: nn.Module, path: Path, *, name: str, built: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Write the state dict of another package's network that got SE, whole or not at all.

    The file's metadata has these facts as one JSON text under ``senet_inserted``.

    Args:
        model: after `senet.squeeze_excite`.
        path: of the safetensors file; an older one is replaced.
        name: of the network, such as ``"timm:resnet50"``.
        built: how it was built.
        settings: what `senet.squeeze_excite` was given.

    Raises:
        SenetError: the state dict holds something else than tensors, or the file cannot be written.
    """
    state = model.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise SenetError(
                f"{name} stores a {type(value).__name__} as {key!r}, but a safetensors file can only "
                "contain tensors."
            )
    facts = {"model": name, **built, "squeeze_excite": settings, "senet": __version__}
    # A copy of each: layers may share a tensor, and the file holds each under its own key.
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    metadata = {"format": "pt", INSERTED_KEY: json.dumps(facts, ensure_ascii=False)}
    write_bytes(path, safetensors.torch.save(tensors, with_digests(metadata, tensors)))


def _refuse_fewer_blocks(network: Network) -> None:
    """Refuse to write what could not be read back: no spec describes a network that lacks some SE blocks."""
    if network.spec.se is None or type(network) is not Network:
        return
    with torch.device("meta"):
        whole = build_network(network.spec)
    lacking = [key for key in whole.state_dict().keys() - network.state_dict().keys() if ".se." in key]
    if lacking:
        blocks = sorted({key.partition(".se.")[0] for key in lacking})
        raise SenetError(
            f"save_weights cannot describe this {network.spec.se_name}, which lacks the SE blocks of "
            f"{', '.join(blocks[:3])}{' and others' if len(blocks) > 3 else ''}: save the whole model "
            "with torch.save(model, path), or fold all blocks, which leaves the plain network."
        )
