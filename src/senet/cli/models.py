"""``senet models``: the networks there are, with what they cost, plain and with SE."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from senet.checks import positive
from senet.cli.options import whole_number
from senet.errors import SenetError, nearest

if TYPE_CHECKING:
    from rich.table import Table

    from senet.cli.terminal import Console
    from senet.networks.specs import NetworkSpec

NAME = "models"
SUMMARY = "list networks with parameters and multiply-adds, plain and with SE"
DESCRIPTION = (
    "Lists networks with their parameters and the multiply-adds of their convolutions and fully "
    "connected layers for one image, plain and with SE. Numbers are exact where they fit the terminal."
)

_CONVENTION = (
    "Convolution and fully connected: one multiply-add per weight and output position. Pooling: values "
    "read. Scaling: multiplications by SE's weights or another factor. Addition: sums of two maps. "
    "Activations: outputs of convolutions and fully connected layers. Biases, normalisation and "
    "non-linearities are not counted. MB: a million bytes of parameters and buffers."
)

Row = tuple[str | int, ...]
"""Numbers are shown exactly or rounded, as there is space; text as it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="for example 'resnet*' or vgg16_bn (default: all)",
    )
    parser.add_argument(
        "--cost", action="store_true", help="show all kinds of operations, activations and megabytes"
    )
    parser.add_argument(
        "--input-size",
        type=whole_number,
        metavar="N",
        help="count for images of N×N pixels, such as 320 for senet154 (default: the size each was "
        "designed for)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print one line per network, or with ``--cost`` one for the plain network and one for its twin."""
    from senet.cli.terminal import Console

    size = arguments.input_size
    if size is not None:
        positive("--input-size", size)
    specs = _matching(arguments.pattern)
    console = Console()
    pixels = "the size it was designed for" if size is None else f"{size}×{size} pixels"
    if arguments.cost:
        _print_costs(console, specs, size)
        note = f"For one image of {pixels}. {_CONVENTION}"
    else:
        _print_sizes(console, specs, size)
        note = (
            f"Multiply-adds of convolutions and fully connected layers, for one image of {pixels}. "
            f"The twin of NAME is se_NAME{_other_twins(specs)}."
        )
    console.print(note, markup=False)


def _matching(pattern: str) -> list[NetworkSpec]:
    """Return the specs of the plain networks that match, or whose twins do."""
    from senet.networks.zoo import list_models, network_spec, plain_name

    names = dict.fromkeys(plain_name(name) for name in list_models(pattern))
    if not names:
        raise SenetError(
            f"No network is called {pattern!r}; 'senet models' lists all." + nearest(pattern, list_models())
        )
    return [network_spec(name) for name in names]


def _print_sizes(console: Console, specs: Sequence[NetworkSpec], size: int | None) -> None:
    from senet.insight.cost import cost

    rows: list[Row] = []
    for spec in specs:
        plain, se = cost(spec.name, size), cost(spec.se_name, size)
        counts = (plain.parameters, se.parameters, plain.multiply_adds, se.multiply_adds)
        rows.append((spec.name, str(size or spec.input_size), *counts))
    titles = ("network", "pixels", "parameters", "with SE", "multiply-adds", "with SE")
    _print(console, rows, titles, titles, digits=4)


def _print_costs(console: Console, specs: Sequence[NetworkSpec], size: int | None) -> None:
    from senet.insight.cost import cost

    rows: list[Row] = []
    for name in (name for spec in specs for name in (spec.name, spec.se_name)):
        c = cost(name, size)
        operations = (c.convolution, c.fully_connected, c.pooling, c.scaling, c.addition)
        rows.append((name, c.parameters, *operations, c.activations, f"{c.bytes / 1e6:,.1f}"))
    titles = ("network", "parameters", "convolution", "fully connected", "pooling", "scaling", "addition")
    short = ("network", "param", "conv", "fc", "pool", "scale", "add")
    _print(console, rows, (*titles, "activations", "MB"), (*short, "activ", "MB"), digits=3)


def _other_twins(specs: Sequence[NetworkSpec]) -> str:
    others = [spec for spec in specs if spec.se_name != f"se_{spec.name}"]
    return "".join(f", that of {spec.name} is {spec.se_name}" for spec in others)


def _print(
    console: Console, rows: Sequence[Row], titles: Sequence[str], short_titles: Sequence[str], digits: int
) -> None:
    """Print exact numbers, or in a terminal that is too narrow for them rounded ones; cut nothing."""
    table = _table(rows, titles, None)
    if console.is_terminal and _width(console, table) > console.width:
        table = _table(rows, short_titles, digits)
    console.width, wrapped = max(console.width, _width(console, table)), console.width
    console.print(table)
    console.width = wrapped


def _width(console: Console, table: Table) -> int:
    """Return the width at which nothing is cut."""
    return console.measure(table, options=console.options.update(width=1000)).maximum


def _table(rows: Sequence[Row], titles: Sequence[str], digits: int | None) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2 if digits is None else 1, 0, 0), pad_edge=False)
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(each if isinstance(each, str) else _number(each, digits) for each in row))
    return table


def _number(number: int, digits: int | None) -> str:
    """Return ``number`` exactly, or with so many digits and k, M or G for 10^3, 10^6 and 10^9."""
    if digits is None:
        return f"{number:,}"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # What would be rounded up to 1000 is written with the next unit.
        if number >= size * (1 - 0.5 * 10**-digits):
            return f"{number / size:.{digits}g}{unit}"
    return str(number)
