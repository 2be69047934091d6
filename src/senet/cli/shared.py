"""Options that ``senet compare`` and ``senet train`` share."""

from __future__ import annotations

import argparse
from typing import Any

from senet.blocks.se_config import SEConfig
from senet.cli.options import add_settings, given_settings, number, whole_number, with_given
from senet.errors import SenetError
from senet.training.execution import Execution
from senet.training.recipe import Recipe
from senet.training.recipe_files import list_recipes, read_recipe_file

FOREIGN_NAMES = (
    "timm:NAME, torchvision:NAME and pytorchcv:NAME are networks of other packages, "
    "package.module:factory is a function of your own that returns a network"
)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where images come from, where results go, and all settings of SE and training."""
    parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="a folder of class folders (with or without train/ and val/ or test/); a parquet, Arrow or "
        "WebDataset tar file, or a folder of them; a CSV file of path,label; a brace pattern of tar "
        "files such as train-{0000..0099}.tar, also at https://; or the name of a dataset on the "
        "Hugging Face Hub such as owner/name (default: the built-in Fashion-MNIST subset)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="download each shard of a dataset on the Hub when training first needs it, not in advance; "
        "the same as hf:// before its name",
    )
    parser.add_argument(
        "--data",
        dest="data_option",
        metavar="DATA",
        help="the same as DATA",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"training settings to start from ({', '.join(list_recipes())}, or a TOML file of your own; "
        "see 'senet recipes'); other options override it",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME|FOLDER",
        help="start from weights: a file, also one of 'senet insert', a released checkpoint such as "
        "cadene/se_resnet50, or a run folder; the classifier is new if the classes differ, and new "
        "SE blocks start at identity",
    )
    parser.add_argument(
        "--pretrained",
        action="store_true",
        help="start from the weights that timm, torchvision or pytorchcv released for their network",
    )
    parser.add_argument("--out", metavar="FOLDER", help="run folder (default: one under runs/)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="device to train on")
    parser.add_argument(
        "--workers",
        type=whole_number,
        metavar="N",
        help="processes that decode images (default: one per core, up to 8)",
    )
    parser.add_argument(
        "--test-fraction",
        type=number,
        metavar="X",
        help="share of images to test on if there is no test split (default: 0.2)",
    )
    add_settings(parser, "training", Recipe)
    add_settings(parser, "execution", Execution)
    add_settings(parser, "squeeze and excitation", SEConfig)


def _streamed(data: str | None) -> str:
    if data is None:
        raise SenetError(
            "--stream has no effect without the name of a dataset on the Hub: add the name, or leave out "
            "--stream."
        )
    return data if data.startswith("hf://") else f"hf://{data}"


def shared_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `senet.compare` and `senet.train_one` take alike, from the command line.

    Raises:
        SenetError: the images are named twice, there is no such recipe, or a setting of the training is
            out of range.
    """
    names = ("model", "out", "device", "workers", "test_fraction", "command")
    return {
        **{name: getattr(arguments, name) for name in names},
        "data": _streamed(data_of(arguments)) if arguments.stream else data_of(arguments),
        "recipe": _chosen_recipe(arguments),
        "weights": _weights(arguments),
        "execution": with_given(Execution(), arguments),
        "se": given_settings(arguments, SEConfig),
    }


def _weights(arguments: argparse.Namespace) -> str | None:
    weights: str | None = arguments.weights
    if not arguments.pretrained:
        return weights
    if weights is not None:
        raise SenetError(
            f"--weights {weights} and --pretrained both give weights to start from: leave one of them out."
        )
    return "pretrained"


def data_of(arguments: argparse.Namespace) -> str | None:
    """Return where the images are, by their position or by ``--data``.

    Raises:
        SenetError: both are given.
    """
    by_position: str | None = arguments.data
    by_name: str | None = arguments.data_option
    if by_position is not None and by_name is not None:
        raise SenetError(
            f"The images are given twice, as {by_position!r} and --data {by_name!r}: leave one of them out."
        )
    return by_name if by_position is None else by_position


def _chosen_recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe with what was given beside it, and print what had to change with that."""
    if arguments.recipe is None:
        return with_given(Recipe(), arguments)
    recipe, consequences = read_recipe_file(arguments.recipe).recipe(**given_settings(arguments, Recipe))
    if consequences:
        from senet.cli.terminal import Console
        from senet.training.processes import is_first_process

        console = Console(quiet=not is_first_process())
        for sentence in consequences:
            console.print(sentence, markup=False, soft_wrap=True)
    return recipe
