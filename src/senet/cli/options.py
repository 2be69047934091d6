"""Command-line options made from the fields of a settings class, and back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import Field, fields, replace
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from senet.errors import SenetError

Settings = TypeVar("Settings")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Raise `SenetError`, which ends with exit code 2."""
        command = self.prog if self.prog != "senet" else "senet"
        raise SenetError(f"{message[:1].upper()}{message[1:]}; '{command} --help' lists what is allowed.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Complain of unknown options here, so that the sentence names the command they were given to."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_settings(
    parser: argparse.ArgumentParser, title: str, settings: type, *, skip: Sequence[str] = ()
) -> None:
    """Add one option per field of a dataclass, with the field's ``help``.

    An option that is not given stays ``None``, so that a network's own defaults can be told from a
    user's choice.

    Args:
        parser: gets a group of options.
        title: of the group.
        settings: a dataclass whose fields carry ``metadata={"help": ...}``.
        skip: fields that get no option.
    """
    group = parser.add_argument_group(title)
    hints = get_type_hints(settings)
    for each in fields(settings):
        if each.name not in skip:
            group.add_argument(
                f"--{each.name.replace('_', '-')}",
                dest=each.name,
                default=None,
                help=_help(each),
                **_kind(hints[each.name]),
            )


def given_settings(arguments: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Return the fields of ``settings`` that the user gave on the command line."""
    values = {each.name: getattr(arguments, each.name, None) for each in fields(settings)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def with_given(base: Settings, arguments: argparse.Namespace) -> Settings:
    """Return ``base`` with what the user gave on the command line.

    Raises:
        SenetError: a value is out of range.
    """
    return replace(base, **given_settings(arguments, type(base)))  # type: ignore[type-var]


def _help(each: Field[Any]) -> str:
    text = str(each.metadata["help"])
    default = each.default
    if default not in (None, ()) and "default" not in text:
        text += f" (default: {_shown(default)})"
    # argparse formats help texts with %.
    return text.replace("%", "%%")


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(default)


def _kind(hint: Any) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` for a type."""
    members = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) is Literal:
        return {"choices": members, "metavar": "|".join(members)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint in (int, float, str):
        return {"type": hint, "metavar": {int: "N", float: "X", str: "TEXT"}[hint]}
    if get_origin(hint) is tuple:
        return {"metavar": "N", **_kind(members[0]), "nargs": "+"}
    assert len(members) == 1, f"no option can be made for {hint}"
    return _kind(members[0])
