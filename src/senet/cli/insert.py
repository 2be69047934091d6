"""``senet insert``: SE in a network of another package or of the user's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from senet.blocks.se_config import Placement, Start
from senet.checks import positive
from senet.cli.options import one_of, whole_number
from senet.errors import SenetError
from senet.files import require_writable, user_path

NAME = "insert"
SUMMARY = "add SE to a network of another package or your own"
DESCRIPTION = (
    "Finds where SE belongs in a network of timm, torchvision, pytorchcv or your own, and prints the "
    "plan: each place with its channels and the cost of SE there. With --out, the network with SE is "
    "written as a safetensors file of its state dict; with --dry-run, nothing is written."
)
SUFFIX = ".safetensors"
_SETTINGS = ("reduction", "kind", "placement", "stages", "where", "start")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command; one that is not given is left to `senet.squeeze_excite`."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="timm:NAME, torchvision:NAME, pytorchcv:NAME, or package.module:factory for a function of "
        "your own that returns a network",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the plan")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"write the state dict of the network with SE to this {SUFFIX} file, replacing an existing one",
    )
    parser.add_argument(
        "--pretrained", action="store_true", help="start from the weights released by the package"
    )
    parser.add_argument(
        "--num-classes", type=whole_number, metavar="N", help="number of classes (default: the network's own)"
    )
    parser.add_argument(
        "--in-channels",
        type=whole_number,
        metavar="N",
        help="number of image channels (default: the network's own)",
    )
    parser.add_argument(
        "--input-size",
        type=whole_number,
        metavar="N",
        help="count multiply-adds for images of N×N pixels (default: the size the network was designed for)",
    )
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("squeeze and excitation")
    group.add_argument(
        "--reduction",
        type=whole_number,
        metavar="N",
        help="reduction ratio r: the hidden layer has channels / r units (default: 16)",
    )
    group.add_argument("--kind", metavar="KIND", help="block to add (default: se)")
    group.add_argument(
        "--placement",
        **one_of(get_args(Placement)),
        help="where SE sits in a unit (default: standard, the end of the branch)",
    )
    group.add_argument(
        "--stages", type=whole_number, nargs="+", metavar="N", help="stages that get SE (default: all)"
    )
    group.add_argument(
        "--where",
        nargs="+",
        metavar="NAME",
        help="units, parts of the network or modules that get SE, by their names in the plan, such as "
        "layer4 or 'layer*.0' (default: all units)",
    )
    group.add_argument(
        "--start",
        **one_of(get_args(Start)),
        help="identity: all gates are exactly 1 until trained, so the output does not change; random: as "
        "in the paper (default: identity)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the plan and, where asked to, write the network."""
    _check(arguments)
    from senet.networks.factory import refuse_ignored
    from senet.networks.foreign import create_foreign
    from senet.surgery.insert import squeeze_excite

    model = create_foreign(
        arguments.model,
        num_classes=arguments.num_classes,
        in_channels=arguments.in_channels,
        pretrained=arguments.pretrained,
    )
    refuse_ignored(arguments.model, num_classes=arguments.num_classes, in_channels=arguments.in_channels)
    settings = _given_settings(arguments)
    report = squeeze_excite(
        model, **settings, example_input=_example(arguments, model), dry_run=arguments.dry_run
    )
    if arguments.dry_run:
        _print(str(report))
        return
    _write(arguments, model, settings)
    _print(str(report))
    call = ", ".join(["model", *(f"{name}={value!r}" for name, value in settings.items())])
    _print(f"\nWritten: {arguments.out}\nIn Python: senet.squeeze_excite({call})")
    _print(f"           model.load_state_dict(safetensors.torch.load_file({str(arguments.out)!r}))")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before anything is built."""
    if arguments.out is not None:
        arguments.out = user_path(arguments.out)
    name, out = arguments.model, arguments.out
    for label, value in (
        ("--num-classes", arguments.num_classes),
        ("--in-channels", arguments.in_channels),
        ("--input-size", arguments.input_size),
    ):
        if value is not None:
            positive(label, value)
    if ":" not in name:
        raise SenetError(
            f"{name!r} is not a network of another package: write timm:NAME, torchvision:NAME, "
            "pytorchcv:NAME or package.module:factory; senet's own networks with SE are listed by 'senet "
            "models'."
        )
    if arguments.dry_run and out is not None:
        raise SenetError(f"--dry-run writes nothing, so --out {out} has no effect: leave out one of them.")
    if arguments.dry_run:
        return
    if out is None:
        raise SenetError(f"Choose the output file with --out FILE{SUFFIX}, or print the plan with --dry-run.")
    if out.suffix != SUFFIX:
        raise SenetError(f"--out must end with {SUFFIX}, not {out}.")
    require_writable(out)


def _given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }


def _example(arguments: argparse.Namespace, model: Any) -> Any:
    """Return an image as the network takes, or ``None`` where its size is not known."""
    import torch

    from senet.networks.foreign import usual_image

    usual = usual_image(arguments.model, model)
    if usual is None and arguments.input_size is None:
        return None
    channels, height, width = usual or (3, 0, 0)
    size = arguments.input_size
    sides = (height, width) if size is None else (size, size)
    return torch.zeros(1, arguments.in_channels or channels, *sides)


def _write(arguments: argparse.Namespace, model: Any, settings: dict[str, Any]) -> None:
    from senet.weights.save import save_inserted

    built = {
        "num_classes": arguments.num_classes,
        "in_channels": arguments.in_channels,
        "pretrained": arguments.pretrained,
    }
    save_inserted(model, arguments.out, name=arguments.model, built=built, settings=settings)


def _print(text: str) -> None:
    from senet.cli.terminal import Console

    Console().print(text, markup=False, soft_wrap=True)
