"""Compare senet with the packages whose weights it loads: ``python -m tools.conversion_matrix``.

Every pair of another package's network and ours, at full depth, with the same random weights by way of a
file. Writes `docs/conversions.md`; takes about fifteen minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from tests.references import randomise, relative_difference
from tests.weights.pairs import PAIRS, Pair, gradient_difference, loaded, scores
from torch import Tensor, nn

from senet.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "conversions.md"
BOUNDS = (1e-5, 1e-10, 1e-10)
"""What scores in float32, scores in float64 and gradients in float64 may differ by."""

HEAD = """# Weights of other packages in senet's networks

<!-- Made by `python -m tools.conversion_matrix`; tests/test_conversions_page.py holds it to the pairs. -->

Another package's network gets random weights and statistics, its state dict is saved to a file, and
`senet.create_model(network, weights=file)` reads it. Both then see two small images, at full depth.

* **scores**: largest difference between class scores in evaluation mode, divided by the largest score.
* **gradients**: largest difference between gradients of a training step, divided by the largest gradient of
  the layer; dropout and auxiliary classifiers are off.

{count} pairs, {equal} without any difference. The largest are {scores_32} in scores in float32,
{scores_64} in float64, and {gradients} in gradients.

With {versions}.

| package | its network | senet | scores, float32 | scores, float64 | gradients, float64 |
| --- | --- | --- | ---: | ---: | ---: |
"""
VERSIONED = ("torch", "timm", "torchvision", "pytorchcv", "pretrainedmodels")

Differences = tuple[float, float, float]
"""In the order of `BOUNDS`."""


def score_difference(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    """Return the largest relative difference between class scores in evaluation mode."""
    with torch.no_grad():
        return relative_difference(scores(ours.eval(), x), scores(theirs.eval(), x))


def differences_of(pair: Pair, folder: Path) -> Differences:
    """Compare the two networks of a pair."""
    theirs = pair.build()
    randomise(theirs)
    ours = loaded(theirs, pair, folder)
    x = torch.randn(2, 3, pair.side, pair.side, generator=torch.Generator().manual_seed(1))
    single = score_difference(ours, theirs, x)
    ours, theirs, x = ours.double(), theirs.double(), x.double()
    return single, score_difference(ours, theirs, x), gradient_difference(ours, theirs, x)


def row(pair: Pair, differences: Differences) -> str:
    """Return the line of one pair."""
    shown = " | ".join(_shown(each) for each in differences)
    return f"| {pair.package} | {pair.reference} | `{pair.network}` | {shown} |"


def page(found: dict[Pair, Differences]) -> str:
    """Return the page on all pairs."""
    scores_32, scores_64, gradients = (_shown(max(column)) for column in zip(*found.values(), strict=True))
    head = HEAD.format(
        count=len(found),
        equal=sum(not any(differences) for differences in found.values()),
        scores_32=scores_32,
        scores_64=scores_64,
        gradients=gradients,
        versions=", ".join(f"{name} {version(name)}" for name in VERSIONED),
    )
    return head + "".join(f"{row(pair, differences)}\n" for pair, differences in found.items())


def too_large(differences: Differences) -> bool:
    """Tell whether a difference is above its bound."""
    return any(not each <= bound for each, bound in zip(differences, BOUNDS, strict=True))


def _shown(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def main() -> None:
    """Compare all pairs and write the page, unless two networks differ."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            found[pair] = differences_of(pair, Path(folder))
            print(row(pair, found[pair]), flush=True)
    wrong = [str(pair) for pair, differences in found.items() if too_large(differences)]
    if wrong:
        sys.exit(f"The page was not written; these pairs differ: {', '.join(wrong)}")
    write_text(PAGE, page(found))


if __name__ == "__main__":
    main()
