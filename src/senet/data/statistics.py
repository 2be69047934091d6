"""Mean and standard deviation of the pixels, which normalisation takes away."""

from __future__ import annotations

import numpy as np

from senet.data.grouped_order import sample_evenly
from senet.data.loader import make_loader
from senet.data.source import ImageSource, Subset
from senet.data.transforms import EvalTransform

MOST_IMAGES = 2000
BATCH_SIZE = 50


def channel_statistics(
    source: ImageSource, transform: EvalTransform, *, workers: int = 0
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, with pixels from 0 to 1.

    At most 2,000 images evenly spaced over the source, or over a few groups of it, are looked at. A
    standard deviation is never less than one grey level (1/255), so that dividing by it is safe.

    Raises:
        SenetError: as `make_loader` and `ImageLoader.epoch`.
    """
    chosen = sample_evenly(source, MOST_IMAGES)
    loader = make_loader(
        Subset(source, chosen), transform, batch_size=BATCH_SIZE, seed=0, workers=workers, train=False
    )
    count, total, squares = 0, np.zeros(transform.channels), np.zeros(transform.channels)
    for batch in loader.epoch(0):
        values = batch.images.numpy().astype(np.float64) / 255
        count += values[:, 0].size
        total += values.sum(axis=(0, 2, 3))
        squares += (values**2).sum(axis=(0, 2, 3))
    loader.close()
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.maximum(deviation, 1 / 255).tolist())
