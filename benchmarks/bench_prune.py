"""SE blocks that hardly react, folded away: ``python -m benchmarks.bench_prune [DATA]``.

Trains an SE network, prunes it on one half of the test images with several budgets, and counts the errors on
the other half, which took no part in the choice. To ``benchmarks/results/prune.txt``.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import senet
from benchmarks.common import RESULTS
from senet.experiments.images import ready_images
from senet.files import write_text
from senet.insight.machine import this_machine
from senet.training.images import Normalise
from senet.training.loop import train
from senet.training.recipe import Recipe

CPU = torch.device("cpu")
BUDGETS = (0.0, 0.002, 0.01)

Batches = list[tuple[Tensor, Tensor]]


def top1_error(model: nn.Module, batches: Batches) -> float:
    """Return the percent of images whose first guess is wrong."""
    with torch.no_grad():
        wrong = [(model.eval()(images).argmax(1) != labels).float() for images, labels in batches]
    return 100 * float(torch.cat(wrong).mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Train, prune with each budget, and write what was printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", help="images as for `senet train` (default: the embedded ones)")
    parser.add_argument("--model", default="se_resnet20", help="network (default: se_resnet20)")
    parser.add_argument("--epochs", type=int, default=6, help="of the training (default: 6)")
    parser.add_argument("--out", type=Path, default=RESULTS / "prune.txt", help="the file to write")
    options = parser.parse_args(argv)
    recipe = Recipe(epochs=options.epochs, batch_size=64)
    ready = ready_images(options.data, recipe, test_fraction=None, workers=0, progress=None)
    torch.manual_seed(0)
    model = senet.create_model(
        options.model, num_classes=len(ready.classes), in_channels=ready.checked.channels
    )
    images = ready.loaders(seed=0, workers=0)
    with tempfile.TemporaryDirectory() as folder:
        train(model, images, ready.recipe, seed=0, folder=Path(folder), device=CPU)
    normalise = Normalise(images.mean, images.std, CPU)
    batches = [(normalise(each.images), each.labels) for each in images.test.epoch(0)]
    chosen_on, others = batches[::2], batches[1::2]
    data = ready.checked.data
    machine = this_machine(CPU, ("torch", "numba"))
    parts = [
        f"{options.model}, {options.epochs} epochs on {len(data.train):,} images of {data.name}.\n"
        f"Pruned on one half of {len(data.test):,} test images; below each table the errors on the other.\n"
        f"{machine.hardware}: {machine.versions}"
    ]
    for budget in BUDGETS:
        pruned = copy.deepcopy(model)
        report = senet.prune_gates(pruned, chosen_on, budget=budget)
        before, after = top1_error(model, others), top1_error(pruned, others)
        parts.append(
            f"budget={budget}\n\n{report}\n\nOther half: {before:.2f} % before, {after:.2f} % after."
        )
        print(parts[-1], flush=True)
    write_text(options.out, "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
