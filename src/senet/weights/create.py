"""A network by name, with fresh weights or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from senet.blocks.se_config import SEConfig
from senet.networks.build import build_features, build_network
from senet.networks.network import Network
from senet.networks.zoo import create_network
from senet.weights.find import find_checkpoint
from senet.weights.identify import fit_or_refuse
from senet.weights.load import fill, senet_network


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    se: SEConfig | Mapping[str, Any] | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
    weights: str | Path | None = None,
) -> Network:
    """Build a network by name, with fresh weights or those of a checkpoint.

    Without ``weights`` the arguments are those of `senet.networks.zoo.create_network`. A checkpoint
    decides what the arguments leave open: the number of classes, the max pool at the edge, biases and hidden
    widths of SE. Weights of the plain network fit its twin too: the SE blocks then start with
    gates of exactly 1, so that both networks put out the same.

    Args:
        name: one of `senet.list_models`.
        num_classes: outputs; by default those of the checkpoint, or of the data set the network was
            designed for. Another number than the checkpoint's leaves the classifier fresh; 0 leaves it out.
        in_channels: of the images. The first convolution of a checkpoint is adapted to them, as timm does.
        se: the SE of the twin, as such or as a mapping of the settings that differ from its usual ones. One
            that is not the checkpoint's is refused.
        features_only: build a `FeatureNetwork`, which puts out maps at several resolutions.
        out_indices: which of these maps; by default all.
        weights: a file (safetensors or what ``torch.save`` wrote; nothing in it is executed), a repository
            of the Hugging Face Hub as ``"owner/name"`` or ``"hf-hub:owner/name"``, or one of
            `senet.list_weights`; ``"timm"``, ``"torchvision"`` or ``"cadene"`` alone takes the package's
            first checkpoint of this network.

    Returns:
        The network. With ``weights``, its ``loaded`` reports what came from the checkpoint and what is
        new, and its ``preprocess`` is the checkpoint's.

    Raises:
        SenetError: as `senet.networks.zoo.create_network`; or the weights cannot be had, are damaged, want
            to run code, or are another network's, which the sentence then names.
    """
    if weights is None:
        return create_network(
            name,
            num_classes=num_classes,
            in_channels=in_channels,
            se=se,
            features_only=features_only,
            out_indices=out_indices,
        )
    with torch.device("meta"):  # refuses what is wrong about the other arguments
        asked = create_network(
            name,
            num_classes=num_classes,
            in_channels=in_channels,
            se=se,
            features_only=features_only,
            out_indices=out_indices,
        ).spec
    checkpoint = find_checkpoint(weights, name)
    needs_classifier = num_classes is None and not features_only
    fitted = fit_or_refuse(checkpoint, asked, se_chosen=se is not None, needs_classifier=needs_classifier)
    spec = replace(fitted.spec, in_channels=asked.in_channels)
    if num_classes is not None:
        spec = replace(spec, num_classes=asked.num_classes)
    network = build_features(spec, out_indices) if features_only else build_network(spec)
    fill(senet_network(network, "create_model"), fitted, checkpoint)
    return network
