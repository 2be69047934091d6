"""``senet train``: one network, with the engine that comparisons use."""

from __future__ import annotations

import argparse

from senet.cli.options import whole_number
from senet.cli.shared import FOREIGN_NAMES, add_shared_arguments, shared_arguments

NAME = "train"
SUMMARY = "train one network"
DESCRIPTION = (
    "Trains one network with the same training loop as 'senet compare'. Writes checkpoint.pt, "
    "metrics.csv, steps.csv, speed.csv, settings.json and, if installed, tensorboard/ to the run folder. "
    "The same command resumes after an interruption. Under 'torchrun -m senet train' all processes share "
    "the training."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help=f"network, for example resnet20 or se_resnet20; {FOREIGN_NAMES}",
    )
    parser.add_argument(
        "--se", action="store_true", help="train the network's SE twin instead: se_resnet20 for resnet20"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="random seed (default: 0)")
    add_shared_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train and print the last epoch's errors."""
    from senet.cli.display import Display
    from senet.experiments.single import train_one

    options = shared_arguments(arguments)
    with Display() as display:
        network = train_one(
            **options,
            with_se=arguments.se,
            seed=arguments.seed,
            progress=display,
        )
    display.trained(network)
