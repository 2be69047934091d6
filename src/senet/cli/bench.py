"""``senet bench``: how fast senet is on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from senet.cli.options import number, one_of, whole_number
from senet.files import user_path

NAME = "bench"
SUMMARY = "measure speed on this machine: plain, SE, and other packages"
DESCRIPTION = (
    "Measures what SE costs on this machine, by running alternatives side by side in turns: first the "
    "layers after a convolution at each stage of a network, fused and layer by layer, next to a plain "
    "copy of the same number of bytes; then training and inference of the network, of its plain twin, "
    "and of the same networks in timm and torchvision if installed. Takes less than two minutes with the "
    "defaults."
)
CPU_BATCH, CUDA_BATCH = 8, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model",
        default="se_resnet50b",
        metavar="NAME",
        help="network, plain or with SE; both are measured (default: se_resnet50b)",
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number,
        metavar="N",
        help=f"images at a time (default: {CPU_BATCH}, on CUDA {CUDA_BATCH})",
    )
    parser.add_argument(
        "--image-size",
        type=whole_number,
        metavar="N",
        help="measure with images of N×N pixels (default: what the network was designed for)",
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="device to measure on")
    parser.add_argument(
        "--precision",
        default="fp32",
        **one_of(("fp32", "bf16")),
        help="precision; bf16 uses autocast (default: fp32)",
    )
    parser.add_argument(
        "--threads", type=whole_number, metavar="N", help="threads of PyTorch on the CPU (default: all cores)"
    )
    parser.add_argument(
        "--seconds",
        type=number,
        default=60.0,
        metavar="X",
        help="total measuring time; building networks and compiling kernels come on top (default: 60)",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write a CSV file with one row per measurement"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="bar chart, .svg or .png (default: runs/bench-NAME.svg)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the bars and write the files."""
    from senet.cli.bench_display import BenchDisplay, plot_path
    from senet.insight.bench import BenchSettings, bench
    from senet.networks.zoo import plain_name, twin_name
    from senet.training.device import choose_device
    from senet.weights.installed import installed_networks

    device = choose_device(arguments.device)
    settings = BenchSettings(
        model=arguments.model,
        batch_size=(
            arguments.batch_size
            if arguments.batch_size is not None
            else (CUDA_BATCH if device.type == "cuda" else CPU_BATCH)
        ),
        image_size=arguments.image_size,
        precision=arguments.precision,
        threads=arguments.threads,
        seconds=arguments.seconds,
    )
    csv, chart = (path and user_path(path) for path in (arguments.csv, arguments.plot))
    plot = plot_path(csv, chart, twin_name(settings.model))
    others, missing = installed_networks([plain_name(settings.model), twin_name(settings.model)])
    with BenchDisplay() as display:
        result = bench(settings, device=device, others=others, watch=display.watch)
    display.show(settings, result, missing)
    display.write(settings, result, csv, plot)
