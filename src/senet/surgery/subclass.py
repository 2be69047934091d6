"""Makes the subclasses of a block's class that carry another forward for a while or for good."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from typing import Any

from senet.surgery.unseen import Untraceable


def subclass(kind: type, members: dict[str, Any]) -> type:
    """Return a subclass of ``kind`` that goes by its name, with other ``members``.

    Raises:
        Untraceable: ``kind`` or its metaclass does something of its own when it gets a subclass.
    """
    told = inspect.getattr_static(kind, "__init_subclass__")
    if type(kind) not in (type, ABCMeta) or told is not inspect.getattr_static(object, "__init_subclass__"):
        raise Untraceable(f"{kind.__name__} tracks its subclasses")
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made: type = type(kind)(kind.__name__, (kind,), named | members)
    return made
