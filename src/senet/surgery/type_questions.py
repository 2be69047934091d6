"""Lets the stand-ins of torch.fx answer ``isinstance``.

Their ``__class__`` would answer too, but to PyTorch's C++ as well, which takes what says it is a tensor for
one and crashes.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_INNER = ("torch.fx", "torch.nn.parameter", "senet")
"""Modules whose questions for the type of a stand-in are none of the forward's."""


@contextmanager
def answered(stand_in: type, kind_of: Callable[[Any], type]) -> Iterator[None]:
    """Take objects of the class ``stand_in`` for what ``kind_of`` returns for them."""
    original = builtins.isinstance

    def with_stand_ins(thing: Any, kinds: Any) -> bool:
        if type(thing) is stand_in:
            caller = str(sys._getframe(1).f_globals.get("__name__"))
            if not caller.startswith(_INNER):
                return issubclass(kind_of(thing), kinds)
        return original(thing, kinds)

    builtins.isinstance = with_stand_ins
    try:
        yield
    finally:
        builtins.isinstance = original
