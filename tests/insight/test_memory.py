from __future__ import annotations

import torch
from torch import nn

from senet.insight.memory import peak_memory_bytes

CPU = torch.device("cpu")
MB = 1_000_000


def floats(count: int) -> torch.Tensor:
    return torch.zeros(count // 4)


def test_counts_what_is_alive_at_once() -> None:
    def work() -> None:
        first = floats(8 * MB)
        second = first + 1
        del first
        third = second + 1
        del second, third
        floats(4 * MB)

    assert peak_memory_bytes(work, [], CPU) == 16 * MB


def test_views_and_work_in_place_cost_nothing() -> None:
    held = floats(8 * MB)

    def work() -> None:
        held.add_(1)
        held.view(2, -1).mul_(2)

    assert peak_memory_bytes(work, [held, held[1:]], CPU) == 8 * MB


def test_sees_what_training_keeps_for_backward() -> None:
    x = torch.randn(64, 1000)
    linear = nn.Linear(1000, 1000, bias=False)

    def depth(layers: int) -> int:
        def work() -> None:
            y = x
            for _ in range(layers):
                y = linear(y).relu()
            y.sum().backward()  # type: ignore[no-untyped-call]

        return peak_memory_bytes(work, linear.parameters(), CPU)

    per_layer = (depth(8) - depth(4)) / 4
    assert 64 * 1000 * 4 <= per_layer <= 2.1 * 64 * 1000 * 4
