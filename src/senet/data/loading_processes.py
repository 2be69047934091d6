"""How the processes that load images start, and what they make of signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TypeVar

from torch.utils.data import DataLoader

Item = TypeVar("Item")

# From SIGTERM on, for the main process on its way to a checkpoint.
SECONDS_TO_END = 5


def start(processes: DataLoader[Item]) -> Iterator[Item]:
    """Start an iteration without torch's handler of SIGCHLD.

    The handler would raise a worker's death wherever the main process happens to be, for instance
    while it saves its state because the whole group of processes was told to stop. Without it, the
    death shows when the next batch is asked for, within five seconds.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if in_main_thread and hasattr(signal, "SIGCHLD") else None
    batches = iter(processes)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)
    return batches


def as_it_is(batch: Any) -> Any:
    """Return a batch that is put together already."""
    return batch


def start_worker(worker: int) -> None:
    """Answer signals in a process that loads, so that the main one decides when it ends."""
    # Ctrl-C reaches the whole group of processes; only the main one is to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _end_soon)


def _end_soon(number: int, frame: FrameType | None) -> None:
    """End a little later: torchrun ends all processes alike, and the main one may need a few batches more."""
    signal.alarm(SECONDS_TO_END)
