"""Batches in an order, and with random choices, that depend only on (seed, epoch, image)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from senet.data.loading_processes import (
    as_it_is,
    check_workers,
    loading_context,
    start,
    start_worker,
    without_main_guard,
)
from senet.data.order import Sampling, epoch_order
from senet.data.part import WHOLE, Part
from senet.data.source import ImageSource, Indices, Pixels
from senet.data.transforms import Choices, Transform
from senet.errors import SenetError
from senet.randomness import seed_from
from senet.text import counted

PREFETCHED_BATCHES = 2

# One batch to be loaded: epoch, index and repetition of each image.
Task = list[tuple[int, int, int]]


class Batch(NamedTuple):
    """One batch.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        indices: (N,) int64, the images' positions in the source.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class ImageLoader:
    """Batches of one source; make it with `make_loader`.

    Attributes:
        part: which part of every batch this process loads.
        workers: processes that load; 0 loads in this one.
    """

    def __init__(
        self,
        images: _TransformedImages,
        *,
        batch_size: int,
        seed: int,
        workers: int,
        train: bool,
        part: Part = WHOLE,
        sampling: Sampling = "shuffle",
        repeats: int = 1,
    ) -> None:
        self._images = images
        self.part = part
        self._sampling: Sampling = sampling
        self._repeats = repeats
        self._batch_size = batch_size
        self._seed = seed
        self._train = train
        self.workers = workers
        self._order = _Order()
        self._processes: DataLoader[Batch | str] | None = None
        self._iterations = 0

    def __len__(self) -> int:
        """Return the batches of a whole epoch, each of them cut into parts."""
        images = len(self._images.source)
        if self._train and images >= self._batch_size:
            return images // self._batch_size
        return math.ceil(images / self._batch_size)

    @property
    def source(self) -> ImageSource:
        """The images."""
        return self._images.source

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image at full size."""
        transform = self._images.transform
        return transform.channels, transform.size, transform.size

    @property
    def piece_size(self) -> int:
        """Images this process loads at once."""
        batch = min(self._batch_size, len(self._images.source))
        return batch // (self.part.accumulate * self.part.processes) if self._train else batch

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Return this process's part of the batches of one epoch from ``start_batch`` on.

        In training, every batch gives ``accumulate`` pieces, one after the other. In testing, the batches
        are dealt out to the processes whole.

        Only one epoch is under way at a time: starting another ends the one before.

        Raises:
            SenetError: ``start_batch`` lies outside the epoch, or, while iterating, an image cannot be
                read or a worker process died.
        """
        if not 0 <= start_batch <= len(self):
            raise SenetError(
                f"The epoch has {counted(len(self), 'batch')}, so it cannot resume at batch "
                f"{start_batch}: the images or the batch size have changed."
            )
        self._iterations += 1
        return self._iterate(self._iterations, epoch, start_batch)

    def close(self) -> None:
        """End the worker processes; the next epoch starts new ones."""
        self._iterations += 1
        self._processes = None

    def _iterate(self, iteration: int, epoch: int, start_batch: int) -> Iterator[Batch]:
        batches: Iterator[Batch | str] | None = None
        while iteration == self._iterations:
            try:
                if batches is None:
                    self._order.tasks = self._tasks(epoch, start_batch)
                    batches = self._batches()
                batch = next(batches, None)
            except (RuntimeError, EOFError, ConnectionError) as error:
                # A worker that ends while it hands over a batch breaks the connection.
                if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker (pid"):
                    raise
                self.close()
                raise SenetError(
                    without_main_guard()
                    or "A data loading process was killed, most likely because memory or shared memory "
                    f"(/dev/shm) ran out: use fewer workers (now {self.workers}) or smaller batches."
                ) from error
            if isinstance(batch, str):
                self.close()
                raise SenetError(batch)
            if batch is None:
                return
            yield batch

    def _tasks(self, epoch: int, start_batch: int) -> list[Task]:
        starts = range(start_batch * self._batch_size, len(self) * self._batch_size, self._batch_size)
        if not self._train:
            images = [(epoch, index, 0) for index in range(len(self._images.source))]
            mine = starts[self.part.process :: self.part.processes]
            return [images[start : start + self._batch_size] for start in mine]
        indices, repetitions = epoch_order(
            self._images.source.labels,
            seed=self._seed,
            epoch=epoch,
            sampling=self._sampling,
            repeats=self._repeats,
            groups=self._images.source.groups,
        )
        order = list(zip([epoch] * len(indices), indices.tolist(), repetitions.tolist(), strict=True))
        return [piece for start in starts for piece in self._pieces(order[start : start + self._batch_size])]

    def _pieces(self, batch: Task) -> list[Task]:
        """Return what this process loads of one batch."""
        size = len(batch) // (self.part.accumulate * self.part.processes)
        first = range(self.part.process * size, len(batch), self.part.processes * size)
        return [batch[start : start + size] for start in first]

    def _batches(self) -> Iterator[Batch | str]:
        if self.workers == 0:
            return (self._images.__getitems__(task) for task in self._order)
        if self._processes is None:
            self._processes = DataLoader(
                self._images,
                batch_sampler=self._order,
                num_workers=self.workers,
                collate_fn=as_it_is,
                worker_init_fn=start_worker,
                multiprocessing_context=loading_context(),
                prefetch_factor=PREFETCHED_BATCHES,
                persistent_workers=True,
                # Without its own generator, each epoch would draw from torch's global one.
                generator=torch.Generator(),
            )
        return start(self._processes)


def make_loader(
    source: ImageSource,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    workers: int,
    train: bool,
    part: Part = WHOLE,
    sampling: Sampling = "shuffle",
    repeats: int = 1,
) -> ImageLoader:
    """Make a loader.

    The batches are the same whatever ``workers`` is, and an epoch started at batch k gives exactly the
    rest of the epoch.

    Args:
        source: the images.
        transform: what is done to each.
        batch_size: images per batch, over all processes.
        seed: of the order and of the augmentation.
        workers: processes that load; 0 loads in this one.
        train: shuffle, and leave out an incomplete last batch unless it is the only one.
        part: which part of the batches this process loads.
        sampling: in training, every image once or every class equally often.
        repeats: in training, how often an image comes in a batch, augmented anew each time.

    Raises:
        SenetError: there are no images, a number is out of range, or a batch cannot be cut into equal parts.
    """
    if len(source) == 0:
        raise SenetError("There are no images to load.")
    if batch_size < 1:
        raise SenetError(f"batch_size must be a whole number of at least 1, not {batch_size}.")
    check_workers(workers)
    if sampling == "balanced" and source.groups is not None:
        raise SenetError(
            "Balanced sampling needs all classes at any time, but streamed images arrive shard by shard: "
            "leave out either --sampling or --stream."
        )
    if train:
        part.check_batch(batch_size, len(source))
    return ImageLoader(
        _TransformedImages(source, transform, seed),
        batch_size=batch_size,
        seed=seed,
        workers=workers,
        train=train,
        part=part,
        sampling=sampling,
        repeats=repeats,
    )


class _TransformedImages(Dataset[Batch | str]):
    """Whole batches by epoch and indices; a message in place of a batch that cannot be loaded."""

    def __init__(self, source: ImageSource, transform: Transform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self._seed = seed

    def __getitems__(self, task: Task) -> Batch | str:
        indices = np.array([index for _, index, _ in task], dtype=np.int64)
        choices = [self._choices(*image) for image in task]
        try:
            images = self._load(task[0][0], indices, choices)
        except SenetError as error:
            # torch rebuilds exceptions of workers from their text, which would lose the sentence.
            return str(error)
        labels = self.source.labels[indices]
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(indices))

    def _load(self, epoch: int, indices: Indices, choices: list[Choices]) -> Pixels:
        transform = self.transform.at_epoch(epoch)
        images = np.empty((len(indices), transform.planes, transform.size, transform.size), np.uint8)
        pixels = self.source.pixels(indices)
        if pixels is not None and transform.needs_no_resampling(pixels):
            for image_CHW, image, choice in zip(images, pixels, choices, strict=True):
                image_CHW[...] = transform.finish(image, choice).transpose(2, 0, 1)
        else:
            for image_CHW, index, choice in zip(images, indices.tolist(), choices, strict=True):
                image = self.source.read(index, partial(transform.is_large_enough, choices=choice))
                image_CHW[...] = transform(image, choice)
        return images

    def _choices(self, epoch: int, index: int, repetition: int) -> Choices:
        again = (repetition,) if repetition else ()
        return self.transform.draw(Random(seed_from("augment", self._seed, epoch, index, *again)))


class _Order:
    """The batches still to be loaded; torch asks for them anew at the start of each iteration."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)
