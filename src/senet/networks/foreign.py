"""Networks of other packages and of a user's own module, by name.

``timm:resnet50``, ``torchvision:resnet50`` and ``pytorchcv:resnet50`` name a network of that package;
``package.module:factory`` names a callable of any module that returns a network (`senet.networks.factory`).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Protocol

from torch import nn

from senet.errors import SenetError, nearest
from senet.networks.factory import find_factory, said

# Their output in training is a tuple, unless they are built without auxiliary classifiers; to draw the
# weights of these as torchvision does takes a minute.
_WITH_AUXILIARY = ("googlenet", "inception_v3")
_WITHOUT_AUXILIARY: dict[str, Any] = {"aux_logits": False, "init_weights": False}


class Builder(Protocol):
    """Builds a network that has been found."""

    def __call__(
        self, *, num_classes: int | None = None, in_channels: int | None = None, pretrained: bool = False
    ) -> nn.Module:
        """Return a new network; ``None`` leaves a number to the network."""


def is_foreign(name: str) -> bool:
    """Tell whether ``name`` is that of a network of another package or module: whether it has a colon."""
    return ":" in name


def create_foreign(
    name: str, *, num_classes: int | None = None, in_channels: int | None = None, pretrained: bool = False
) -> nn.Module:
    """Build a network of timm, torchvision, pytorchcv or a module of the user's.

    Args:
        name: ``"timm:NAME"``, ``"torchvision:NAME"``, ``"pytorchcv:NAME"`` or ``"package.module:factory"``.
        num_classes: outputs; ``None`` leaves them to the network. A factory gets them as the keyword
            ``num_classes`` where its signature has that or ``**kwargs``.
        in_channels: of the images; ``None`` leaves them to the network. A factory gets them as the
            keyword ``in_channels`` or ``in_chans`` where its signature has one of these.
        pretrained: load the weights the package released; a factory needs the keyword ``pretrained``.

    Raises:
        SenetError: the package is missing, it has no such network, or the network cannot be built so.
    """
    return find_foreign(name)(num_classes=num_classes, in_channels=in_channels, pretrained=pretrained)


def find_foreign(name: str) -> Builder:
    """Return what builds the network, after looking whether there is one; errors as `create_foreign`."""
    package, _, network = name.partition(":")
    if package not in _PACKAGES:
        return find_factory(name)
    names, build = _PACKAGES[package]
    known = names(import_package(package))
    # timm's names may end with a tag of the weights, behind a dot.
    if (network.split(".")[0] if package == "timm" else network) not in known:
        raise SenetError(
            f"{package} has no classification network called {network!r}.{nearest(network, known)}"
        )
    return partial(_built, name, build)


def package_version(name: str) -> dict[str, str]:
    """Return the version of the package that a foreign network comes from, by the package's name."""
    package = name.partition(":")[0].partition(".")[0]
    try:
        return {package: version(package)} if is_foreign(name) else {}
    except PackageNotFoundError:
        return {}  # a user's own module


def usual_image(name: str, model: nn.Module) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the images a package's network was made for, if it is known."""
    package, _, network = name.partition(":")
    if package == "timm":
        shape: tuple[int, int, int] = tuple(model.pretrained_cfg["input_size"])  # type: ignore[index]
        return shape
    if package == "pytorchcv":
        height, width = model.in_size  # type: ignore[misc]
        return 3, int(height), int(width)
    if package == "torchvision":
        side = 299 if network == "inception_v3" else 224
        return 3, side, side
    return None


def import_package(package: str) -> ModuleType:
    """Import one of the packages.

    Raises:
        SenetError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise SenetError(f"{package} is not installed: run pip install {package}.") from error
        raise SenetError(f"{package} cannot be imported ({said(error)}).") from error
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # torchvision beside a torch it was not built for, and all that import it.
        raise SenetError(
            f"{package} cannot be imported ({said(error)}): install the version that fits this torch."
        ) from error


def _built(
    name: str,
    build: Callable[..., nn.Module],
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    network = name.partition(":")[2]
    try:
        with _only_weights():
            return build(network, num_classes, in_channels, pretrained)
    except SenetError:
        raise
    except Exception as error:
        raise SenetError(f"{name} could not be built: {said(error)}.") from error


@contextmanager
def _only_weights() -> Iterator[None]:
    """Let no package's torch.load execute code from the file that it downloads."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _given(**options: int | None) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _check_classes(name: str, classes: int | None, pretrained: bool) -> None:
    if pretrained and classes is not None:
        raise SenetError(
            f"The released weights of {name} have a fixed number of classes, so {classes} classes are not "
            "possible: leave out the number or pretrained, or use a network of timm, which takes both."
        )


def _timm_names(timm: ModuleType) -> list[str]:
    names: list[str] = timm.list_models()
    return names


def _build_timm(name: str, classes: int | None, channels: int | None, pretrained: bool) -> nn.Module:
    options = _given(num_classes=classes, in_chans=channels)
    model: nn.Module = import_package("timm").create_model(name, pretrained=pretrained, **options)
    return model


def _torchvision_names(_: ModuleType) -> list[str]:
    models = importlib.import_module("torchvision.models")
    # Those of its submodules segment, detect or take films.
    names: list[str] = models.list_models(module=models)
    return names


def _build_torchvision(name: str, classes: int | None, channels: int | None, pretrained: bool) -> nn.Module:
    if channels not in (None, 3):
        raise SenetError(
            f"torchvision:{name} takes images of 3 channels, not {channels}: use a network of timm, which "
            "takes any number, or a factory of your own."
        )
    _check_classes(name, classes, pretrained)
    options = _given(num_classes=classes)
    if name in _WITH_AUXILIARY and not pretrained:
        options |= _WITHOUT_AUXILIARY
    build = importlib.import_module("torchvision.models").get_model
    model: nn.Module = build(name, weights="DEFAULT" if pretrained else None, **options)
    if name == "inception_v3" and pretrained:
        # Released weights load only into a network with its auxiliary classifier.
        model.aux_logits, model.AuxLogits = False, None  # type: ignore[assignment]
    return model


def _pytorchcv_names(_: ModuleType) -> list[str]:
    return list(importlib.import_module("pytorchcv.model_provider")._models)


def _build_pytorchcv(name: str, classes: int | None, channels: int | None, pretrained: bool) -> nn.Module:
    _check_classes(name, classes, pretrained)
    options = _given(num_classes=classes, in_channels=channels)
    build = importlib.import_module("pytorchcv.model_provider").get_model
    model: nn.Module = build(name, pretrained=pretrained, **options)
    return model


_PACKAGES: dict[str, tuple[Callable[[ModuleType], list[str]], Callable[..., nn.Module]]] = {
    "timm": (_timm_names, _build_timm),
    "torchvision": (_torchvision_names, _build_torchvision),
    "pytorchcv": (_pytorchcv_names, _build_pytorchcv),
}
