"""The part of the work that one of several processes does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which part of every training batch one process loads.

    A batch is cut into ``accumulate`` pieces, one after the other, and each of these into one for every
    process. So the images of a piece are the same whatever the number of processes is.

    Attributes:
        process: number of this process, from 0.
        processes: how many share a batch.
        accumulate: pieces one process loads one after the other for one batch.
    """

    process: int = 0
    processes: int = 1
    accumulate: int = 1


WHOLE = Part()
