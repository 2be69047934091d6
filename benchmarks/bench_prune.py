"""SE blocks that hardly react, folded away: ``python -m benchmarks.bench_prune [DATA]``.

Trains an SE network, prunes it on one half of the test images with several budgets, and counts the errors on
the other half, which took no part in the choice. To ``benchmarks/results/prune.txt``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import senet
from benchmarks.common import RESULTS
from benchmarks.trained import CPU, parser, train_new
from senet.files import write_text
from senet.insight.machine import this_machine
from senet.training.images import Normalise

BUDGETS = (0.0, 0.002, 0.01)

Batches = list[tuple[Tensor, Tensor]]


def top1_error(model: nn.Module, batches: Batches) -> float:
    """Return the percent of images whose first guess is wrong."""
    with torch.no_grad():
        wrong = [(model.eval()(images).argmax(1) != labels).float() for images, labels in batches]
    return 100 * float(torch.cat(wrong).mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Train, prune with each budget, and write what was printed."""
    options = parser(__doc__, RESULTS / "prune.txt", "se_resnet20", 6).parse_args(argv)
    model, ready, images = train_new(options.data, options.model, epochs=options.epochs, batch_size=64)
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
