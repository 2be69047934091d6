from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from senet.training.meter import Meter

CPU = torch.device("cpu")


class Clock:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


def loader(clock: Clock, waits: list[float], end: float = 0.0) -> Iterator[int]:
    for number, wait in enumerate(waits):
        clock.now += wait
        yield number
    clock.now += end


def train(meter: Meter, clock: Clock, waits: list[float], work: float, images: int = 8) -> None:
    for _ in meter.waiting(loader(clock, waits)):
        clock.now += work
        meter.step(images)


def test_waiting_is_the_time_inside_the_loader() -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    clock.now += 60  # building the network
    train(meter, clock, [100.0, 1.0, 1.0, 1.0], work=3.0)  # the loader's processes start: 100 s
    speed = meter.since_last()
    assert speed.seconds == pytest.approx(15.0)
    assert speed.images_per_second == pytest.approx(32 / 15)
    assert speed.data_wait == pytest.approx(0.2) == meter.epoch_data_wait()
    clock.now += 1000  # testing
    assert meter.epoch_data_wait() == pytest.approx(0.2)
    train(meter, clock, [1.0, 1.0], work=1.0)
    assert meter.epoch_data_wait() == pytest.approx(0.5), "of this epoch only, its first batch included"
    speed = meter.since_last()
    assert speed.seconds == pytest.approx(4.0) and speed.data_wait == pytest.approx(0.5)


def test_within_an_epoch() -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    speeds = []
    for _ in meter.waiting(loader(clock, [0.0, 3.0, 1.0, 1.0])):
        clock.now += 1.0
        meter.step(10)
        speeds.append(meter.since_last())
    assert [each.seconds for each in speeds] == pytest.approx([1.0, 4.0, 2.0, 2.0])
    assert [each.data_wait for each in speeds] == pytest.approx([0.0, 0.75, 0.5, 0.5])
    assert [each.images_per_second for each in speeds] == pytest.approx([10.0, 2.5, 5.0, 5.0])


def test_the_loaders_end_counts_as_waiting() -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    for _ in meter.waiting(loader(clock, [0.0], end=4.0)):
        clock.now += 1.0
        meter.step(1)
    assert meter.epoch_data_wait() == pytest.approx(0.8)


def test_recent_waiting_follows_a_change() -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    assert meter.recent_data_wait() == 0.0
    train(meter, clock, [1.0] * 200, work=1.0)
    assert meter.recent_data_wait() == pytest.approx(0.5, abs=0.01)
    clock.now += 10_000  # testing
    train(meter, clock, [0.0] * 200, work=1.0)
    assert meter.recent_data_wait() < 0.01


def test_an_epoch_that_is_left_early_does_not_spoil_the_next() -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    batches = meter.waiting(loader(clock, [0.0] * 5))
    next(batches)
    clock.now += 1.0
    batches.close()  # type: ignore[attr-defined]
    clock.now += 50.0
    train(meter, clock, [1.0], work=1.0)
    assert meter.epoch_data_wait() == pytest.approx(0.5)
    assert meter.since_last().seconds == pytest.approx(3.0)


@settings(max_examples=50, deadline=None)
@given(
    epochs=st.lists(
        st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 10)), min_size=1, max_size=8), max_size=4
    ),
    pause=st.floats(0, 100),
)
def test_shares_and_times_add_up(epochs: list[list[tuple[float, float]]], pause: float) -> None:
    clock = Clock()
    meter = Meter(CPU, clock=clock)
    first = True
    for epoch in epochs:
        waits = [0.0 if first and not number else wait for number, (wait, _) in enumerate(epoch)]
        first = False
        works = iter([work for _, work in epoch])
        for _ in meter.waiting(loader(clock, waits)):
            clock.now += next(works)
            meter.step(2)
        share = sum(waits) / (sum(waits) + sum(work for _, work in epoch))
        assert meter.epoch_data_wait() == pytest.approx(share)
        clock.now += pause
        speed = meter.since_last()
        assert speed.seconds == pytest.approx(sum(waits) + sum(work for _, work in epoch))
        assert speed.data_wait == pytest.approx(share)
        assert speed.images_per_second == pytest.approx(2 * len(epoch) / speed.seconds)
        assert 0 <= meter.recent_data_wait() <= 1


def test_nothing_done_is_no_speed() -> None:
    speed = Meter(CPU).since_last()
    assert speed.images_per_second == speed.data_wait == speed.seconds == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
def test_memory_of_a_process_is_its_resident_set() -> None:
    import resource

    memory = Meter(CPU).since_last().memory_bytes
    assert memory is not None
    assert 50e6 < memory < 100e9, "torch alone takes more than 50 MB"
    if sys.platform == "linux":
        with open("/proc/self/status") as stream:  # noqa: PTH123
            peak = next(line for line in stream if line.startswith("VmHWM"))
        assert memory == pytest.approx(int(peak.split()[1]) * 1024, rel=0.05)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 >= memory


def test_memory_of_a_gpu_is_that_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def allocated(device: torch.device) -> int:
        asked.append(device)
        return 12345

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", allocated)
    assert Meter(torch.device("cuda", 1)).since_last().memory_bytes == 12345
    assert asked == [torch.device("cuda", 1)]
