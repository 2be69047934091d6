"""``senet recipes``: the recipes there are, and where each of their values comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from senet.errors import SenetError

if TYPE_CHECKING:
    from senet.cli.terminal import Console
    from senet.training.recipe_files import RecipeFile

NAME = "recipes"
SUMMARY = "list training recipes, or show the source of each value of one"
DESCRIPTION = (
    "Lists the recipes that 'senet train' and 'senet compare' accept with --recipe. With a name, or a "
    "TOML file of your own, prints each value with its source."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("recipe", nargs="?", metavar="NAME|FILE", help="print the values of this recipe")
    parser.add_argument(
        "--toml",
        action="store_true",
        help="print the recipe's file, as a starting point for your own: senet recipes modern --toml > "
        "mine.toml",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print one line per recipe, the values of one, or its file."""
    from senet.cli.terminal import Console
    from senet.training.recipe_files import read_recipe_file

    console = Console()
    if arguments.recipe is None:
        if arguments.toml:
            raise SenetError(
                "--toml prints the file of one recipe: give its name, as in senet recipes modern --toml."
            )
        _print_list(console)
        return
    file = read_recipe_file(arguments.recipe)
    if arguments.toml:
        text = file.path.read_text(encoding="utf-8").rstrip("\n")
        console.print(text, markup=False, soft_wrap=True)
    else:
        _print_values(console, file)


def _print_list(console: Console) -> None:
    from rich.table import Table

    from senet.training.recipe_files import list_recipes, read_recipe_file

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in list_recipes():
        file = read_recipe_file(name)
        table.add_row(name, f"{file.description}. For: {file.purpose}.")
    console.print(table)
    console.print("\n'senet recipes NAME' prints all values of a recipe with their sources.")


def _print_values(console: Console, file: RecipeFile) -> None:
    from rich.table import Table

    from senet.cli.terminal import plain

    for text in (file.description, f"For: {file.purpose}" if file.purpose else ""):
        if text:
            console.print(f"{text}.", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("setting", "value", "status", "source"):
        table.add_column(title, no_wrap=title != "source", overflow="fold")
    for name, each in file.values.items():
        table.add_row(name, shown(each.value), each.status, plain(each.source))
    console.print()
    console.print(table)
    console.print("\nSettings that are not listed have the defaults shown by 'senet train --help'.")
    for sentence in file.limits:
        console.print(f"* {sentence}", markup=False)


def shown(value: object) -> str:
    """Return a value of a recipe as the command line takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
