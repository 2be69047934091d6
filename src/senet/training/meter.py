"""How fast a training runs, and how much of its time goes by waiting for data."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

Item = TypeVar("Item")

# Weight of the newest step in the average of the recent ones.
_NEWEST = 0.05


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of some steps.

    Attributes:
        images_per_second: trained on, over all processes.
        data_wait: share of the time spent waiting for data, 0 to 1.
        memory_bytes: most memory in use so far in this process: tensors on the GPU, or, on a CPU, all of
            the process (its resident set); ``None`` where the system does not tell (Windows).
        seconds: how long the steps took, without testing.
    """

    images_per_second: float
    data_wait: float
    memory_bytes: int | None
    seconds: float


class Meter:
    """Measures a training from inside its loop, at a few looks at the clock a step.

    Waiting is what the loop sees: time inside ``next`` of the loader. Time between two epochs, when the
    network is tested, does not count. Nor does the wait for the first batch of all, while the processes
    that load are started: more of them would not make it shorter.
    """

    def __init__(self, device: torch.device, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device, self._clock = device, clock
        self._origin = clock()
        self._not_counted = 0.0
        # When the last epoch ended; None while one is under way.
        self._paused_at: float | None = self._origin
        self._waited, self._images, self._is_first = 0.0, 0, True
        self._at_record = self._at_epoch = self._at_step = (0.0, 0.0)
        self._images_at_record = 0
        self._recent_seconds = self._recent_wait = 0.0

    def waiting(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Give the batches of one epoch, or of what is left of it, and time how long each is waited for."""
        clock = self._clock
        asked = clock()
        assert self._paused_at is not None, "one epoch at a time"
        self._not_counted += asked - self._paused_at
        self._paused_at = None
        self._at_epoch = (self._seconds(), self._waited)
        try:
            for batch in batches:
                got = clock()
                if self._is_first:
                    self._is_first = False
                    self._not_counted += got - asked
                else:
                    self._waited += got - asked
                yield batch
                asked = clock()
            self._waited += clock() - asked
        finally:
            self._paused_at = clock()

    def step(self, images: int) -> None:
        """Count one optimiser step on ``images`` images, those of all processes."""
        self._images += images
        seconds, waited = self._seconds(), self._waited
        seconds_before, waited_before = self._at_step
        self._recent_seconds += _NEWEST * (seconds - seconds_before - self._recent_seconds)
        self._recent_wait += _NEWEST * (waited - waited_before - self._recent_wait)
        self._at_step = (seconds, waited)

    def recent_data_wait(self) -> float:
        """Return the share of the time of the last steps spent waiting, 0 to 1: an exponential average."""
        return _share(self._recent_wait, self._recent_seconds)

    def epoch_data_wait(self) -> float:
        """Return the share of the time of this epoch spent waiting, 0 to 1.

        Of an epoch that was interrupted it tells about the part since then.
        """
        seconds, waited = self._at_epoch
        return _share(self._waited - waited, self._seconds() - seconds)

    def since_last(self) -> Speed:
        """Return the speed since this was asked before."""
        now = (self._seconds(), self._waited)
        seconds, waited = now[0] - self._at_record[0], now[1] - self._at_record[1]
        images = self._images - self._images_at_record
        self._at_record, self._images_at_record = now, self._images
        return Speed(
            images_per_second=images / seconds if seconds > 0 else 0.0,
            data_wait=_share(waited, seconds),
            memory_bytes=_memory_bytes(self._device),
            seconds=seconds,
        )

    def _seconds(self) -> float:
        now = self._clock() if self._paused_at is None else self._paused_at
        return now - self._origin - self._not_counted


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0


def _memory_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in units of 1024 bytes, macOS in bytes.
    return most if sys.platform == "darwin" else most * 1024
