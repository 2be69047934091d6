"""Rows of the documentation's tables of recipes, from the files themselves."""

from __future__ import annotations

from senet.cli.recipes import shown
from senet.training.recipe_files import list_recipes, read_recipe_file

RECIPE_TITLES = ("recipe", "what it does", "for")
VALUE_TITLES = ("setting", "value", "status", "source")


def recipe_rows() -> list[tuple[str, str, str]]:
    """Return name, description and purpose of every recipe that comes with senet."""
    files = [read_recipe_file(name) for name in list_recipes()]
    return [(file.name, file.description, file.purpose) for file in files]


def value_rows(name: str) -> list[tuple[str, str, str, str]]:
    """Return setting, value, status and source of every value of one recipe."""
    values = read_recipe_file(name).values
    return [(key, shown(each.value), each.status, each.source) for key, each in values.items()]
