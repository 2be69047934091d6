"""Decode every image once, before hours are spent on them."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from senet.data.decode import Levels, UnreadableImage
from senet.data.duplicates import FACTS, Facts, facts_of, repetitions, row_of
from senet.data.grouped_order import sample_evenly
from senet.data.loading_processes import (
    SharedFlag,
    check_workers,
    end_with_parent,
    leave_locks_behind,
    without_main_guard,
)
from senet.data.part import WHOLE, Part
from senet.data.source import ImageData, ImageSource, Indices, Subset
from senet.data.split import listed
from senet.errors import SenetError
from senet.text import counted

# Of all images, where nothing else is asked for; of few, this many, but never more than a share.
MOST_UNREADABLE = 0.01
FEW_UNREADABLE = 3
MOST_OF_FEW = 0.1
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
        warnings: sentences on images that repeat or show nothing, which a verdict must carry.
        content: a hash of the content of all images that were looked at.
        levels: of 16-bit greyscale, what is black and what is white in all images, which is the range of the
            training images; ``None`` where there is none.
    """

    data: ImageData
    unreadable: tuple[tuple[str, str], ...]
    channels: int
    median_width: int
    median_height: int
    median_size: int
    note: str = ""
    warnings: tuple[str, ...] = ()
    content: str = ""
    levels: Levels | None = None


class _Findings(NamedTuple):
    """What decoding some images showed: a row of facts for each, and why those failed that did."""

    facts: Facts
    reasons: dict[int, str]


def check_images(
    data: ImageData,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
    part: Part = WHOLE,
    gather: Gather | None = None,
    most_unreadable: float | None = None,
    levels: Levels | None = None,
) -> CheckedImages:
    """Decode every training and test image and leave out those that are damaged.

    Of images that are fetched in groups, `sample_evenly` chooses those that are looked at.

    Args:
        data: as opened.
        workers: processes that decode; 0 decodes in this one. Arrays in memory need no decoding.
        progress: called with images done and images in all, now and then.
        part: which process this is, where several share the work.
        gather: then returns what each of them found.
        most_unreadable: damaged images that are left out: a number from 1, or a share below 1; ``None``
            takes 1 % of all, or 3 of few.
        levels: black and white of 16-bit greyscale; ``None`` takes the range of the training images.

    Raises:
        SenetError: more images than that are damaged, or every image of a class is.
    """
    check_workers(workers)
    looked_at = {"train": _to_look_at(data.train), "test": _to_look_at(data.test)}
    total = sum(len(indices) for indices in looked_at.values())
    findings: dict[str, _Findings] = {}
    done = 0
    for name, source in (("train", data.train), ("test", data.test)):
        mine = []
        for some in _examine(source, looked_at[name], workers, part):
            mine.append(some)
            done += len(some.facts) * part.processes
            if progress is not None:
                progress(min(done, total), total)
        shares = [mine] if gather is None else gather(mine)
        # Tasks were dealt out one by one.
        findings[name] = _together(each for turn in zip_longest(*shares) for each in turn if each is not None)
    train, test = (
        _readable(source, looked_at[name], findings[name])
        for name, source in (("train", data.train), ("test", data.test))
    )
    unreadable = train.unreadable + test.unreadable
    _require_enough(data, train.source, test.source, unreadable, total, most_unreadable)
    levels = levels or _range(train.facts)
    if levels is not None:
        data.train.set_levels(levels)
        data.test.set_levels(levels)
    sides = np.minimum(train.facts["width"], train.facts["height"])
    return CheckedImages(
        data=dataclasses.replace(data, train=train.source, test=test.source),
        unreadable=tuple(unreadable),
        channels=1 if train.facts["greyscale"].all() and test.facts["greyscale"].all() else 3,
        median_width=int(np.median(train.facts["width"])),
        median_height=int(np.median(train.facts["height"])),
        median_size=int(np.median(sides)),
        note=_note(data, looked_at["train"], total),
        warnings=repetitions(data, train.facts, test.facts, train.indices, test.indices),
        content=_content(findings.values(), data),
        levels=levels,
    )


def _together(some: Iterable[_Findings]) -> _Findings:
    facts, before = [np.empty(0, FACTS)], 0
    reasons: dict[int, str] = {}
    for each in some:
        facts.append(each.facts)
        reasons |= {before + number: reason for number, reason in each.reasons.items()}
        before += len(each.facts)
    return _Findings(np.concatenate(facts), reasons)


def _range(facts: Facts) -> Levels | None:
    deep = facts[facts["high"] >= 0]
    return (int(deep["low"].min()), int(deep["high"].max())) if len(deep) else None


def _content(findings: Iterable[_Findings], data: ImageData) -> str:
    digest = hashlib.blake2b(f"{data.train.version}\0{data.test.version}\0".encode(), digest_size=16)
    for each in findings:
        digest.update(np.ascontiguousarray(each.facts["digest"]).tobytes())
    return digest.hexdigest()


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
        f"Only {total:,} of {every:,} images were checked, in {counted(groups, 'shard')} of the training "
        "split; the other shards are downloaded during training, and an unreadable image in them will be "
        "replaced by the next one of its class."
    )


def _examine(source: ImageSource, indices: Indices, workers: int, part: Part) -> Iterator[_Findings]:
    """Yield what this process's share of ``indices`` shows, in their order, some at a time."""
    if len(source) and source.pixels(np.zeros(1, np.int64)) is not None:
        workers = 0  # nothing to decode
    starts = range(0, len(indices), IMAGES_PER_TASK)
    tasks = [indices[start : start + IMAGES_PER_TASK].tolist() for start in starts]
    tasks = tasks[part.process :: part.processes]
    workers = min(workers, len(tasks))
    if workers == 0:
        yield from (_examine_some(source, task, SharedFlag()) for task in tasks)
        return
    # Only fork gives workers the images in memory without copying them; elsewhere they are pickled.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    stop = SharedFlag()
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(source, stop))
    try:
        yield from pool.map(_examine_in_worker, tasks)
    except BrokenProcessPool as error:
        raise SenetError(
            without_main_guard()
            or "A process that was checking images was killed, most likely because memory ran out: use "
            f"fewer workers (now {workers})."
        ) from error
    finally:
        stop.set()  # where this was interrupted, nobody waits for the rest of a task
        pool.shutdown(cancel_futures=True)


def _examine_some(source: ImageSource, indices: list[int], stop: SharedFlag) -> _Findings:
    pixels = source.pixels(np.array(indices, dtype=np.int64))
    if pixels is not None:
        return _Findings(facts_of(pixels), {})
    found, reasons = np.zeros(len(indices), FACTS), {}
    for number, index in enumerate(indices):
        if stop.is_set():
            break
        try:
            facts = source.examine(index)
        except UnreadableImage as error:
            reasons[number] = error.reason
        else:
            found[number] = row_of(facts)
    return _Findings(found, reasons)


class _Worker:
    """What a worker process was started with."""

    source: ImageSource
    stop: SharedFlag


def _start_worker(source: ImageSource, stop: SharedFlag) -> None:
    leave_locks_behind()
    end_with_parent()
    # Ctrl-C reaches the whole group of processes; only the main one is to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Worker.source, _Worker.stop = source, stop


def _examine_in_worker(indices: list[int]) -> _Findings:
    return _examine_some(_Worker.source, indices, _Worker.stop)


class _Readable(NamedTuple):
    """The readable images of a part, and of those that were looked at the indices and facts."""

    source: ImageSource
    indices: Indices
    facts: Facts
    unreadable: list[tuple[str, str]]


def _readable(source: ImageSource, indices: Indices, findings: _Findings) -> _Readable:
    if not findings.reasons:
        return _Readable(source, indices, findings.facts, [])
    failed = list(findings.reasons)
    kept = np.setdiff1d(np.arange(len(source), dtype=np.int64), indices[failed])
    unreadable = [(source.name(int(indices[at])), reason) for at, reason in findings.reasons.items()]
    return _Readable(
        Subset(source, kept), np.delete(indices, failed), np.delete(findings.facts, failed), unreadable
    )


def _most(most: float | None, total: int) -> int:
    if most is None:
        return max(int(MOST_UNREADABLE * total), min(FEW_UNREADABLE, int(MOST_OF_FEW * total)))
    return int(min(most, total) if most >= 1 else most * total)


def _require_enough(
    data: ImageData,
    train: ImageSource,
    test: ImageSource,
    unreadable: list[tuple[str, str]],
    total: int,
    most_unreadable: float | None,
) -> None:
    most = _most(most_unreadable, total)
    if len(unreadable) > most:
        shown = "; ".join(f"{name}: {reason}" for name, reason in unreadable[:MOST_NAMED])
        more = f"; and {len(unreadable) - MOST_NAMED:,} more" if len(unreadable) > MOST_NAMED else ""
        raise SenetError(
            f"{len(unreadable):,} of {counted(total, 'image')} cannot be read, and at most {most:,} may "
            f"be skipped: repair or remove the files, or allow more with --max-unreadable ({shown}{more})."
        )
    for part, before, after in (("training", data.train, train), ("test", data.test, test)):
        lost = sorted(set(before.labels.tolist()) - set(after.labels.tolist()))
        if lost:
            names = listed([data.classes[label] for label in lost])
            raise SenetError(
                f"All {part} images of {names} are unreadable: repair them or remove the class (the first "
                f"is {unreadable[0][0]}: {unreadable[0][1]})."
            )
