"""The benchmarks run, compare what they say they compare, and stop where there is nothing to compare."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks import (
    bench_first_use,
    bench_network,
    bench_profile,
    bench_seed_advice,
    bench_tail,
    common,
    gpu,
)
from benchmarks.bench_tail import COMPILED, COPY, EAGER, EAGER_PLAIN, SENET, SENET_PLAIN
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.insight.machine import this_machine
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import InTurns
from senet.insight.tails import Tail, TailStep, layer_by_layer, make_maps
from senet.kernels import fused, numba_passes
from senet.networks.zoo import create_network
from tests import references
from tests.smoke import pairs, smoke

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


@pytest.fixture(autouse=True)
def no_new_process(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Compiling all kernels anew takes too long for a test: say that it took a second."""
    asked: list[tuple[Any, ...]] = []

    def pretend(*given: Any) -> float:
        asked.append(given)
        return 1.0 if len(asked) % 2 else 0.25

    monkeypatch.setattr(bench_first_use, "in_new_process", pretend)
    return asked


def test_tails_are_compared_with_their_peers(out: Path) -> None:
    rows = smoke(bench_tail, out)
    assert pairs(rows) == {
        *((SENET, COPY), (SENET, SENET_PLAIN), (EAGER, SENET), (EAGER, EAGER_PLAIN)),
        *((COMPILED, SENET), (EAGER_PLAIN, SENET)),
    }
    assert {(row.shape, row.batch, row.precision, row.mode) for row in rows} == {
        ("64x6x6", 2, "fp32", "train"),
        ("128x3x3", 2, "fp32", "train"),
    }
    bytes_of = {(row.name, row.shape): row.bytes for row in rows}
    assert bytes_of[SENET, "64x6x6"] == bytes_of[COPY, "64x6x6"] == 12 * 2 * 64 * 36 * 4
    notes = {row.name: row.note for row in rows}
    assert notes[SENET] == "kernels: numba" and notes[COMPILED].startswith("compiled in ")


def test_without_a_compiler_the_row_says_so(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.shutil, "which", lambda name: None)
    assert common.no_compiler() == "no C++ compiler, which torch.compile needs"
    work, note = common.compiled_step(lambda module: module, nn.Identity(), smoke=False)
    assert work is None and note == common.no_compiler()
    monkeypatch.setattr(bench_tail, "compiled_step", lambda *_: (None, "no compiler"))
    rows = smoke(bench_tail, out)
    (row, _) = (row for row in rows if row.name == COMPILED)
    assert row.milliseconds is None and row.note == "no compiler" and row.ratio is None


def test_what_torch_compile_cannot_do_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module, **_: Any) -> None:
        raise RuntimeError("Inductor failed\nwith a long story")

    monkeypatch.setattr(common.torch, "compile", broken)
    work, note = common.compiled_step(lambda module: module, nn.Identity(), smoke=True)
    assert work is None and note == "torch.compile failed: Inductor failed"


def test_peers_have_the_weights_of_ours() -> None:
    tail = Tail(32, bench_tail.WITH, SEConfig(reduction=4))
    for each in tail.parameters():
        nn.init.uniform_(each, -0.5, 0.5)
    maps = make_maps((32, 4, 3), 2, add=True, device=CPU)
    ours, theirs = TailStep(tail, maps), TailStep(common.eager_twin(tail), maps)
    common.require_same(ours, theirs, 1e-5)
    for parameter in theirs.module.parameters():
        kept = parameter.detach().clone()
        parameter.data.add_(1)
        with pytest.raises(SystemExit, match="The tails differ by"):
            common.require_same(ours, theirs, 1e-5)
        parameter.data.copy_(kept)
    nn.init.constant_(tail.bn.weight, float("nan"))  # type: ignore[union-attr]
    with pytest.raises(SystemExit):
        common.require_same(ours, theirs, 1e-5)


def test_the_eager_peer_sums_and_cuts_in_place() -> None:
    assert common.EagerTail(8, 4).relu.inplace
    y = torch.randn(2, 8, 3, 3)
    tail = common.EagerTail(8, 4).eval()
    normalised = tail.bn(y)
    normalised_se = tail.se(normalised)  # type: ignore[misc]
    torch.testing.assert_close(tail(y, y), torch.relu(normalised_se + y))


def test_networks_are_compared_with_their_peers(out: Path) -> None:
    rows = smoke(bench_network, out)
    n = bench_network
    expected = {
        *((n.OURS, n.TIMM_PLAIN), (n.OURS, n.OURS_PLAIN), (n.OURS, n.TIMM), (n.OURS_PLAIN, n.TIMM_PLAIN)),
        *((n.TIMM, n.TIMM_PLAIN), (n.LAYERS, n.OURS), (n.LAYERS, n.LAYERS_PLAIN)),
        *((n.LAYERS_PLAIN, n.OURS_PLAIN), (n.OURS, n.LAYERS_PLAIN)),
    }
    folded = {
        *((n.FOLDED, n.FOLDED_PLAIN), (n.FOLDED, n.TIMM), (n.FOLDED, n.TIMM_PLAIN)),
        (n.FOLDED_PLAIN, n.TIMM_PLAIN),
    }
    for mode, batch, more in (("train", 2, set()), ("infer", 1, folded), ("infer", 2, folded)):
        assert pairs([row for row in rows if (row.mode, row.batch) == (mode, batch)]) == expected | more
    assert all((row.peak_bytes is not None) == (row.mode == "train") for row in rows)
    peak = {row.name: row.peak_bytes for row in rows if row.mode == "train"}
    assert peak[n.LAYERS] > 1.05 * peak[n.OURS], "layer by layer SE keeps one more map"  # type: ignore[operator]
    assert peak[n.OURS] <= 1.02 * peak[n.OURS_PLAIN]  # type: ignore[operator]


def test_the_peak_is_without_what_was_there_before() -> None:
    step = NetworkStep(create_network("resnet8"), torch.randn(2, 3, 8, 8))
    fresh = bench_network.peak_of(step, step.train, CPU)
    step.train()  # leaves gradients
    assert bench_network.peak_of(step, step.train, CPU) == fresh
    parameters = list(step.network.parameters())
    assert fresh > sum(4 * each.numel() for each in parameters)
    # On CUDA what was there before would be subtracted.
    assert all(each.grad is None for each in parameters)


def test_the_profile_tells_before_from_after(out: Path) -> None:
    rows = smoke(bench_profile, out)
    medians = {row.name: row.milliseconds.median for row in rows if row.milliseconds}
    groups = [*bench_profile.GROUPS, bench_profile.REST]
    names = ("layer by layer", "fused", "timm's plain ResNet-50")
    assert list(medians) == [f"{name}: {group}" for name in names for group in groups]
    assert medians["layer by layer: fused tails"] == medians["fused: BatchNorm"] == 0
    assert medians[f"{names[2]}: fused tails"] == 0
    for name in ("layer by layer: BatchNorm", "layer by layer: ReLU", "fused: fused tails"):
        assert medians[name] > 0, name
    assert all(medians[f"{name}: convolutions"] > 0 for name in names)


@dataclass
class Event:
    name: str
    cpu_parent: Event | None = None


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["aten::mkldnn_convolution", "aten::convolution"], "convolutions"),
        (["aten::linear", "senet::tail"], "fused tails"),
        (["aten::mul", "aten::mean", "Optimizer.step#SGD.step"], "optimiser"),
        (["aten::native_batch_norm", "aten::batch_norm"], "BatchNorm"),
        (["aten::threshold_backward", "autograd::engine::evaluate_function: ReluBackward0"], "ReLU"),
        (["aten::copy_", "aten::to"], bench_profile.REST),
    ],
)
def test_what_an_operator_calls_belongs_to_it(names: list[str], group: str) -> None:
    event = None
    for name in reversed(names):
        event = Event(name, event)
    assert bench_profile.group_of(event) == group  # type: ignore[arg-type]


def test_first_uses_share_a_cache_of_their_own(out: Path, no_new_process: list[tuple[Any, ...]]) -> None:
    rows = smoke(bench_first_use, out)
    (empty, kept) = no_new_process
    assert empty == kept and not Path(empty[3]).exists(), "one cache for both, and none left"
    assert empty[:3] == ("se_resnet8", 32, CPU)
    times = {row.name: row.milliseconds.median for row in rows if row.milliseconds}
    assert (times[bench_first_use.EMPTY], times[bench_first_use.KEPT]) == (1000, 250)
    calls = {(row.shape, row.batch, row.mode) for row in rows if row.benchmark == "call"}
    assert calls == {("8x1x1", 1, "infer"), ("64x2x2", 2, "infer"), ("64x2x2", 2, "train")}
    b = bench_first_use
    assert pairs(rows) == {(b.CALL, b.EAGER), (b.CALL, b.LAYERS)}
    assert len([row for row in rows if row.name == b.DISPATCH]) == 3


def test_a_new_process_gets_an_empty_cache_and_tells_its_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    seen: dict[str, Any] = {}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.update(command=command, **options)
        return subprocess.CompletedProcess(command, 0, stdout="a warning\n2.5\n")

    monkeypatch.setattr(bench_first_use.subprocess, "run", run)
    assert bench_first_use.in_new_process("se_resnet8", 8, CPU, "a-folder", 60) == 2.5
    assert seen["command"][0] == sys.executable and seen["check"] and seen["timeout"] == 60
    assert {seen["env"][name] for name in ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR")} == {"a-folder"}
    bench_first_use.main(seen["command"][3:])
    assert json.loads(capsys.readouterr().out) >= 0


def test_dispatch_is_what_a_call_takes_beyond_its_work() -> None:
    b = bench_first_use
    row = b.dispatch_row(
        InTurns({b.CALL: (5e-5, 7e-5, 6e-5), b.WORK: (1e-5, 2e-5, 2e-5)}),
        **{"benchmark": "call", "shape": "8x1x1", "batch": 1, "precision": "fp32", "layout": "channels_last"},
        mode="infer",
        machine=this_machine(CPU),
    )
    assert row.milliseconds is not None and row.milliseconds.median == pytest.approx(0.04)


def test_the_work_of_a_tail_is_all_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = ("moments_pass", "apply_pass", "gradient_sums_pass", "gradient_apply_pass")
    ran: list[str] = []
    for name in passes:
        right = getattr(numba_passes, name)

        def watched(*given: Any, name: str = name, right: Any = right, **options: Any) -> Any:
            ran.append(name)
            return right(*given, **options)

        monkeypatch.setattr(numba_passes, name, watched)
    maps = make_maps((16, 2, 2), 2, add=True, device=CPU)
    step = TailStep(Tail(16, bench_tail.WITH, SEConfig(reduction=4)), maps)
    for call, expected in ((step.train, passes), (step.forward, passes[:2])):
        forward = fused.forward
        work = bench_first_use.work_of(call, "train")
        assert fused.forward is forward, "put back"
        ran.clear()
        work()
        assert tuple(ran) == expected
    with pytest.raises(AssertionError, match="no tail ran fused"):
        bench_first_use.work_of(layer_by_layer(step.forward), "train")
    whole: list[torch.Tensor] = []
    infer = numba_passes.infer
    monkeypatch.setattr(numba_passes, "infer", lambda *given: whole.append(infer(*given)) or whole[-1])
    step.module.eval()
    with torch.no_grad():
        work = bench_first_use.work_of(step.forward, "infer")
        work()
    torch.testing.assert_close(whole[0], whole[1], rtol=0, atol=0)
    assert len(whole) == 2


def test_the_operator_of_a_tail_is_found() -> None:
    maps = make_maps((16, 2, 2), 2, add=True, device=CPU)
    step = TailStep(Tail(16, bench_tail.WITH, SEConfig(reduction=4)), maps)
    operator, given = common.operator_call(step.forward)
    assert given[0] is maps.y
    torch.testing.assert_close(operator(*given)[0], step.forward(), rtol=0, atol=0)
    with pytest.raises(AssertionError, match="no tail ran fused"):
        common.operator_call(layer_by_layer(step.forward))


def test_repeated_works_are_told_by_the_call() -> None:
    calls: list[str] = []
    works = common.repeated({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    works["a"]()
    works["b"]()
    assert calls == ["a"] * 3 + ["b"] * 3
    assert common.per_call(InTurns({"a": (6.0, 3.0)}), 3).seconds == {"a": (2.0, 1.0)}


def test_times_of_a_smoke_test_are_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    for script in (bench_tail, bench_network, bench_first_use, bench_profile, gpu):
        with pytest.raises(SystemExit) as stop:
            script.main(["--smoke"])  # type: ignore[attr-defined]
        assert stop.value.code == 2 and "--smoke needs --out" in capsys.readouterr().err


def test_timm_is_imported_as_it_is_where_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        network = common.timm_network("resnet18")
    assert sum(each.numel() for each in network.parameters()) == 11_689_512
    monkeypatch.setattr(references, "import_timm", lambda: pytest.fail("it imports by itself"))
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=lambda name: name))
    assert common.timm_network("resnet18") == "resnet18"


def test_looking_again_after_more_seeds_finds_no_more_than_it_may() -> None:
    """With a 95 % interval at each look it does, which is why `confidence_of_look` exists."""
    rows = bench_seed_advice.simulate(4000)
    assert all(row.low <= 5 for row in rows if row.rule == "spent")
    advised = [row for row in rows if row.rule == "95 % each" and row.habit == "as post-hoc power advises"]
    assert all(row.low > 5 for row in advised)
    assert max(row.percent for row in rows) > 25


def test_the_seed_advice_that_was_simulated_is_the_one_in_use() -> None:
    rows = list(csv.DictReader(bench_seed_advice.RESULTS.open()))
    assert {row["experiments"] for row in rows} == {"40000"} and len(rows) == 72
    assert all(float(row["high"]) <= 5.3 for row in rows if row["rule"] == "spent")
    worst = max(float(row["percent"]) for row in rows if row["rule"] == "spent")
    assert f"{worst:.1f} %" in (bench_seed_advice.ROOT / "docs" / "statistics.md").read_text()
