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
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.networks.factory import said
from senet.networks.foreign import create_foreign, find_foreign, is_foreign
from senet.networks.zoo import create_network, default_se, plain_name, twin_name
from senet.randomness import seed_from
from senet.text import counted

_FIRST = 3
"""Places of SE that are named where there are more."""


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
    model: str,
    se: SEConfig | None,
    *,
    classes: int,
    channels: int,
    seed: int,
    image_size: int | None = None,
) -> tuple[nn.Module, ...]:
    """Return the plain network and its twin, with the same initial value in every shared parameter.

    Without ``se`` only the plain network is returned.

    Args:
        model: name of the network, with or without ``se_``, or of one of another package.
        se: what the twin's SE blocks look like, or ``None`` for no twin.
        classes: number of classes.
        channels: of the images.
        seed: decides the initial values. The caller's random state is left as it was.
        image_size: of the images, if it is known; the places for SE in a network of another package are then
            those that it runs through on such images.

    Raises:
        SenetError: the name is unknown or the network cannot take this SE.
    """
    drawn = seed_from("initial values", seed)
    if is_foreign(model):
        with seeded(drawn):
            find_foreign(model)  # what a module draws at its import is drawn once only
        with seeded(drawn):
            plain = create_foreign(model, num_classes=classes, in_channels=channels)
            shape = None if image_size is None else (channels, image_size, image_size)
            return (plain,) if se is None else (plain, _inserted(model, plain, se, shape))
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


def se_places(twin: nn.Module) -> str:
    """Return in how many places of a network SE sits, and the first few."""
    names = [name for name, each in twin.named_modules() if isinstance(each, SqueezeExcitation)]
    hosts = [name.removesuffix(".se") for name in names]
    first = ", ".join(hosts[:_FIRST])
    return f"{counted(len(hosts), 'place')}: {first}{', …' * (len(hosts) > _FIRST)}"


def _inserted(name: str, plain: nn.Module, se: SEConfig, shape: tuple[int, int, int] | None) -> nn.Module:
    """Return a copy of a foreign network with SE in it."""
    from senet.experiments.trial import scores_of  # which builds twins as well
    from senet.surgery.insert import squeeze_excite

    try:
        twin = copy.deepcopy(plain)
    except Exception as error:
        raise SenetError(f"{name} cannot be copied to add SE to it: {said(error)}.") from error
    example = None
    if shape is not None:
        scores_of(name, plain, shape, training=False)  # says what is wrong in the words of a training
        like = next(each for each in plain.parameters() if each.is_floating_point())
        example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(like)
    if not squeeze_excite(twin, se=se, example_input=example).sites:
        raise SenetError(
            f"{name} already has channel attention wherever SE belongs, so there is no plain network to "
            "compare with: name a network without it."
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
