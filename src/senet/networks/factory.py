"""A callable in a user's own module that makes a network: ``package.module:factory``."""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from senet.errors import SenetError, nearest

PACKAGES = ("timm", "torchvision", "pytorchcv")
CHANNEL_KEYWORDS = ("in_channels", "in_chans")
_FORM = "timm:NAME, torchvision:NAME, pytorchcv:NAME or package.module:factory"
# A traceback goes on inside these where it is the user's code that is wrong.
_NOT_THE_USERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
    "<",
)


def find_factory(name: str) -> Callable[..., nn.Module]:
    """Return what builds the network that ``name``, ``package.module:factory``, makes.

    The module is imported as ``python -m`` would, with the present folder on ``sys.path``, and the folder
    stays there: what a network imports later must be found too.

    Raises:
        SenetError: there is no such module or factory, or the module cannot be imported.
    """
    return partial(_made, name, _factory(name))


def refuse_ignored(name: str, *, num_classes: int | None, in_channels: int | None) -> None:
    """Raise `SenetError` where ``name`` is a factory that is not told one of these numbers.

    Args:
        name: of any foreign network.
        num_classes: ``None`` if it was not given.
        in_channels: likewise.
    """
    if name.partition(":")[0] in PACKAGES:
        return
    told = _options(_factory(name), num_classes=num_classes, in_channels=in_channels)
    for value, keywords in ((num_classes, ("num_classes",)), (in_channels, CHANNEL_KEYWORDS)):
        if value is not None and not set(keywords) & set(told):
            raise SenetError(
                f"{name} takes no keyword {' or '.join(keywords)}, so {value} would have no effect: leave "
                "it out or add the keyword."
            )


def said(error: BaseException) -> str:
    """Return an error's type and first line, and the user's file and line it comes from, if there is one."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({_shown(error.filename or '?')}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    # An assertion without a message is best told by what was asserted.
    told = str(error) or (frames[-1].line if frames else "") or ""
    text = ": ".join([type(error).__name__, *told.splitlines()[:1]]).rstrip(".")
    own = [frame for frame in frames if _is_the_users(frame.filename)]
    return f"{text} ({_shown(own[-1].filename)}, line {own[-1].lineno})" if own else text


def _factory(name: str) -> Callable[..., Any]:
    module_name, _, path = name.partition(":")
    parts = path.split(".")
    if not all(part.isidentifier() for part in [*module_name.split("."), *parts]):
        raise SenetError(f"{name!r} is not the name of a network: write {_FORM}.")
    factory: Any = _module(module_name)
    for part in parts:
        if not hasattr(factory, part):
            public = [each for each in vars(factory) if not each.startswith("_")]
            raise SenetError(f"{module_name} has no {path!r}.{nearest(part, public)}")
        factory = getattr(factory, part)
    if isinstance(factory, nn.Module):
        raise SenetError(
            f"{name} is a network object, but each training needs a new one: name a function or class "
            "that builds it."
        )
    if not callable(factory):
        raise SenetError(
            f"{name} is a {type(factory).__name__}: name a function or class that builds a network."
        )
    return factory  # type: ignore[no-any-return]


def _options(
    factory: Callable[..., Any], *, num_classes: int | None = None, in_channels: int | None = None
) -> dict[str, Any]:
    """Return the keywords by which a factory is told these numbers; ``**kwargs`` may be told the classes."""
    named, takes_any = _keywords(factory)
    options: dict[str, Any] = {}
    if num_classes is not None and ("num_classes" in named or takes_any):
        options["num_classes"] = num_classes
    channels = next((each for each in CHANNEL_KEYWORDS if each in named), None)
    if in_channels is not None and channels is not None:
        options[channels] = in_channels
    return options


def _keywords(factory: Callable[..., Any]) -> tuple[set[str], bool]:
    """Return which keywords a callable names, and whether it takes any other."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return set(), False  # compiled code tells none
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        {each.name for each in parameters if each.kind in by_name},
        any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters),
    )


def _is_the_users(file: str) -> bool:
    return not file.startswith(_NOT_THE_USERS)


def _shown(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # the file may be new
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise SenetError(
                f"There is no module {error.name!r} in this folder or among the installed packages: write "
                f"{_FORM}."
            ) from error
        raise SenetError(f"{name} cannot be imported: {said(error)}.") from error
    except (Exception, SystemExit) as error:
        raise SenetError(f"{name} cannot be imported: {said(error)}.") from error


def _made(
    name: str,
    factory: Callable[..., Any],
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    options = _options(factory, num_classes=num_classes, in_channels=in_channels)
    if pretrained:
        if "pretrained" not in _keywords(factory)[0]:
            raise SenetError(
                f"{name} has no keyword 'pretrained': leave it out, or let the factory load its weights."
            )
        options["pretrained"] = True
    try:
        model = factory(**options)
    except SenetError:
        raise
    except (Exception, SystemExit) as error:
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        raise SenetError(f"{name}({shown}) failed: {said(error)}.") from error
    if not isinstance(model, nn.Module):
        raise SenetError(f"{name} must return a torch.nn.Module, not {type(model).__name__}.")
    return model
