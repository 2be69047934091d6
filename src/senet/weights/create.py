"""A network by name, with fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

from senet.blocks.se_config import SEConfig
from senet.networks.network import Network
from senet.networks.zoo import create_network


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    se: SEConfig | None = None,
    features_only: bool = False,
    out_indices: Sequence[int] | None = None,
) -> Network:
    """Build a network by name; the arguments are those of `senet.networks.zoo.create_network`.

    Raises:
        SenetError: as `senet.networks.zoo.create_network`.
    """
    return create_network(
        name,
        num_classes=num_classes,
        in_channels=in_channels,
        se=se,
        features_only=features_only,
        out_indices=out_indices,
    )
