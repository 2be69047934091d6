"""The processes of torchrun that share one training, or the one process there is without it."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from senet.errors import SenetError
from senet.training.parent import PARENT, ends_with_parent

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """One process among those that share a training.

    Every method but `first` is called by all processes at the same point, with tensors of the same
    shapes. With one process they do nothing.

    Attributes:
        number: of this process, from 0.
        count: how many there are, over all machines.
        parent: process id of what started this one; ``None`` where nobody watches over it.
    """

    number: int = 0
    count: int = 1
    parent: int | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.number == 0

    @property
    def orphaned(self) -> bool:
        """Whether torchrun, which watches over the processes, has died."""
        return self.parent is not None and os.getppid() != self.parent

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes of tensors on the training device or the CPU."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather(self, value: Value) -> list[Value]:
        """Return what each process gave, in their order; anything that can be pickled."""
        if self.count == 1:
            return [value]
        values: list[Value | None] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, value: Value) -> Value:
        """Return what the first process gave; the others' value is not looked at."""
        values = [value]
        if self.count > 1:
            torch.distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite ``tensors`` with those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            torch.distributed.barrier()


ALONE = Processes()


def started_by_torchrun() -> bool:
    """Return whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def is_first_process() -> bool:
    """Return whether this process shows what happens: the only one, or the first of torchrun's."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"


@contextmanager
def join_processes(timeout_seconds: float) -> Iterator[Processes]:
    """Find the other processes of torchrun and leave them at the end.

    Args:
        timeout_seconds: how long one that does not answer is waited for.

    Raises:
        SenetError: they cannot be found, or this PyTorch cannot train with several processes.
    """
    if not started_by_torchrun() or torch.distributed.is_initialized():
        # Where a caller has joined them already, they are his to leave.
        yield _present() if started_by_torchrun() else ALONE
        return
    if not torch.distributed.is_available():
        raise SenetError(
            "This build of PyTorch cannot train with several processes: start one process, without torchrun."
        )
    with ends_with_parent(), _joined(timeout_seconds):
        try:
            yield _present()
        finally:
            # Whatever still held a connection when the program ends would abort it, all work done.
            gc.collect()


@contextmanager
def _joined(timeout_seconds: float) -> Iterator[None]:
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store, number, count = next(rendezvous("env://", timeout=timeout))
        # After a restart torchrun's store still holds the addresses of the processes that ended.
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore(f"restart {restarts}", store),
            rank=number,
            world_size=count,
            timeout=timeout,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise SenetError(
            f"Process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} did not find the others within "
            f"{timeout_seconds:.0f} seconds ({_first_line(error)}): check that all were started, and run "
            "the same command again."
        ) from error
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def lost_processes_explained() -> Iterator[None]:
    """Turn the errors of a connection to a process that has ended into a sentence.

    Raises:
        SenetError: another process ended or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not any(sign in text for sign in _SIGNS_OF_LOSS) or not torch.distributed.is_initialized():
            raise
        raise SenetError(
            f"Another process of this training ended or did not respond ({_first_line(error)}): saved "
            "work is kept, and the same command resumes from there."
        ) from error


_SIGNS_OF_LOSS = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "NCCL",
    "gloo/transport",
    "Socket Timeout",
)


def _present() -> Processes:
    return Processes(
        number=torch.distributed.get_rank(), count=torch.distributed.get_world_size(), parent=PARENT
    )


def _first_line(error: BaseException) -> str:
    """Return the first sentence of an error, without the place in PyTorch's source that it begins with."""
    text = re.sub(r"^\[[^\]]*\.\w+:\d+\]\s*", "", str(error).strip())
    return re.split(r"\.\s|\n", text)[0].rstrip(".:") or type(error).__name__
