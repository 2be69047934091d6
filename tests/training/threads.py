"""Processes that share a training, played by threads of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from senet.training.processes import Processes, Value

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Thread(Processes):
    """Exchanges values with the other threads through a list that all of them see."""

    barrier: Barrier
    table: list[Any] = field(default_factory=list)

    def gather(self, value: Value) -> list[Value]:
        self.table[self.number] = value
        self.barrier.wait(10)
        values = list(self.table)
        self.barrier.wait(10)
        return values

    def sum(self, values: Tensor) -> Tensor:
        return values.copy_(torch.stack(self.gather(values.clone())).sum(0))

    def from_first(self, value: Value) -> Value:
        return self.gather(value)[0]

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            tensor.copy_(self.from_first(tensor.clone()))

    def wait(self) -> None:
        self.barrier.wait(10)


def in_threads(count: int, work: Callable[[Processes], Result]) -> list[Result]:
    """Return what ``work`` returned in each of ``count`` threads, in their order."""
    barrier, table = Barrier(count), [None] * count
    threads = [Thread(number=number, count=count, barrier=barrier, table=table) for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, threads))
