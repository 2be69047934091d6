"""Compare senet with the packages whose weights it loads: ``python -m tools.conversion_matrix``.

Every pair of another package's network and ours, at full depth, with the same random weights by way of a
file. Writes `docs/conversions.md`; takes about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from tests.references import randomise, relative_difference
from tests.weights.pairs import PAIRS, Pair, gradient_difference, loaded, scores
from torch import Tensor, nn

from senet.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conversions.md"
HEAD = """# Weights of other packages in senet's networks

<!-- Made by `python -m tools.conversion_matrix`. -->

Another package's network with random weights and statistics, its state dict saved to a file, and
`senet.create_model(network, weights=file)`. The largest difference between the two, divided by the largest
value: of the class scores in evaluation mode, in float32 and in float64, and of the gradients of a training
step in float64 (dropout and auxiliary classifiers off). Full depth, two small images ({versions}).

| package | its network | senet | scores, float32 | scores, float64 | gradients, float64 |
| --- | --- | --- | ---: | ---: | ---: |
"""
VERSIONED = ("torch", "timm", "torchvision", "pytorchcv", "pretrainedmodels")


def score_difference(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    """Return the largest relative difference between class scores in evaluation mode."""
    with torch.no_grad():
        return relative_difference(scores(ours.eval(), x), scores(theirs.eval(), x))


def row(pair: Pair, folder: Path) -> str:
    """Return the line of one pair."""
    theirs = pair.build()
    randomise(theirs)
    ours = loaded(theirs, pair, folder)
    x = torch.randn(2, 3, pair.side, pair.side, generator=torch.Generator().manual_seed(1))
    differences = [score_difference(ours, theirs, x)]
    ours, theirs, x = ours.double(), theirs.double(), x.double()
    differences.append(score_difference(ours, theirs, x))
    differences.append(gradient_difference(ours, theirs, x))
    shown = " | ".join(f"{each:.1e}" for each in differences)
    return f"| {pair.package} | {pair.reference} | `{pair.network}` | {shown} |"


def main() -> None:
    """Compare all pairs and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONED)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            lines.append(row(pair, Path(folder)))
            print(lines[-1], flush=True)
    write_text(PAGE, HEAD.format(versions=versions) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
