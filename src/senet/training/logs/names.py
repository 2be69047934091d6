"""The logs there are, and what must be installed for each. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, get_args

from senet.checks import one_of
from senet.errors import SenetError

LogName = Literal["csv", "tensorboard", "wandb", "mlflow"]

# What each log needs to be installed: the module, and senet's extra that brings it.
_NEEDS = {
    "tensorboard": ("tensorboard", "log"),
    "wandb": ("wandb", "wandb"),
    "mlflow": ("mlflow", "mlflow"),
}


def refuse_missing(names: Iterable[str]) -> None:
    """Do nothing where every log is one there is, and what it needs is installed.

    Raises:
        SenetError: a name is unknown, or a package is missing; the sentence says how to install it.
    """
    allowed = get_args(LogName)
    for name in names:
        one_of("log", name, allowed)
        module, extra = _NEEDS.get(name, ("", ""))
        if module and find_spec(module) is None:
            raise SenetError(
                f'The log {name!r} needs the package {module}: run pip install "senet[{extra}]", or leave '
                f"{name} out of --log."
            )


def default_names() -> tuple[LogName, ...]:
    """Return the logs of a user who asked for none: tables, and TensorBoard where it works."""
    try:
        import_module("torch.utils.tensorboard")
    except (ImportError, TypeError, AttributeError):
        # Beside a protobuf or NumPy it does not know, an installed tensorboard fails so while it is imported.
        return ("csv",)
    return ("csv", "tensorboard")
