"""The plain network and its SE twin, equal in everything but SE."""

from __future__ import annotations

import torch
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.networks.zoo import create_network, plain_name
from senet.randomness import seed_from


def build_twins(
    model: str, se: SEConfig | None, *, classes: int, channels: int, seed: int
) -> tuple[nn.Module, ...]:
    """Return the plain network and its twin, with the same initial value in every shared parameter.

    Without ``se`` only the plain network is returned.

    Args:
        model: name of the network, with or without ``se_``.
        se: what the twin's SE blocks look like, or ``None`` for no twin.
        classes: number of classes.
        channels: of the images.
        seed: decides the initial values. The caller's random state is left as it was.

    Raises:
        SenetError: the name is unknown or the network cannot take this SE.
    """
    name = plain_name(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from("initial values", seed))
        plain = create_network(name, num_classes=classes, in_channels=channels)
        if se is None:
            return (plain,)
        twin = create_network(name, num_classes=classes, in_channels=channels, se=se)
    missing, unexpected = twin.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected, f"the twin of {name} lacks {unexpected}"
    assert missing and all(".se." in key for key in missing), (
        f"the twin of {name} adds more than SE: {missing}"
    )
    return plain, twin
