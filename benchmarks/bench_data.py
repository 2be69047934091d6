"""Photographs a second of one core, from bytes to a crop: ``python -m benchmarks.bench_data PLACES``.

Decode, random resized crop to 224 pixels and mirroring, with the same crops for all: senet beside Pillow
decoding everything, and beside other packages where they are installed:
``pip install kornia kornia_rs opencv-python-headless albumentations simplejpeg``.

PLACES are folders of JPEG photographs, or such files. Those of the results come from Debian's packages
mate-backgrounds and lomiri-wallpapers-16.04:
``cd /usr/share/backgrounds; ls -d mate/nature *_by_{Aitzol,Bolly,Clements,Jakkub,Sander}*`` lists them
(the other wallpapers there are drawn). About three minutes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import data_peers as peers
from benchmarks.common import missing_row, parse, per_call, save
from senet.data.augment import random_rectangle
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import time_in_turns
from senet.insight.timing_rows import timing_rows
from senet.randomness import seed_from

SENET = "senet"
PILLOW = "Pillow, all decoded"
PEERS: dict[str, Callable[[], peers.Path]] = {
    SENET: peers.senet_path,
    PILLOW: peers.pillow_path,
    "Pillow, all decoded, resize(box=)": peers.pillow_box_path,
    "simplejpeg + Pillow": peers.simplejpeg_path,
    "simplejpeg, reduced, + Pillow": peers.simplejpeg_reduced_path,
    "OpenCV": peers.opencv_path,
    "albumentations": peers.albumentations_path,
    "torchvision v2": peers.torchvision_path,
    "kornia_rs": peers.kornia_rs_path,
    "kornia": peers.kornia_path,
}
PACKAGES = (
    *("torch", "pillow", "simplejpeg", "opencv-python-headless", "albumentations", "torchvision"),
    *("kornia_rs", "kornia"),
)
SUFFIXES = (".jpg", ".jpeg")
LARGE, LARGER = 1_000_000, 5_000_000
# The median of ImageNet's training images.
SMALL = (500, 375)
SMALL_QUALITY = 90
MOST_PHOTOGRAPHS = 12
CROPS_EACH = 8
# What interpolation changes in grainy photographs stays below; another crop does not.
MOST_DIFFERENCE = 25


@dataclass(frozen=True)
class Photographs:
    """Photographs that are measured together.

    Attributes:
        label: their sizes.
        contents: the bytes of each JPEG.
        crops: of each, one for each round until they begin anew.
        note: how many there are, and where they come from.
    """

    label: str
    contents: Sequence[bytes]
    crops: Sequence[Sequence[peers.Crop]]
    note: str


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all sets and write the rows."""
    options = parse(__doc__, "data_path", 160, argv, with_places)
    stay_on_one_core()
    files = list(photographs_in(options.places))
    sets = sets_of(files, 2 if options.smoke else MOST_PHOTOGRAPHS)
    if not sets:
        raise SystemExit(f"No JPEG photograph in RGB of {LARGE:,} pixels or more in the places named.")
    ready, missing = available(PEERS)
    machine = this_machine(torch.device("cpu"), PACKAGES)
    rows: list[Timing] = []
    for photographs in sets:
        begin = len(rows)
        common: dict[str, Any] = {
            "benchmark": "data path",
            "shape": photographs.label,
            "batch": 1,
            "precision": "uint8",
            "layout": "contiguous",
            "mode": "train",
            "machine": machine,
        }
        rows += measure(photographs, ready, options.seconds / len(sets), common)
        rows += [missing_row(name, why, **common) for name, why in missing.items()]
        save(rows, options.out, begin)
        print_rates(rows[begin:])


def with_places(parser: argparse.ArgumentParser) -> None:
    """Add the places of the photographs to the options."""
    parser.add_argument("places", nargs="+", type=Path, help="folders of JPEG photographs, or such files")


def stay_on_one_core() -> None:
    """Keep every package to one core, whatever threads it starts."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def photographs_in(places: Iterable[Path]) -> Iterator[Path]:
    """Yield the JPEG files in RGB, upright, of at least `LARGE` pixels, and print how many are not."""
    seen = left_out = 0
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in inside:
            if path.suffix.lower() not in SUFFIXES or path.is_symlink():
                continue
            seen += 1
            with Image.open(path) as image:
                fits = image.format == "JPEG" and image.mode == "RGB" and image.width * image.height >= LARGE
                # Not all of the packages turn photographs upright.
                if fits and image.getexif().get(0x0112, 1) == 1:
                    yield path
                else:
                    left_out += 1
    print(f"{seen} JPEG files, {left_out} of them left out: not RGB, too small or not upright")


def sets_of(files: Sequence[Path], most: int) -> list[Photographs]:
    """Return the photographs by size, at most ``most`` of each, and a set of small ones made of them."""
    sizes: dict[Path, int] = {}
    for path in files:
        with Image.open(path) as image:
            sizes[path] = image.width * image.height
    middle = [path for path in files if sizes[path] < LARGER][:most]
    large = [path for path in files if sizes[path] >= LARGER][:most]
    sets = [
        photographs(label, [path.read_bytes() for path in paths], described(paths, sizes))
        for label, paths in (("1 to 5 MP", middle), ("from 5 MP on", large))
        if paths
    ]
    of_both = middle + large
    if of_both:
        made = f"made small at JPEG quality {SMALL_QUALITY}: {described(of_both, sizes)}"
        sets.append(photographs("500x375", [small(path) for path in of_both], made))
    return sets


def photographs(label: str, contents: Sequence[bytes], note: str) -> Photographs:
    """Return a set with its random crops."""
    return Photographs(label, contents, [crops(*each) for each in enumerate(contents)], note)


def crops(number: int, content: bytes) -> list[peers.Crop]:
    """Return the crops of one photograph, the same whenever they are drawn."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    drawn = []
    for draw in range(CROPS_EACH):
        choices = peers.TRANSFORM.draw(Random(seed_from("benchmark", number, draw)))
        wide, high = random_rectangle(width, height, peers.TRANSFORM.least_area, choices)
        left, top = choices.left * (width - wide), choices.top * (height - high)
        drawn.append(peers.Crop(choices, (left, top, left + wide, top + high), choices.flip < 0.5))
    return drawn


def small(path: Path) -> bytes:
    """Return a photograph again as JPEG, with as many pixels as the median of ImageNet's."""
    with Image.open(path) as image:
        scale = math.sqrt(SMALL[0] * SMALL[1] / (image.width * image.height))
        size = round(image.width * scale), round(image.height * scale)
        stream = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=SMALL_QUALITY)
    return stream.getvalue()


def described(paths: Sequence[Path], sizes: Mapping[Path, int]) -> str:
    """Return how many photographs there are, how large, and of which Debian packages."""
    megapixels = np.array([sizes[path] for path in paths]) / 1e6
    packages = sorted({package_of(path) for path in paths})
    return (
        f"{len(paths)} photographs of {megapixels.min():.1f} to {megapixels.max():.1f} MP "
        f"from {' and '.join(packages)}"
    )


def package_of(path: Path) -> str:
    """Return the Debian package that a file belongs to, or else the name of its folder."""
    if shutil.which("dpkg-query"):
        command = ["dpkg-query", "--search", str(path.resolve())]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if found:
            return found.partition(":")[0]
    return path.resolve().parent.name


def available(
    named: Mapping[str, Callable[[], peers.Path]],
) -> tuple[dict[str, peers.Path], dict[str, str]]:
    """Return the peers that can run here, and why the others cannot."""
    ready: dict[str, peers.Path] = {}
    missing: dict[str, str] = {}
    for name, make in named.items():
        try:
            ready[name] = make()
        # torchvision beside another torch than its own raises RuntimeError.
        except (ImportError, RuntimeError) as error:
            missing[name] = f"cannot be imported: {str(error).splitlines()[0]}"
            print(f"{name} {missing[name]}")
    return ready, missing


def measure(
    photographs: Photographs, ready: Mapping[str, peers.Path], seconds: float, common: Mapping[str, Any]
) -> list[Timing]:
    """Time all peers in turns, each on all photographs with the round's crops."""
    differences = {name: difference(run, ready[PILLOW], photographs) for name, run in ready.items()}
    works = {name: work(run, photographs) for name, run in ready.items()}
    turns = time_in_turns(works, device=torch.device("cpu"), seconds=seconds, warm_up=1)
    return timing_rows(
        per_call(turns, len(photographs.contents)),
        [(PILLOW, SENET), *((name, PILLOW) for name in ready if name != PILLOW)],
        note_of={
            name: f"{photographs.note}; {mean:.1f} grey levels from Pillow's on average, {worst:.1f} at most"
            for name, (mean, worst) in differences.items()
        },
        **common,
    )


def work(run: peers.Path, photographs: Photographs) -> Callable[[], None]:
    """Return work that goes through all photographs, with other crops each time."""
    rounds = itertools.cycle(range(CROPS_EACH))

    def once() -> None:
        number = next(rounds)
        for content, crops_of_one in zip(photographs.contents, photographs.crops, strict=True):
            run(content, crops_of_one[number])

    return once


def difference(run: peers.Path, other: peers.Path, photographs: Photographs) -> tuple[float, float]:
    """Return how far pixels are from another's, on average over all photographs and in the worst of them.

    Raises:
        SystemExit: they show something else, so that there is nothing to compare.
    """
    found = []
    for content, crops_of_one in zip(photographs.contents, photographs.crops, strict=True):
        ours, theirs = (each(content, crops_of_one[0]) for each in (run, other))
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.uint8
        found.append(float(np.abs(ours.astype(int) - theirs).mean()))
    if max(found) > MOST_DIFFERENCE:
        raise SystemExit(f"Crops differ by {max(found):.1f} grey levels on average: nothing to compare.")
    return float(np.mean(found)), max(found)


def print_rates(rows: Iterable[Timing]) -> None:
    """Print photographs a second, and how many times as many as Pillow's."""
    for row in rows:
        if row.milliseconds is None or row.ratio is None:
            continue
        rate = f"{1000 / row.milliseconds.median:8.1f} a second"
        if row.ratio_to == PILLOW:
            low, middle, high = (1 / each for each in (row.ratio.p80, row.ratio.median, row.ratio.p20))
            rate += f", {middle:.2f} times Pillow's ({low:.2f} to {high:.2f})"
        print(f"{row.shape:14} {row.name:36} {rate}", flush=True)


if __name__ == "__main__":
    main()
