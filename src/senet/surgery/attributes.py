"""Watches which attributes of its modules a forward reads."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from senet.surgery.conditions import MISSING, Path, path_of
from senet.surgery.subclass import subclass
from senet.surgery.unseen import Untraceable

_INNER = frozenset(vars(nn.Module())) - {"training"}
"""Attributes with which nn.Module itself works."""
_FIXED = (
    type(None), bool, int, float, complex, str, bytes, Enum, torch.dtype, torch.device, torch.memory_format,
    type, types.FunctionType, types.BuiltinFunctionType,
)  # fmt: skip


class Reads:
    """The attributes that were read, by the path of their module."""

    def __init__(self, block: nn.Module) -> None:
        self.modules = {id(module): (path_of(name), module) for name, module in block.named_modules()}
        self.names: dict[int, dict[str, None]] = {}

    def note(self, module: nn.Module, name: str) -> None:
        """Remember that ``name`` of ``module`` was read."""
        if name not in _INNER and not name.startswith("__"):
            self.names.setdefault(id(module), {})[name] = None

    def values(self) -> Iterator[tuple[Path, str, Any]]:
        """Yield path, name and value of what was read and may be set to another value.

        Raises:
            Untraceable: a value may change without being set, such as the content of an object.
        """
        for key, names in self.names.items():
            path, module = self.modules[key]
            for name in names:
                value = getattr(module, name, MISSING)
                if isinstance(value, Tensor | nn.Module) or _belongs_to_class(module, name):
                    continue
                if value is not MISSING and not _is_plain(value):
                    whole = ".".join(("self", *path, name))
                    raise Untraceable(f"its forward reads {whole}, whose content may change")
                yield path, name, value if value is MISSING else copy.deepcopy(value)


@contextmanager
def watched(block: nn.Module) -> Iterator[Reads]:
    """Note what is read from ``block`` and the modules in it.

    Raises:
        Untraceable: a module sets an attribute while it is watched, or cannot be watched.
    """
    reads = Reads(block)
    kinds: dict[type, type] = {}
    before: list[tuple[nn.Module, type]] = []
    try:
        for _, module in reads.modules.values():
            kind = type(module)
            try:
                if kind not in kinds:
                    kinds[kind] = _watching(kind, reads)
                module.__class__ = kinds[kind]
            except TypeError as error:
                raise Untraceable(f"{kind.__name__} cannot be traced ({error})") from error
            before.append((module, kind))
        yield reads
    finally:
        for module, kind in before:
            object.__setattr__(module, "__class__", kind)


def _watching(kind: type, reads: Reads) -> type:
    def read(self: nn.Module, name: str) -> Any:
        reads.note(self, name)
        return super(watching, self).__getattribute__(name)

    def written(self: nn.Module, name: str, value: object = None) -> None:
        raise Untraceable(f"its forward sets self.{name}")

    members = {"__getattribute__": read, "__setattr__": written, "__delattr__": written}
    watching: Any = subclass(kind, members)
    return watching  # type: ignore[no-any-return]


def _belongs_to_class(module: nn.Module, name: str) -> bool:
    """Whether ``name`` is a method or property: what it reads itself is noted too."""
    return name not in vars(module) and isinstance(
        getattr(type(module), name, None), types.FunctionType | types.MethodType | property
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    return isinstance(value, _FIXED)
