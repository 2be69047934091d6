"""Options that ``senet compare`` and ``senet train`` share."""

from __future__ import annotations

import argparse
from typing import Any

from senet.blocks.se_config import SEConfig
from senet.cli.options import add_settings, given_settings, with_given
from senet.errors import SenetError
from senet.training.execution import Execution
from senet.training.recipe import Recipe

FOREIGN_NAMES = (
    "timm:NAME, torchvision:NAME and pytorchcv:NAME are those of other packages, package.module:factory is a "
    "function of yours that returns a network"
)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where images come from, where results go, and all settings of SE and training."""
    parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="a folder of class folders (with train/ and val/ or test/, or without); a parquet, Arrow or "
        "WebDataset tar file or a folder of them; a CSV file of path,label; tar files by a brace expression "
        "such as train-{0000..0099}.tar, also at https://; or the name of a dataset on the Hub such as "
        "owner/name; without it the embedded Fashion-MNIST subset is used",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="fetch each shard of a dataset on the Hub when training first needs it, not before; the same "
        "as hf:// before its name",
    )
    parser.add_argument("--out", metavar="FOLDER", help="run folder (default: one under runs/)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to train")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that decode images (default: one per core, up to 8)",
    )
    parser.add_argument(
        "--test-fraction",
        type=float,
        metavar="X",
        help="share of the images to test on where they come without a split (default: 0.2)",
    )
    add_settings(parser, "training", Recipe)
    add_settings(parser, "how it is computed", Execution)
    add_settings(parser, "squeeze and excitation", SEConfig)


def _streamed(data: str | None) -> str:
    if data is None:
        raise SenetError(
            "--stream has no effect without the name of a dataset on the Hub: add it, or drop --stream."
        )
    return data if data.startswith("hf://") else f"hf://{data}"


def shared_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `senet.compare` and `senet.train_one` take alike, from the command line.

    Raises:
        SenetError: a setting of the training is out of range.
    """
    names = ("data", "model", "out", "device", "workers", "test_fraction", "command")
    return {
        **{name: getattr(arguments, name) for name in names},
        "data": _streamed(arguments.data) if arguments.stream else arguments.data,
        "recipe": with_given(Recipe(), arguments),
        "execution": with_given(Execution(), arguments),
        "se": given_settings(arguments, SEConfig),
    }
