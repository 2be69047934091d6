"""What callers gave, held against what is documented: one sentence names the value and what is allowed.

Imports neither torch nor NumPy; their numbers are taken as Python's are.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from senet.errors import SenetError, nearest
from senet.schema import shown

LARGEST_NUMBER = 2**24
"""Of channels, classes, units and the like: no layer has more."""


def require_type(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise `SenetError` unless the argument ``name`` is of one of the ``kinds``: of what is ``wanted``."""
    if not isinstance(value, kinds):
        raise SenetError(f"{name} must be {wanted}, not a value of type {type(value).__name__}.")


def positive(name: str, value: Any) -> int:
    """Return ``value``, called ``name``, as a Python int.

    Raises:
        SenetError: it is no whole number from 1 to `LARGEST_NUMBER`.
    """
    number = _index(value)
    if number is None or not 1 <= number <= LARGEST_NUMBER:
        bound = "at least 1" if number is None or number < 1 else f"at most {LARGEST_NUMBER:,}"
        raise SenetError(f"{name} must be a whole number of {bound}, not {shown(value)}.")
    return number


def whole_number(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return ``value``, called ``name``, as a Python int, which may have bounds.

    Raises:
        SenetError: it is no whole number, or one outside of them.
    """
    number = _index(value)
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        bounds = "" if low is None else f" from {low}" + ("" if high is None else f" to {high}")
        raise SenetError(f"{name} must be a whole number{bounds}, not {shown(value)}.")
    return number


def finite_number(name: str, value: Any, wanted: str = "a number") -> float:
    """Return ``value``, called ``name``, as a Python float.

    Raises:
        SenetError: it is none, or not finite; the sentence says what is ``wanted``.
    """
    try:
        number = math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise SenetError(f"{name} must be {wanted}, not {shown(value)}.")
    return number


def finite_numbers(name: str, values: Any) -> tuple[float, ...]:
    """Return ``values``, called ``name``, as Python floats.

    Raises:
        SenetError: they are no list, array or the like, or one of them is not finite.
    """
    try:
        given = tuple(values)
    except TypeError as error:
        raise SenetError(f"{name} must be a list of numbers, not {shown(values)}.") from error
    return tuple(finite_number(f"Each number in {name}", each) for each in given)


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return ``value``, called ``name``, as it is.

    Raises:
        SenetError: it is none of the texts that are ``allowed``; the sentence says which come close.
    """
    if not isinstance(value, str) or value not in allowed:
        # All are listed: only a slip of the hand needs more.
        hint = nearest(value, allowed, most=1, likeness=0.75) if isinstance(value, str) else ""
        raise SenetError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}.{hint}")
    return value


def texts(name: str, values: Any) -> tuple[str, ...]:
    """Return ``values``, called ``name``, as a tuple.

    Raises:
        SenetError: they are no list or tuple of texts.
    """
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        raise SenetError(f"{name} must be a list of texts, not {shown(values)}.")
    return tuple(values)


def callable_or_none(name: str, value: Any, wanted: str) -> None:
    """Raise `SenetError` unless the argument ``name`` can be called, or is ``None``: what is ``wanted``."""
    if value is not None and not callable(value):
        raise SenetError(f"{name} must be {wanted}, not {shown(value)}.")


def true_or_false(name: str, value: Any) -> bool:
    """Return ``value``, called ``name``, as it is.

    Raises:
        SenetError: it is neither ``True`` nor ``False``.
    """
    if not isinstance(value, bool):
        raise SenetError(f"{name} must be true or false, not {shown(value)}.")
    return value


def _index(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except (TypeError, RuntimeError):  # torch raises the second for a tensor of several numbers
        return None
