from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from senet.errors import SenetError
from senet.insight import bench as bench_module
from senet.insight import stopwatch
from senet.insight.bench import COPY, BenchSettings, bench, first_use_seconds
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import InTurns, Work
from senet.kernels.backends import kernels, mode
from senet.networks.zoo import create_network

CPU = torch.device("cpu")
SMALL = BenchSettings(model="se_resnet8", batch_size=2, image_size=8, seconds=1e-3)
SE, PLAIN = "senet se_resnet8", "senet resnet8"

# Times that no ratio of two others can be mistaken for, in seconds.
TIMES = {
    **dict.fromkeys(("senet se_googlenet", "senet googlenet", "senet se_googlenet, layer by layer"), 1.0),
    **{"SE": 0.003, "plain": 0.002, "SE, layer by layer": 0.011, "plain, layer by layer": 0.005},
    **{COPY: 0.001, SE: 0.7, PLAIN: 0.5, f"{SE}, layer by layer": 1.3, "timm resnet8": 1.7},
}


@pytest.fixture
def known_times(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Runs each work once and says that it took what `TIMES` has; collects what was asked for."""
    asked: list[dict[str, Any]] = []

    def timed(works: Mapping[str, Work], **options: Any) -> InTurns:
        for work in works.values():
            work()
        asked.append({"works": list(works), **options})
        options["watch"](1.0)
        return InTurns({name: (TIMES[name],) * 3 for name in works})

    monkeypatch.setattr(bench_module, "time_in_turns", timed)
    return asked


def ratios(rows: tuple[Timing, ...], benchmark: str, mode: str) -> dict[tuple[str, str], float]:
    return {
        (row.name, row.ratio_to): round(row.ratio.median, 6)
        for row in rows
        if row.benchmark == benchmark and row.mode == mode and row.ratio is not None
    }


def test_everything_is_compared_with_what_it_says(known_times: list[dict[str, Any]]) -> None:
    result = bench(SMALL, device=CPU, others={"timm resnet8": lambda: create_network("resnet8")})
    tail = {
        ("SE", "plain"): 3 / 2,
        ("SE", COPY): 3 / 1,
        ("SE, layer by layer", "SE"): 11 / 3,
        ("SE, layer by layer", "plain, layer by layer"): 11 / 5,
        ("plain, layer by layer", "plain"): 5 / 2,
    }
    assert ratios(result.timings, "tail", "train") == pytest.approx(tail, abs=1e-5)
    network = {
        (SE, PLAIN): 7 / 5,
        ("timm resnet8", SE): 17 / 7,
        (f"{SE}, layer by layer", SE): 13 / 7,
    }
    for mode_ in ("train", "infer"):
        assert ratios(result.timings, "network", mode_) == pytest.approx(network, abs=1e-5)
    # Three stages, then a training step, then inference.
    assert [each["works"][0] for each in known_times] == ["SE", "SE", "SE", SE, SE]


def test_the_time_is_shared_out(known_times: list[dict[str, Any]]) -> None:
    shares: list[tuple[str, float]] = []
    settings = BenchSettings(model="resnet8", batch_size=2, image_size=8, seconds=100)
    bench(settings, device=CPU, watch=lambda title, share: shares.append((title, share)))
    assert sum(each["seconds"] for each in known_times) == pytest.approx(100)
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    assert shares[-1] == ("inference", pytest.approx(1))
    titles = list(dict.fromkeys(title for title, _ in shares))
    assert titles[:3] == ["building the networks", "first use of the kernels", "tail, maps 16×8×8"]
    assert titles[-2:] == ["training step", "inference"]


def test_rows_say_what_was_measured(known_times: list[dict[str, Any]]) -> None:
    result = bench(SMALL, device=CPU)
    first, *rows = result.timings
    assert first.benchmark == "first use of the kernels" and first.milliseconds is not None
    shapes = {row.shape for row in rows if row.benchmark == "tail"}
    assert shapes == {"16x8x8", "32x4x4", "64x2x2"}
    assert {row.shape for row in rows if row.benchmark == "network"} == {"3x8x8"}
    assert {(row.batch, row.precision, row.layout) for row in rows} == {(2, "fp32", "channels_last")}
    bytes_of = {row.name: row.bytes for row in rows if row.shape == "16x8x8"}
    assert bytes_of["SE"] == bytes_of["plain"] == bytes_of[COPY] == 12 * 2 * 16 * 8 * 8 * 4
    assert bytes_of["SE, layer by layer"] is None
    assert any("first use of the kernels took" in note for note in result.notes)


def test_it_runs_for_real() -> None:
    result = bench(SMALL, device=CPU)
    counts = {row.benchmark: row.milliseconds.count for row in result.timings if row.milliseconds}
    assert counts["tail"] >= 5 and counts["network"] >= 3
    assert all(row.milliseconds and row.milliseconds.median > 0 for row in result.timings[1:])


def test_without_kernels_nothing_is_called_fused(known_times: list[dict[str, Any]]) -> None:
    with kernels("reference"):
        result = bench(SMALL, device=CPU)
    names = {row.name for row in result.timings[1:]}
    assert names == {"SE, layer by layer", "plain, layer by layer", COPY, SE, PLAIN}
    assert result.notes[1:] == (
        "No fused kernel supports maps of 16×8×8, 32×4×4, 64×2×2: SENET_KERNELS=reference.",
    )
    assert ratios(result.timings, "network", "train") == {(SE, PLAIN): 1.4}


def test_layer_by_layer_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: dict[str, list[str]] = {}

    def timed(works: Mapping[str, Work], **_: Any) -> InTurns:
        for name, work in works.items():
            seen = modes.setdefault(name, [])
            with monkeypatch.context() as patch:
                patch.setattr(
                    torch.nn.BatchNorm2d,
                    "__call__",
                    watching(torch.nn.BatchNorm2d.__call__, seen),
                    raising=False,
                )
                work()
        return InTurns(dict.fromkeys(works, (1.0,)))

    def watching(call: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
        def watched(*given: Any, **options: Any) -> Any:
            seen.append(mode())
            return call(*given, **options)

        return watched

    monkeypatch.setattr(bench_module, "time_in_turns", timed)
    bench(SMALL, device=CPU)
    by_layers = {name for name, seen in modes.items() if seen and set(seen) == {"reference"}}
    assert by_layers == {"SE, layer by layer", "plain, layer by layer", f"{SE}, layer by layer"}


def test_a_network_whose_se_stands_alone_has_no_plain_tail(known_times: list[dict[str, Any]]) -> None:
    settings = BenchSettings(model="googlenet", batch_size=2, image_size=32, seconds=1)
    result = bench(settings, device=CPU)
    names = {row.name for row in result.timings if row.benchmark == "tail"}
    assert names == {"SE", "SE, layer by layer", COPY}


def test_threads_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)

    def fail(works: Mapping[str, Work], **_: Any) -> InTurns:
        assert threads[-1] == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_module, "time_in_turns", fail)
    with pytest.raises(KeyboardInterrupt):
        bench(BenchSettings(model="resnet8", batch_size=2, image_size=8, threads=1), device=CPU)
    assert threads == [4, 1, 4]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 0}, "The batch size must be a whole number of at least 1, not 0"),
        ({"image_size": -1}, "The image size must be .* not -1"),
        ({"threads": 0}, "The number of threads must be .* not 0"),
        ({"seconds": 0}, "seconds must be above 0 .*, not 0"),
        ({"seconds": float("nan")}, "seconds must be above 0 and at most 86,400"),
        ({"seconds": float("inf")}, "seconds must be above 0 and at most 86,400"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence):
        BenchSettings(**changes)


def test_what_cannot_be_measured_is_refused_before_anything_runs(
    known_times: list[dict[str, Any]],
) -> None:
    with pytest.raises(SenetError, match="no network called 'resnet51'"):
        bench(BenchSettings(model="resnet51"), device=CPU)
    with pytest.raises(SenetError, match="too small for vgg11_bn"):
        bench(BenchSettings(model="vgg11_bn", image_size=16), device=CPU)
    with pytest.raises(SenetError, match="threads has no effect on cuda"):
        bench(BenchSettings(model="resnet8", threads=2), device=torch.device("cuda"))
    assert not known_times


def test_first_use_is_how_much_longer_the_first_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now[0])
    ran: list[str] = []
    durations = iter([100.0, 7.0, 2.0])

    def work() -> None:
        ran.append(mode())
        now[0] += next(durations)

    with kernels("auto"):
        assert first_use_seconds(work, CPU) == 5
    assert ran == ["reference", "always", "always"], "what PyTorch does once comes before"
    durations = iter([1.0, 1.0, 1.0])
    with kernels("reference"):
        assert first_use_seconds(work, CPU) == 0
    assert ran[3:] == ["reference"] * 3
