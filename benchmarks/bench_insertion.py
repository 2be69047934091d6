"""SE put into public networks: ``python -m benchmarks.bench_insertion``.

For each network of timm, torchvision and pytorchcv: how many places get SE, by how much that changes the
output for random images (in evaluation mode, weights and statistics random too), what it adds, and how long
the call takes (median of several, each on a new network). To ``benchmarks/results/insertion.csv``.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tests.references import import_timm, import_torchvision, pytorchcv_model, randomise
from torch import Tensor, nn

import senet
from benchmarks.common import RESULTS
from senet.files import write_text
from senet.insight.machine import this_machine
from senet.insight.stopwatch import spread

# Each with the side of its images.
NETWORKS: dict[str, dict[str, int]] = {
    "torchvision": {
        "resnet18": 224, "resnet50": 224, "resnet101": 224, "wide_resnet50_2": 224, "resnext50_32x4d": 224,
        "regnet_x_400mf": 224, "regnet_y_400mf": 224, "vgg16_bn": 224, "alexnet": 224, "squeezenet1_1": 224,
        "googlenet": 224, "inception_v3": 299, "densenet121": 224, "mobilenet_v2": 224, "mnasnet1_0": 224,
        "shufflenet_v2_x1_0": 224, "efficientnet_b0": 224, "convnext_tiny": 224,
    },
    "timm": {
        "resnet50": 224, "resnetv2_50": 224, "seresnet50": 224, "convnext_tiny": 224, "convnextv2_atto": 224,
        "inception_v4": 299, "inception_resnet_v2": 299, "res2net50_26w_4s": 224, "dla34": 224,
        "cspresnet50": 224, "darknet53": 224, "nf_resnet50": 224, "hrnet_w18_small": 224, "xception41": 299,
        "ghostnet_100": 224, "repvgg_a0": 224, "convmixer_768_32": 224, "mobilenetv4_conv_small": 224,
    },
    "pytorchcv": {
        "resnet50": 224, "preresnet50": 224, "resnext50_32x4d": 224, "bninception": 224,
        "shufflenet_g3_w1": 224, "mobilenet_w1": 224, "wrn16_10_cifar10": 32, "resnet20_cifar10": 32,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InsertionRow:
    """What `senet.squeeze_excite` did to one network.

    Attributes:
        package: of the network.
        network: its name there.
        sites: places that got SE.
        had_se: places that weigh their channels already.
        skipped: other places that were looked at and got none.
        output_change: largest difference of an output, over the largest output.
        added_parameters: by SE.
        added_share: of the network's own parameters.
        call_ms: median time of the call.
        calls: how many were timed.
        machine: hardware and versions.
    """

    package: str
    network: str
    sites: int
    had_se: int
    skipped: int
    output_change: float
    added_parameters: int
    added_share: float
    call_ms: float
    calls: int
    machine: str


def builder(package: str, name: str) -> Callable[[], nn.Module]:
    """Return a function that builds the network with fresh weights."""
    if package == "timm":
        timm = import_timm()
        return lambda: timm.create_model(name)
    if package == "pytorchcv":
        return lambda: pytorchcv_model(name)
    models = import_torchvision().models
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return lambda: getattr(models, name)(**options)


def row(package: str, name: str, side: int, calls: int) -> InsertionRow:
    """Put SE into a network and measure."""
    build = builder(package, name)
    model = build()
    randomise(model)
    model.eval()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    own = sum(each.numel() for each in model.parameters())
    before = _scores(model, images)
    seconds = []
    for _ in range(calls):
        with torch.device("meta"):
            fresh = build() if not name.startswith("regnet") else model
        start = time.perf_counter()
        senet.squeeze_excite(fresh, dry_run=fresh is model)
        seconds.append(time.perf_counter() - start)
    report = senet.squeeze_excite(model)
    after = _scores(model, images)
    had_se = report.reasons.get("it weighs its channels already", 0)
    machine = this_machine(torch.device("cpu"), ("torch", package))
    return InsertionRow(
        package=package,
        network=name,
        sites=len(report.sites),
        had_se=had_se,
        skipped=len(report.skipped) - had_se,
        output_change=float((after - before).abs().max() / before.abs().max()),
        added_parameters=report.parameters,
        added_share=report.parameters / own,
        call_ms=1000 * spread(seconds).median,
        calls=calls,
        machine=f"{machine.hardware}: {machine.versions}",
    )


def _scores(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = model(images)
    return scores


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all networks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "insertion.csv", help="the CSV file to write")
    parser.add_argument("--calls", type=int, default=5, help="that are timed (default: 5)")
    parser.add_argument("--only", help="one package")
    options = parser.parse_args(argv)
    rows = []
    for package, networks in NETWORKS.items():
        for name, side in networks.items() if options.only in (None, package) else ():
            rows.append(row(package, name, side, options.calls))
            print(rows[-1], flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in rows)
    write_text(options.out, text.getvalue())


if __name__ == "__main__":
    main()
