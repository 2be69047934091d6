"""What `senet compare` comes to on small sets of images when no setting of the training is given.

Makes five sets in a folder, from CIFAR-10 (a folder with train.parquet and test.parquet) and from the
embedded subset of Fashion-MNIST, and compares a network with its SE twin on each.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import senet
from benchmarks.common import RESULTS
from senet.data.images import open_images
from senet.data.source import ImageData
from senet.experiments.progress import SilentComparison
from senet.files import write_text

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Set(NamedTuple):
    """A set of images: how many of each class are trained on and tested on, and how they are changed."""

    name: str
    source: str
    classes: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    change: Callable[[Image.Image, int], Image.Image] = lambda image, number: image
    form: str = "png"


def as_photograph(image: Image.Image, number: int) -> Image.Image:
    """Enlarge an image to a size and an aspect that differ from image to image, 160 to 260 pixels."""
    random = np.random.default_rng(number)
    width, height = (int(each) for each in random.integers(160, 261, 2))
    return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


SETS = (
    Set("cifar-100", "cifar", ("frog", "ship"), (50, 50), (200, 200)),
    Set("photos-245", "cifar", ("automobile", "bird"), (124, 121), (70, 83), as_photograph, "jpg"),
    Set("fashion-500", "fashion", (), (50,) * 10, (100,) * 10),
    Set(
        "uneven-1200",
        "cifar",
        ("horse", "ship", "frog", "truck"),
        (700, 300, 150, 50),
        (280, 120, 60, 20),
    ),
    Set("cifar-5000", "cifar", CIFAR, (500,) * 10, (100,) * 10),
)


class Facts(SilentComparison):
    """Keeps what is told before the trainings."""

    def describe(self, facts: dict[str, str]) -> None:
        """Keep it."""
        self.facts = facts


def make_set(wanted: Set, data: ImageData, folder: Path) -> Path:
    """Write a set as class folders in train/ and val/, unless it is there, and return its folder."""
    root = folder / wanted.name
    names = wanted.classes or data.classes
    for part, source, counts in (("train", data.train, wanted.train), ("val", data.test, wanted.test)):
        for name, count in zip(names, counts, strict=True):
            target = root / part / name.replace("/", "-")
            target.mkdir(parents=True, exist_ok=True)
            numbers = np.flatnonzero(np.asarray(source.labels) == data.classes.index(name))[:count]
            for number in numbers.tolist():
                path = target / f"{number}.{wanted.form}"
                if not path.exists():
                    wanted.change(source.read(number), number).save(path)
    return root


def _error(comparison: senet.Comparison, variant: str) -> float:
    """Return the mean top-1 error in percent after the last epoch, over seeds."""
    return float(np.mean([run.history[-1].top1_error for run in comparison.runs if run.variant == variant]))


def run_set(root: Path, out: Path, seeds: int) -> dict[str, object]:
    """Compare on one set with default settings and return its row."""
    facts, started = Facts(), time.perf_counter()
    comparison, _ = senet.compare(root, seeds=seeds, out=out, progress=facts)
    seconds = time.perf_counter() - started
    data, recipe = comparison.data, comparison.recipe
    counts = np.bincount(data.test_labels)
    return {
        "set": root.name,
        "images": sum(data.train_counts),
        "classes": len(data.classes),
        "size": data.image_size,
        "model": comparison.model,
        **{name: recipe[name] for name in ("epochs", "batch_size", "learning_rate")},
        "majority_error": round(float(100 * (1 - counts.max() / counts.sum())), 1),
        **{f"{variant}_error": round(_error(comparison, variant), 1) for variant in ("plain", "se")},
        "seeds": seeds,
        "estimate": facts.facts["time"],
        "seconds": round(seconds),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Make the sets, compare on each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar", help="a folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("folder", type=Path, help="gets the sets and the run folders")
    parser.add_argument("--sets", nargs="+", choices=[each.name for each in SETS], help="only these")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "defaults.csv")
    options = parser.parse_args(argv)
    opened = {"cifar": open_images(options.cifar), "fashion": open_images(None)}
    rows = []
    for wanted in SETS:
        if options.sets is None or wanted.name in options.sets:
            root = make_set(wanted, opened[wanted.source], options.folder)
            rows.append(run_set(root, options.folder / f"run-{wanted.name}", options.seeds))
            print(rows[-1], flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    write_text(options.out, text.getvalue())


if __name__ == "__main__":
    main()
