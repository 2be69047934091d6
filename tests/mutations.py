"""What somebody may have made of a file by hand: every value replaced by each of many others, or deleted."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

DELETED = object()
DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    *(None, "", "x", "y" * 10_000, -1, 0, 1.5, 2**70, 10**5000, math.nan, math.inf, True),
    *([], {}, [[[]]], {"x": {"y": []}}, DEEP, DELETED),
)


def mutations(content: Any, every: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield a name and a changed copy of ``content`` for every place in it and every value.

    Args:
        content: nested dictionaries and lists; of a list the first member stands for all.
        every: one in so many is made.
    """
    chosen = islice(product(_places(content), enumerate(VALUES)), 0, None, every)
    for place, (number, value) in chosen:
        changed = copy.deepcopy(content)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        if value is DELETED:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        yield f"{'.'.join(map(str, place))}={number}", changed


def _places(content: Any) -> Iterator[tuple[Any, ...]]:
    for key in list(content) if isinstance(content, dict) else [0]:
        yield (key,)
        if isinstance(content[key], dict | list) and content[key]:
            yield from ((key, *rest) for rest in _places(content[key]))
