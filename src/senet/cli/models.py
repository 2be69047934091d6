"""``senet models``: the networks there are, with what they cost, plain and with SE."""

from __future__ import annotations

import argparse

from senet.errors import SenetError, nearest

NAME = "models"
SUMMARY = "list networks with parameters and multiply-adds, plain and with SE"
DESCRIPTION = (
    "Lists networks with their parameters and the multiply-adds of their convolutions and fully "
    "connected layers for one image, plain and with SE."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="for example 'resnet*' or vgg16_bn (default: all)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print one line per network."""
    from rich.console import Console
    from rich.table import Table

    from senet.insight.cost import cost
    from senet.networks.zoo import list_models, network_spec, plain_name, twin_name

    names = list(dict.fromkeys(plain_name(name) for name in list_models(arguments.pattern)))
    if not names:
        raise SenetError(
            f"No network is called {arguments.pattern!r}; 'senet models' lists all."
            + nearest(arguments.pattern, list_models())
        )
    table = Table(
        title="Networks, and their twins under se_NAME", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("network", no_wrap=True)
    for title in ("pixels", "parameters", "with SE", "multiply-adds", "with SE"):
        table.add_column(title, justify="right", no_wrap=True)
    for name in names:
        spec = network_spec(name)
        size = (spec.in_channels, spec.input_size, spec.input_size)
        plain, se = cost(name, size), cost(twin_name(name), size)
        table.add_row(
            name,
            str(spec.input_size),
            f"{plain.parameters:,}",
            f"{se.parameters:,}",
            f"{plain.multiply_adds / 1e6:,.1f} M",
            f"{se.multiply_adds / 1e6:,.1f} M",
        )
    Console().print(table)
