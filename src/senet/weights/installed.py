"""The same networks in the packages that happen to be installed, to measure beside ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn

from senet.networks.zoo import network_spec
from senet.weights.known import KNOWN, TIMM, TORCHVISION

PACKAGES = (TIMM, TORCHVISION)
# Without their auxiliary classifiers, which ours have not, and without minutes of drawing weights.
_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    (TORCHVISION, name): {"aux_logits": False, "init_weights": False}
    for name in ("googlenet", "inception_v3")
}
Builder = Callable[[], nn.Module]


def installed_networks(
    names: Iterable[str], packages: Sequence[str] = PACKAGES
) -> tuple[dict[str, Builder], list[str]]:
    """Return other packages' networks with fresh weights, and why a package could not be imported.

    Args:
        names: of our networks.
        packages: to look in.

    Returns:
        What builds each, by package and its name for it such as ``"timm seresnet50"``; and a sentence for
        each package that knows one of the networks and cannot be imported.
    """
    builders: dict[str, Builder] = {}
    sentences = []
    wanted = list(names)
    for package in packages:
        known = {ours: theirs for theirs, ours in reversed(KNOWN[package].items()) if ours in wanted}
        if not known:
            continue
        reason = _why_not(package)
        if reason:
            sentences.append(reason)
            continue
        for name in wanted:
            if name in known:
                builders[f"{package} {known[name]}"] = partial(_build, package, known[name], name)
    return builders, sentences


def _why_not(package: str) -> str:
    """Return why a package cannot be imported, or an empty text."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            return f"{package} is not installed; run pip install {package} to measure it too."
        return f"{package} cannot be imported ({error})."
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # torchvision beside a torch it was not built for, and all that import it.
        return f"{package} cannot be imported ({_first_line(error)})."
    return ""


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _build(package: str, theirs: str, ours: str) -> nn.Module:
    options = {"num_classes": network_spec(ours).num_classes, **_OPTIONS.get((package, theirs), {})}
    if package == TIMM:
        model: nn.Module = importlib.import_module("timm").create_model(theirs, **options)
    else:
        model = getattr(importlib.import_module("torchvision.models"), theirs)(**options)
    return model
