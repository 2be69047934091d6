"""Recipes as TOML files: those that come with senet, each value with its source, and a user's own.

This module imports no torch, so that ``senet --help`` stays quick.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from senet.checks import require_type
from senet.errors import SenetError, nearest
from senet.files import user_path
from senet.schema import Schema, SchemaError, shown
from senet.training.recipe import Recipe
from senet.training.recipe_changes import with_changes

FOLDER = Path(__file__).with_name("recipes")
SUFFIX = ".toml"
STATUSES = ("verified", "recalled", "chosen")
"""What a value's source is worth: looked up there; named from memory; chosen, since no source tells."""

_DESCRIPTION, _PURPOSE, _LIMITS = "description", "for", "limits"
_TEXTS = (_DESCRIPTION, _PURPOSE, _LIMITS)
_VALUE_KEYS = {"value", "source", "status"}


@dataclass(frozen=True, kw_only=True)
class SourcedValue:
    """One setting of a recipe file.

    Attributes:
        value: as `Recipe` takes it.
        source: where it comes from, or why it was chosen; empty where a user's file does not tell.
        status: one of `STATUSES`, or empty.
    """

    value: Any
    source: str = ""
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """A recipe as its file has it.

    Attributes:
        name: of the recipe, or the path of a user's file.
        path: of the file.
        description: one line.
        purpose: what it is for, a few words; empty where a user's file does not tell.
        limits: sentences on what its source does and senet does not.
        values: what the file states, by the name of the setting; the rest stays as in `Recipe`.
    """

    name: str
    path: Path
    description: str
    purpose: str
    limits: tuple[str, ...]
    values: Mapping[str, SourcedValue]

    def recipe(self, **changes: Any) -> tuple[Recipe, tuple[str, ...]]:
        """Return the recipe with some settings changed, and sentences on what had to change with them.

        Raises:
            SenetError: a setting does not exist, or is out of range.
        """
        stated = {name: each.value for name, each in self.values.items()}
        return with_changes(stated, changes)


def load_recipe(name: str | Path, **changes: Any) -> Recipe:
    """Return a recipe that comes with senet, or one of a user's TOML file.

    A changed number of epochs takes along everything that is counted in epochs and not changed itself:
    ``load_recipe("paper-imagenet", epochs=50)`` lowers the rate after epochs 15, 30 and 45. Where the
    schedule becomes the cosine, the steps of the file are dropped.

    Args:
        name: one of `list_recipes`, or a file of lines such as ``learning_rate = 0.6``.
        changes: settings of `Recipe` that are to differ from the file.

    Raises:
        SenetError: there is no such recipe or file, or something in it is not a setting or out of range.
    """
    return read_recipe_file(name).recipe(**changes)[0]


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with senet, those of the paper first."""
    names = [path.stem for path in FOLDER.glob(f"*{SUFFIX}")]
    return sorted(names, key=lambda name: (not name.startswith("paper"), name))


def read_recipe_file(name: str | Path) -> RecipeFile:
    """Read a recipe that comes with senet, or a user's file.

    Raises:
        SenetError: as `load_recipe`.
    """
    require_type("recipe", name, (str, Path), "the name of a recipe or a TOML file")
    path = _find(name)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise SenetError(f"The recipe {path} cannot be read ({error.strerror}): check the path.") from error
    except (ValueError, RecursionError) as error:  # TOML's errors and those of the encoding are ValueErrors
        reason = " ".join(str(error).split())[:160]
        raise SenetError(
            f"The recipe {path} is not valid TOML ({reason}): write lines such as learning_rate = 0.6."
        ) from error
    settings = {each.name for each in fields(Recipe)}
    for key in content:
        if key not in settings and key not in _TEXTS:
            raise SenetError(
                f"The recipe {path} sets {shown(key)}, which is not a training setting: 'senet train "
                f"--help' lists them.{nearest(key, settings)}"
            )
    file = RecipeFile(
        name=path.stem if path.parent == FOLDER else str(path),
        path=path,
        description=_text(content, _DESCRIPTION, path),
        purpose=_text(content, _PURPOSE, path),
        limits=_sentences(content.get(_LIMITS, []), path),
        values={key: _sourced(key, content[key], path) for key in content if key in settings},
    )
    try:
        file.recipe()
    except SenetError as error:
        raise SenetError(f"The recipe {path} cannot be used: {error}") from error
    return file


def _find(name: str | Path) -> Path:
    path = user_path(name)
    names = list_recipes()
    if str(name) in names and not (isinstance(name, Path) and path.is_file()):
        return FOLDER / f"{name}{SUFFIX}"
    if path.is_file():
        return path
    raise SenetError(
        f"There is no recipe {str(name)!r}: choose one of {', '.join(names)}, or name a TOML "
        f"file.{nearest(str(name), names)}"
    )


def _text(content: Mapping[str, Any], key: str, path: Path) -> str:
    value = content.get(key, "")
    if not isinstance(value, str):
        raise SenetError(f"{key} in the recipe {path} must be a string, not {shown(value)}.")
    return value


def _sentences(value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise SenetError(f"{_LIMITS} in the recipe {path} must be a list of strings, not {shown(value)}.")
    return tuple(value)


def _sourced(key: str, entry: Any, path: Path) -> SourcedValue:
    """Return what ``key = 1`` or a table ``[key]`` with value, source and status says."""
    if not isinstance(entry, dict):
        return SourcedValue(value=_typed(key, entry, path))
    unknown = sorted(entry.keys() - _VALUE_KEYS)
    if unknown or "value" not in entry:
        problem = f"has {shown(unknown[0])}" if unknown else "has no value"
        raise SenetError(
            f"[{key}] in the recipe {path} {problem}: it must have value, and may have source and status."
        )
    source, status = (_text(entry, name, path) for name in ("source", "status"))
    if status and status not in STATUSES:
        raise SenetError(
            f"The status of {key} in the recipe {path} must be one of {', '.join(STATUSES)}, not "
            f"{shown(status)}."
        )
    return SourcedValue(value=_typed(key, entry["value"], path), source=source, status=status)


def _typed(key: str, value: Any, path: Path) -> Any:
    """Return a value of TOML as `Recipe` takes it."""
    try:
        return Schema().build(get_type_hints(Recipe)[key], value, key)
    except SchemaError as error:
        raise SenetError(f"The recipe {path} cannot be used: {error}.") from error
