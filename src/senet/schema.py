"""Files that people can edit, checked once where they are read: type hints are the schema.

Imports no torch, so that results can be read without it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from senet.errors import SenetError

_SHOWN = 60
_NAMES: Mapping[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_LARGEST = 2**63  # what torch and NumPy can hold as a whole number


class SchemaError(SenetError):
    """What is wrong at which place of a file; the sentence still wants its start, and advice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """How strictly values are held against type hints.

    Attributes:
        words: texts that stand for numbers, such as ``"NaN"``.
        extensible: dataclasses whose mappings may have more keys than they have fields.
    """

    words: Mapping[str, float] = dataclasses.field(default_factory=dict)
    extensible: tuple[type, ...] = ()

    def build(self, kind: Any, value: Any, where: str) -> Any:
        """Return ``value`` as an object of type ``kind``.

        Fields of a dataclass that have a default may be missing.

        Args:
            kind: a dataclass, a class, ``Any``, or a hint made of them with ``|``, ``Literal``, ``tuple``,
                ``list`` and ``dict``.
            value: plain values, as JSON, TOML or a checkpoint has them.
            where: what to call it, such as ``"results"``.

        Raises:
            SchemaError: it is of another type; the sentence names the place and the value.
        """
        try:
            return self._build(kind, value, where)
        except RecursionError as error:
            raise SchemaError(f"{where} is nested too deeply") from error

    def _build(self, kind: Any, value: Any, where: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind, value, where)
        if origin in (types.UnionType, typing.Union):
            return self._union(arguments, value, where)
        if origin in (tuple, list):
            return self._list(kind, value, where)
        if origin is dict:
            return self._mapping(arguments[1], value, where)
        return self._any(value, where) if kind is Any else self._simple(kind, value, where)

    def _mapping(self, kind: Any, value: Any, where: str) -> dict[str, Any]:
        _expect(isinstance(value, dict), "an object", value, where)
        for name in value:
            _expect(isinstance(name, str), "text as key", name, where)
        return {name: self._build(kind, each, f"{where}.{name}") for name, each in value.items()}

    def _dataclass(self, kind: Any, value: Any, where: str) -> Any:
        _expect(isinstance(value, dict), "an object", value, where)
        hints, fields = typing.get_type_hints(kind), {each.name: each for each in dataclasses.fields(kind)}
        for name, field in fields.items():
            optional = not (field.default is field.default_factory is dataclasses.MISSING)
            if name not in value and not optional:
                raise SchemaError(f"{where}.{name} is missing")
        for name in value:
            if name not in fields and kind not in self.extensible:
                raise SchemaError(f"{where}.{shown(name, str)} is not known to this version of senet")
        known = {name: each for name, each in value.items() if name in fields}
        return kind(
            **{name: self._build(hints[name], each, f"{where}.{name}") for name, each in known.items()}
        )

    def _union(self, kinds: tuple[Any, ...], value: Any, where: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        others = [kind for kind in kinds if kind is not type(None)]
        for kind in others[:-1]:
            try:
                return self._build(kind, value, where)
            except SchemaError:
                continue
        return self._build(others[-1], value, where)

    def _list(self, kind: Any, value: Any, where: str) -> Any:
        """Return a tuple or a list; a tuple of fixed length has a hint for each member."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        _expect(isinstance(value, list | tuple), "a list", value, where)
        if origin is tuple and arguments[1:] != (Ellipsis,):
            _expect(len(value) == len(arguments), f"a list of {len(arguments)}", value, where)
        else:
            arguments = (arguments[0],) * len(value)
        pairs = enumerate(zip(arguments, value, strict=True))
        return origin(self._build(member, each, f"{where}[{i}]") for i, (member, each) in pairs)

    def _any(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return self._mapping(Any, value, where)
        if isinstance(value, list | tuple):
            return tuple(self._any(each, f"{where}[{i}]") for i, each in enumerate(value))
        if isinstance(value, int):
            _expect(abs(value) < _LARGEST, "a smaller number", value, where)
        return self.words.get(value, value) if isinstance(value, str) else value

    def _simple(self, kind: Any, value: Any, where: str) -> Any:
        if typing.get_origin(kind) is Literal:
            allowed = typing.get_args(kind)
            same = [each for each in allowed if each == value and type(each) is type(value)]
            _expect(bool(same), " or ".join(map(repr, allowed)), value, where)
        elif kind is float and isinstance(value, str) and value in self.words:
            return self.words[value]
        elif kind in (int, float):
            types_ = int if kind is int else int | float
            is_number = isinstance(value, types_) and not isinstance(value, bool)
            _expect(is_number, _NAMES[kind], value, where)
            _expect(isinstance(value, float) or abs(value) < _LARGEST, "a smaller number", value, where)
            return kind(value)
        else:
            _expect(isinstance(value, kind), _named(kind), value, where)
        return value


def parse_json(text: str) -> Any:
    """Return what JSON text holds.

    Raises:
        SchemaError: it is no JSON, holds a bare NaN or a key twice, or is nested too deeply.
    """
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_repeats,
        )
    except SchemaError:
        raise
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        raise SchemaError(f"it is not valid JSON ({error})") from error


def _refuse_constant(name: str) -> float:
    raise SchemaError(f"it holds a bare {name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise SchemaError(f"it holds {shown(text, str)}, a number too large")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"it holds {shown(repeated)} twice")
    return content


def _expect(holds: bool, what: str, value: Any, where: str) -> None:
    if not holds:
        raise SchemaError(f"{where} must be {what}, not {shown(value)}")


def _named(kind: Any) -> str:
    return _NAMES.get(kind, f"a {getattr(kind, '__name__', kind)}")


def shown(value: Any, text: Any = repr) -> str:
    """Return a value on one line, shortened."""
    try:
        line = " ".join(text(value).split())
    except (ValueError, RecursionError):  # of a number with thousands of digits; of deep nesting
        return f"a {'number' if isinstance(value, int) else type(value).__name__} too large to show"
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "…"
