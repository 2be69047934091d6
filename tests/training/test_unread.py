from __future__ import annotations

import pytest
import torch

from senet.training.processes import Processes
from senet.training.unread import UnreadStep, UnreadSteps
from tests.training.threads import in_threads

CPU = torch.device("cpu")


def step(number: int, loss: float) -> UnreadStep:
    return UnreadStep(step=number, rate=0.1, loss=torch.tensor(loss))


@pytest.mark.parametrize("count", [1, 3])
def test_losses_are_means_over_the_processes_and_read_once(count: int) -> None:
    def work(processes: Processes) -> list[tuple[int, float]]:
        unread = UnreadSteps(processes, CPU)
        for number in (1, 2):
            unread.add(step(number, 10.0 * number + processes.number))
        assert len(unread) == 2
        read, _, _ = unread.read(stop=False, save=False)
        assert len(unread) == 0 and unread.read(stop=False, save=False)[0] == []
        return [(each.step, loss) for each, loss in read]

    middle = (count - 1) / 2
    assert in_threads(count, work) == [[(1, 10 + middle), (2, 20 + middle)]] * count


@pytest.mark.parametrize("asking", [0, 1, 2])
def test_any_process_stops_all_and_only_the_first_makes_them_save(asking: int) -> None:
    def work(processes: Processes) -> tuple[bool, bool]:
        asks = processes.number == asking
        _, stopping, saving = UnreadSteps(processes, CPU).read(stop=asks, save=asks)
        return stopping, saving

    assert in_threads(3, work) == [(True, asking == 0)] * 3


def test_nobody_asked() -> None:
    work = lambda processes: UnreadSteps(processes, CPU).read(stop=False, save=False)  # noqa: E731
    assert in_threads(2, work) == [([], False, False)] * 2
