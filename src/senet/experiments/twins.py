"""The plain network and its SE twin, equal in everything but SE."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.networks.factory import said
from senet.networks.foreign import create_foreign, find_foreign, is_foreign
from senet.networks.zoo import create_network, default_se, plain_name, twin_name
from senet.randomness import seed_from


def name_of_plain(model: str) -> str:
    """Return the name of the network without SE.

    Raises:
        SenetError: there is no such network, here or in the package or module named.
    """
    if is_foreign(model):
        find_foreign(model)
        return model
    return plain_name(model)


def name_of_twin(model: str) -> str:
    """Return what the network with SE is called: ``"se_resnet50"``, or ``"timm:resnet50 + SE"``."""
    return f"{model} + SE" if is_foreign(model) else twin_name(model)


def usual_se(model: str) -> SEConfig:
    """Return the SE of a network's twin where nothing else is said."""
    return SEConfig() if is_foreign(model) else default_se(model)


def build_twins(
    model: str, se: SEConfig | None, *, classes: int, channels: int, seed: int
) -> tuple[nn.Module, ...]:
    """Return the plain network and its twin, with the same initial value in every shared parameter.

    Without ``se`` only the plain network is returned.

    Args:
        model: name of the network, with or without ``se_``, or of one of another package.
        se: what the twin's SE blocks look like, or ``None`` for no twin.
        classes: number of classes.
        channels: of the images.
        seed: decides the initial values. The caller's random state is left as it was.

    Raises:
        SenetError: the name is unknown or the network cannot take this SE.
    """
    drawn = seed_from("initial values", seed)
    if is_foreign(model):
        with seeded(drawn):
            find_foreign(model)  # what a module draws at its import is drawn once only
        with seeded(drawn):
            plain = create_foreign(model, num_classes=classes, in_channels=channels)
            return (plain,) if se is None else (plain, _inserted(model, plain, se))
    name = plain_name(model)
    with seeded(drawn):
        plain = create_network(name, num_classes=classes, in_channels=channels)
        if se is None:
            return (plain,)
        twin = create_network(name, num_classes=classes, in_channels=channels, se=se)
    missing, unexpected = twin.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected, f"the twin of {name} lacks {unexpected}"
    _check_added(name, missing)
    return plain, twin


def _inserted(name: str, plain: nn.Module, se: SEConfig) -> nn.Module:
    """Return a copy of a foreign network with SE in it."""
    from senet.surgery.insert import squeeze_excite

    try:
        twin = copy.deepcopy(plain)
    except Exception as error:
        raise SenetError(f"{name} cannot be copied to put SE into it: {said(error)}.") from error
    if not squeeze_excite(twin, se=se).sites:
        raise SenetError(
            f"{name} weighs its channels already wherever SE belongs: there is no plain network."
        )
    before, after = plain.state_dict().keys(), twin.state_dict().keys()
    assert before < after, f"the twin of {name} lacks {before - after}"
    _check_added(name, sorted(after - before))
    return twin


def _check_added(name: str, added: list[str]) -> None:
    assert added and all(".se." in key for key in added), f"the twin of {name} adds more than SE: {added}"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator that a network's initial values may come from, and put all back afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
