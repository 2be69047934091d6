"""Command-line options made from the fields of a settings class, and back."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields, replace
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from senet.errors import SenetError, nearest

Settings = TypeVar("Settings")


# What other tools call an option, where neither its letters nor its beginning tell.
_OTHER_NAMES = {
    "--gpu": "--device",
    "--arch": "--model",
    "--output": "--out",
    "--dir": "--out",
    "--img": "--image-size",
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, without the usage in front of it.

    Options cannot be abbreviated, so that a new one never changes what a command means, nor given twice.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """Raise `SenetError`, which ends with exit code 2."""
        message = re.sub(r"^argument (\S+?)(?:/\S+)?: ", r"\1: ", message)
        raise SenetError(f"{message[:1].upper()}{message[1:]}; '{self.prog} --help' lists what is allowed.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Complain of unknown options here, so that the sentence names the command they were given to."""
        words = list(sys.argv[1:] if args is None else args)
        self._refuse_unknown(words)
        found, unknown = super().parse_known_args(words, namespace)
        self._fill_optional(found, unknown)
        if unknown:
            self.error(f"unexpected argument{'s' if len(unknown) > 1 else ''} {' '.join(map(repr, unknown))}")
        return found, unknown

    def _fill_optional(self, found: argparse.Namespace, unknown: list[str]) -> None:
        """Take words that come after options: argparse gives up on DATA as soon as it has MODEL."""
        for action in self._get_positional_actions():
            if action.nargs == "?" and getattr(found, action.dest) is None and unknown:
                setattr(found, action.dest, unknown.pop(0))

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Refuse unknown and repeated options before their values are taken for something else."""
        if self._subparsers is not None:  # the command's own parser looks at the words behind it
            words = list(takewhile(lambda word: word.startswith("-"), words))
        given = set()
        for word in takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            action = self._option_string_actions.get(name)
            if action is None and name.startswith("--"):
                meant = _meant(name, self._option_string_actions)
                raise SenetError(f"There is no option {name}; '{self.prog} --help' lists them.{meant}")
            if action is not None and action.dest in given:
                raise SenetError(f"{name} is given twice: leave one of them out.")
            given |= {action.dest} if action is not None else set()


def _meant(name: str, options: Iterable[str]) -> str:
    """Return which option was most likely meant, as a question, or ``""``."""
    known = [option for option in options if option.startswith("--")]
    name = name.lower().replace("_", "-")
    letters = name.strip("-")
    for matches in (
        [option for option in known if option in (name, _OTHER_NAMES.get(name))],
        [option for option in known if option.replace("-", "") == name.replace("-", "")],
        [option for option in known if "".join(part[:1] for part in option.strip("-").split("-")) == letters],
        [option for option in known if option.startswith(name)],
        get_close_matches(name, known, n=1, cutoff=0.7),
    ):
        if matches:
            return " Did you mean " + " or ".join(matches[:3]) + "?"
    return (
        nearest(letters, (option.strip("-") for option in known), most=1)
        .replace("'", "")
        .replace("mean ", "mean --")
    )


def whole_number(text: str) -> int:
    """Return the integer that a user wrote; for ``type=`` of an option."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of up to 18 digits such as 12")
    return int(text)


def number(text: str) -> float:
    """Return the finite number that a user wrote; for ``type=`` of an option."""
    if not _DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.5 or 1e-4")
    return float(text)


def one_of(allowed: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` for an option that takes one of these words."""

    def choose(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not one of {', '.join(allowed)}.{nearest(text, allowed, most=1)}".rstrip(".")
            )
        return text

    return {"type": choose, "metavar": "|".join(allowed)}


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
        return one_of(members)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint in (int, float):
        return {"type": whole_number, "metavar": "N"} if hint is int else {"type": number, "metavar": "X"}
    if hint is str:
        return {"metavar": "TEXT"}
    if get_origin(hint) is tuple:
        return {"metavar": "N", **_kind(members[0]), "nargs": "+"}
    assert len(members) == 1, f"no option can be made for {hint}"
    return _kind(members[0])
