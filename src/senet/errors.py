"""The one error a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SenetError(ValueError):
    """Something senet cannot do, said in one sentence: the value, what was allowed, what to do.

    The command line prints the sentence and ends with exit code 2. Everything else that is
    raised is a defect of senet.
    """


class TrainingInterrupted(SenetError):
    """Training was stopped from outside (Ctrl-C or SIGTERM) after its state had been saved.

    The command line prints the sentence and ends with exit code 130.
    """


def nearest(name: str, allowed: Iterable[str], most: int = 3, likeness: float = 0.5) -> str:
    """Return ``" Did you mean 'a' or 'b'?"`` for the names closest to ``name``, or ``""``."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=most, cutoff=likeness)
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(match) for match in close) + "?"
