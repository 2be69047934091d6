"""How the processes that load images start and end, and what they make of signals.

A process forked from one with several threads finds every lock as it was at that moment, and one that is
killed never gives back what it holds. So whatever happens to these processes, nobody waits for their locks.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from copy import copy
from ctypes import c_bool
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakSet

from torch.utils.data import DataLoader

from senet.errors import SenetError

Item = TypeVar("Item")

# From SIGTERM on, for the main process on its way to a checkpoint.
SECONDS_TO_END = 5
SECONDS_BETWEEN_LOOKS = 0.5
MOST_WORKERS = 256

_started: WeakSet[BaseProcess] = WeakSet()


def check_workers(workers: int) -> None:
    """Raise `SenetError` for a number of loading processes that is not possible, or brings a machine down."""
    if not 0 <= workers <= MOST_WORKERS:
        raise SenetError(f"workers must be from 0 (no extra processes) to {MOST_WORKERS}, not {workers}.")


def loading_context() -> BaseContext | None:
    """Return what makes the processes of a `DataLoader`; None is torch's own choice."""
    # Only fork shares the images held in memory.
    if sys.platform != "linux":
        return None
    context: Any = copy(multiprocessing.get_context("fork"))
    new_process = context.Process

    def process(**settings: Any) -> BaseProcess:
        made: BaseProcess = new_process(**settings)
        _started.add(made)
        return made

    context.Event, context.Process = SharedFlag, process
    made: BaseContext = context
    return made


class SharedFlag:
    """A flag that processes share, in place of `multiprocessing.Event`, whose every question takes a lock.

    Whoever sets an event would wait for ever for a process that was killed while it asked.
    """

    def __init__(self) -> None:
        self._value = RawValue(c_bool, False)

    def set(self) -> None:
        """Set it, for good."""
        self._value.value = True

    def is_set(self) -> bool:
        """Return whether anybody has set it."""
        return bool(self._value.value)


def without_main_guard() -> str:
    """Return what to do where the script runs anew in each process that it starts, or an empty text.

    That is so where processes are not forked and the script calls senet without looking whether it is the
    main module.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if "linux" in sys.platform or script is None:  # where they are forked
        return ""
    try:
        guarded = "__main__" in Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if guarded:
        return ""
    return (
        f"The data loading processes import {script}, which calls senet again: put those calls under `if "
        '__name__ == "__main__":`, or choose workers=0.'
    )


def _kill_what_is_left() -> None:
    """Kill what is still there when the program ends, where Python would wait for it without limit."""
    for process in list(_started):
        if process.is_alive():
            process.kill()


atexit.register(_kill_what_is_left)
if hasattr(os, "register_at_fork"):
    # A copy of this process has started none of them.
    os.register_at_fork(after_in_child=_started.clear)


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
    leave_locks_behind()
    end_with_parent()
    # Ctrl-C reaches the whole group of processes; only the main one is to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end_soon)


def end_with_parent() -> None:
    """End this process soon after the one that started it, which may be killed without a word.

    A process that waits for work would not notice: its siblings hold the pipe open that the work comes from.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    threading.Thread(target=_outlive_shortly, args=(parent.pid,), daemon=True).start()


def _outlive_shortly(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def leave_locks_behind() -> None:
    """Give a forked process output streams of its own.

    A thread that drew a progress bar at that moment may have held the lock of the others, for which this
    process would wait when it ends or warns.
    """
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(number: int) -> Any:
    try:
        return open(number, "w", buffering=1, errors="backslashreplace", closefd=False)
    except OSError:  # the descriptor is closed, for which Python itself has None
        return None


def _end_soon(number: int, frame: FrameType | None) -> None:
    """End a little later: torchrun ends all processes alike, and the main one may need a few batches more."""
    signal.alarm(SECONDS_TO_END)
