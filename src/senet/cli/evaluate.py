"""``senet evaluate``: how well weights do on images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from senet.cli.options import add_settings, given_settings, number, one_of, whole_number
from senet.cli.shared import data_of
from senet.experiments.view_settings import ViewSettings

if TYPE_CHECKING:
    from senet.experiments.evaluation_report import EvaluationReport

NAME = "evaluate"
SUMMARY = "evaluate weights on images: errors with intervals, by class, at any resolution"
DESCRIPTION = (
    "Evaluates a run folder, a file of weights, a released checkpoint or another package's network. "
    "Images are preprocessed as for the weights' own test; --image-size sets other sizes. Prints top-1 "
    "and top-5 error with a 95 % interval, the classes with the highest error, and the most frequent "
    "confusions."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    _add_subject(parser)
    add_settings(parser, "preprocessing", ViewSettings)
    parser.add_argument("--per-class", action="store_true", help="print all classes, not only the worst")


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run folder, a file of weights, a released checkpoint such as cadene/se_resnet50, "
        "timm:NAME, or a network's name together with --weights",
    )
    parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="images, as for 'senet train' (default: those of the run, else the built-in Fashion-MNIST "
        "subset)",
    )
    parser.add_argument("--data", dest="data_option", metavar="DATA", help="the same as DATA")
    parser.add_argument("--weights", metavar="FILE|NAME", help="weights for the network given as MODEL")
    parser.add_argument(
        "--split",
        **one_of(("test", "train", "all")),
        help="which images (default: the test split if there is one or the run made one, else all)",
    )
    parser.add_argument(
        "--test-fraction",
        type=number,
        metavar="X",
        help="share of images to evaluate if there is no test split (default: as in the run, or 0.2)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder for evaluation.json, per_class.csv and predictions.csv"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="device to use")
    parser.add_argument(
        "--workers",
        type=whole_number,
        metavar="N",
        help="processes that decode images (default: one per core, up to 8)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and print."""
    from senet.cli.evaluate_display import EvaluationDisplay
    from senet.experiments.evaluate import evaluate

    views = ViewSettings(**given_settings(arguments, ViewSettings))
    names = ("weights", "split", "device", "workers", "test_fraction", "out", "command")
    options = {name: getattr(arguments, name) for name in names}
    with EvaluationDisplay() as display:
        report: EvaluationReport = evaluate(
            arguments.model, data_of(arguments), views=views, **options, progress=display
        )
    display.conclude(report, all_classes=arguments.per_class, out=arguments.out)
