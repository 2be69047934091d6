"""The images that come with senet: a subset of Fashion-MNIST, so that everything runs offline.

Fashion-MNIST is by Zalando Research (Xiao, Rasul and Vollgraf, 2017) and under the MIT licence beside
this file. ``tools/make_embedded_images.py`` makes the subset.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from senet.data.source import ArraySource, ImageData

FILE = Path(__file__).with_name("fashion_mnist.npz")
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def open_embedded() -> ImageData:
    """Return 5,000 training and 1,000 test images of 28 × 28 pixels in ten equal classes."""
    with np.load(FILE, allow_pickle=False) as arrays:
        parts = {
            part: ArraySource(
                arrays[f"{part}_images"],
                arrays[f"{part}_labels"],
                CLASSES,
                [f"Fashion-MNIST {part} image {number}" for number in arrays[f"{part}_numbers"]],
            )
            for part in ("train", "test")
        }
    return ImageData(
        name="Fashion-MNIST subset",
        location="the built-in Fashion-MNIST subset",
        train=parts["train"],
        test=parts["test"],
        classes=CLASSES,
        split=(
            "The first 500 images of each class of Fashion-MNIST's training set and the first 100 of its "
            f"test set: {len(parts['train']):,} training and {len(parts['test']):,} test images."
        ),
    )
