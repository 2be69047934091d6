"""``senet compare``: a network against its SE twin."""

from __future__ import annotations

import argparse

from senet.cli.shared import FOREIGN_NAMES, add_shared_arguments, shared_arguments

NAME = "compare"
SUMMARY = "train a network and its SE twin on the same images and say what SE buys"
DESCRIPTION = (
    "Trains a network and its SE twin on the same images in the same order over several seeds, and "
    "says with a confidence interval what SE buys and what it costs. Writes report.html, results.json, "
    "checkpoints and settings to the run folder. The same command goes on after an interruption."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"network (default: resnet8 for images up to 64 pixels, else resnet18); {FOREIGN_NAMES}",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="trainings of each network (default: 3)"
    )
    add_shared_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare, print the table and the verdict, and write the report."""
    from senet.cli.display import Display
    from senet.experiments.compare import compare
    from senet.report.write import write_report
    from senet.training.processes import is_first_process

    options = shared_arguments(arguments)
    with Display() as display:
        comparison, folder = compare(**options, seeds=arguments.seeds, progress=display)
    if is_first_process():
        page = write_report(comparison, folder)
        display.conclude(comparison, page)
