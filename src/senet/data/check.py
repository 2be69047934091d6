"""Decode every image once, before hours are spent on them."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from senet.data.decode import UnreadableImage
from senet.data.grouped_order import sample_evenly
from senet.data.loading_processes import leave_locks_behind
from senet.data.part import WHOLE, Part
from senet.data.source import ImageData, ImageSource, Indices, Subset
from senet.data.split import listed
from senet.errors import SenetError

MOST_UNREADABLE = 0.01
# Of the training images, and as many test images, where looking at all would fetch all.
MOST_SAMPLED = 2000
IMAGES_PER_TASK = 64
MOST_NAMED = 3

# Gives to each of several processes what all of them have found.
Gather = Callable[[Any], list[Any]]


@dataclass(frozen=True, kw_only=True)
class CheckedImages:
    """Images of which every one can be decoded, or those of a sample.

    Attributes:
        data: without the unreadable ones.
        unreadable: ``(name, reason)`` of each image left out, training images first.
        channels: 1 when every image is greyscale, else 3.
        median_width: of the training images, in pixels.
        median_height: of the training images, in pixels.
        median_size: of the training images' shorter sides, in pixels.
        note: says so, as a sentence, where only a sample was looked at; else empty.
    """

    data: ImageData
    unreadable: tuple[tuple[str, str], ...]
    channels: int
    median_width: int
    median_height: int
    median_size: int
    note: str = ""


class _Finding(NamedTuple):
    """What decoding one image showed; ``reason`` is why it could not be."""

    width: int
    height: int
    greyscale: bool
    reason: str | None


def check_images(
    data: ImageData,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
    part: Part = WHOLE,
    gather: Gather | None = None,
) -> CheckedImages:
    """Decode every training and test image and leave out those that are damaged.

    Of images that are fetched in groups, `sample_evenly` chooses those that are looked at.

    Args:
        data: as opened.
        workers: processes that decode; 0 decodes in this one. Arrays in memory need no decoding.
        progress: called with images done and images in all, now and then.
        part: which process this is, where several share the work.
        gather: then returns what each of them found.

    Raises:
        SenetError: more than 1 % of all images are damaged, or every image of a class is.
    """
    if workers < 0:
        raise SenetError(f"There are {workers} workers, and 0 or more are possible.")
    looked_at = {"train": _to_look_at(data.train), "test": _to_look_at(data.test)}
    total = sum(len(indices) for indices in looked_at.values())
    findings: dict[str, list[_Finding]] = {}
    done = 0
    for name, source in (("train", data.train), ("test", data.test)):
        mine = []
        for some in _examine(source, looked_at[name], workers, part):
            mine.append(some)
            done += len(some) * part.processes
            if progress is not None:
                progress(min(done, total), total)
        shares = [mine] if gather is None else gather(mine)
        # Tasks were dealt out one by one.
        dealt = [task for turn in zip_longest(*shares, fillvalue=[]) for task in turn]
        findings[name] = [finding for task in dealt for finding in task]
    train, train_unreadable = _readable(data.train, looked_at["train"], findings["train"])
    test, test_unreadable = _readable(data.test, looked_at["test"], findings["test"])
    unreadable = train_unreadable + test_unreadable
    _require_enough(data, train, test, unreadable, total)
    seen = [finding for finding in findings["train"] if finding.reason is None]
    grey = all(each.greyscale for some in findings.values() for each in some if each.reason is None)
    return CheckedImages(
        data=dataclasses.replace(data, train=train, test=test),
        unreadable=tuple(unreadable),
        channels=1 if grey else 3,
        median_width=int(np.median([finding.width for finding in seen])),
        median_height=int(np.median([finding.height for finding in seen])),
        median_size=int(np.median([min(finding.width, finding.height) for finding in seen])),
        note=_note(data, looked_at["train"], total),
    )


def _to_look_at(source: ImageSource) -> Indices:
    if source.groups is None:
        return np.arange(len(source), dtype=np.int64)
    return sample_evenly(source, MOST_SAMPLED)


def _note(data: ImageData, train: Indices, total: int) -> str:
    every = len(data.train) + len(data.test)
    if data.train.groups is None or total == every:
        return ""
    groups = len(np.unique(data.train.groups[train]))
    return (
        f"{total:,} of {every:,} images were looked at, from {groups} shards of the training part, as the "
        "others are fetched later: an unreadable one will be replaced by the next of its class."
    )


def _examine(source: ImageSource, indices: Indices, workers: int, part: Part) -> Iterator[list[_Finding]]:
    """Yield what this process's share of ``indices`` shows, in their order, some at a time."""
    pixels = source.pixels(np.zeros(1, np.int64)) if len(source) else None
    if pixels is not None:
        _, height, width, channels = pixels.shape
        if part.process == 0:
            yield [_Finding(width, height, channels == 1, None)] * len(indices)
        return
    starts = range(0, len(indices), IMAGES_PER_TASK)
    tasks = [indices[start : start + IMAGES_PER_TASK].tolist() for start in starts]
    tasks = tasks[part.process :: part.processes]
    workers = min(workers, len(tasks))
    if workers == 0:
        yield from (_examine_some(source, task) for task in tasks)
        return
    # Only fork gives workers the images in memory without copying them; elsewhere they are pickled.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(source,))
    try:
        yield from pool.map(_examine_in_worker, tasks)
    except BrokenProcessPool as error:
        raise SenetError(
            "A process checking images was ended from outside, most likely for lack of memory: use fewer "
            f"workers than {workers}."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _examine_some(source: ImageSource, indices: list[int]) -> list[_Finding]:
    found = []
    for index in indices:
        try:
            facts = source.examine(index)
        except UnreadableImage as error:
            found.append(_Finding(0, 0, False, error.reason))
        else:
            found.append(_Finding(facts.width, facts.height, facts.greyscale, None))
    return found


class _Worker:
    """What a worker process was started with."""

    source: ImageSource


def _start_worker(source: ImageSource) -> None:
    leave_locks_behind()
    # Ctrl-C reaches the whole group of processes; only the main one is to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Worker.source = source


def _examine_in_worker(indices: list[int]) -> list[_Finding]:
    return _examine_some(_Worker.source, indices)


def _readable(
    source: ImageSource, indices: Indices, findings: list[_Finding]
) -> tuple[ImageSource, list[tuple[str, str]]]:
    looked_at = zip(indices.tolist(), findings, strict=True)
    reasons = {index: finding.reason for index, finding in looked_at if finding.reason is not None}
    if not reasons:
        return source, []
    kept = np.setdiff1d(np.arange(len(source), dtype=np.int64), list(reasons))
    return Subset(source, kept), [(source.name(index), reason) for index, reason in reasons.items()]


def _require_enough(
    data: ImageData, train: ImageSource, test: ImageSource, unreadable: list[tuple[str, str]], total: int
) -> None:
    if len(unreadable) > MOST_UNREADABLE * total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in unreadable[:MOST_NAMED])
        more = f"; and {len(unreadable) - MOST_NAMED:,} more" if len(unreadable) > MOST_NAMED else ""
        raise SenetError(
            f"{len(unreadable):,} of {total:,} images cannot be read, and at most {MOST_UNREADABLE:.0%} are "
            f"left out without asking: repair or remove them ({shown}{more})."
        )
    for part, before, after in (("training", data.train, train), ("test", data.test, test)):
        lost = sorted(set(before.labels.tolist()) - set(after.labels.tolist()))
        if lost:
            names = listed([data.classes[label] for label in lost])
            raise SenetError(
                f"Every {part} image of {names} is unreadable: repair them or remove the class (the first is "
                f"{unreadable[0][0]}: {unreadable[0][1]})."
            )
