"""docs/performance.md is what the tool makes of the rows of the benchmarks, and says what they say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.bench_first_use import CALL, DISPATCH, EAGER, EMPTY, KEPT
from benchmarks.bench_network import COMPILED as COMPILED_NETWORK
from benchmarks.bench_network import (
    FOLDED,
    FOLDED_PLAIN,
    LAYERS_PLAIN,
    OURS,
    OURS_PLAIN,
    TIMM,
    TIMM_PLAIN,
)
from benchmarks.bench_profile import GROUPS, REST
from benchmarks.bench_tail import COMPILED, COPY, GRAPH, SENET
from benchmarks.bench_tail import EAGER as EAGER_TAIL
from benchmarks.common import RESULTS
from tools import make_performance_page as tool
from tools import performance_targets as targets
from tools.map_traffic import eager_traffic
from tools.performance_targets import CPU_TARGETS, GPU_TARGETS, Outcome, outcomes

from senet.insight.results_timing import Machine, Timing
from senet.insight.tails import shape_text
from senet.report.timings_csv import read_csv, write_csv
from tests.report.timings import compared, timing

PAGE = tool.PAGE.read_text(encoding="utf-8")
STAGES = ("256x56x56", "512x28x28", "1024x14x14", "2048x7x7")
NETWORK: dict[str, Any] = {"benchmark": "network", "shape": "3x224x224", "batch": 8}


def outcomes_of(
    rows: Iterable[Timing], wanted: Iterable[targets.Target] = CPU_TARGETS
) -> dict[str, list[Outcome]]:
    """Return what was measured, by the sentence of the target."""
    found: dict[str, list[Outcome]] = {}
    for each in outcomes(wanted, list(rows)):
        if each.value is not None or each.note:
            found.setdefault(each.target.sentence, []).append(each)
    return found


# The page in the repository


def test_the_page_is_the_one_the_tool_makes() -> None:
    assert tool.page() == PAGE, "run python -m tools.make_performance_page"


def test_the_chart_is_the_one_the_tool_draws(tmp_path: Path) -> None:
    rows = tool.charted(tool.rows_of(tool.CPU_FILES))
    assert tool.CHART.exists() == bool(rows) == (f"images/{tool.CHART.name}" in PAGE)
    if rows:
        tool.draw_chart(rows, tmp_path / "chart.svg")
        texts = [
            [each.text for each in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]
            for path in (tool.CHART, tmp_path / "chart.svg")
        ]
        assert texts[0] == texts[1], "run python -m tools.make_performance_page"


def test_what_fell_short_is_explained_and_nothing_else() -> None:
    cpu, gpu = tool.rows_of(tool.CPU_FILES), tool.rows_of(tool.GPU_FILES)
    short = {
        (each.target.sentence, each.where)
        for each in (*outcomes(CPU_TARGETS, cpu), *outcomes(GPU_TARGETS, gpu))
        if each.reached is False
    }
    unexplained = {
        each for each in short if each not in targets.REASONS and (each[0], "") not in targets.REASONS
    }
    assert not unexplained, "say why in REASONS of tools/performance_targets.py"
    sentences = {sentence for sentence, _ in short}
    stale = {
        key for key in targets.REASONS if key not in short and not (key[1] == "" and key[0] in sentences)
    }
    assert not stale


def test_the_page_names_nothing_of_the_machine_it_was_made_on() -> None:
    assert not re.search(r"(^|[\s`(])/(work|tmp|home|root|usr)\b", PAGE)
    # See test_insertion_page.py and test_training_page.py; what defaults and verdicts rest on.
    on_other_pages = {
        "insertion",
        "fine_tune",
        "chaos",
        "checkpoint",
        "data_path",
        "loop",
        "scaling",
        "sources",
        "seed_advice",
        "defaults",
    }
    names = {path.stem for path in RESULTS.glob("*.csv")}
    assert names - on_other_pages <= {*tool.CPU_FILES, *tool.GPU_FILES}


def test_every_row_of_the_results_is_on_the_page() -> None:
    for path in (RESULTS / f"{name}.csv" for name in (*tool.CPU_FILES, *tool.GPU_FILES)):
        for row in read_csv(path) if path.exists() else ():
            if row.benchmark in ("tail", "network", "first use", "call"):
                assert f"| {row.name} |" in PAGE, row


def test_commands_on_the_page_exist() -> None:
    for module in re.findall(r"python -m ([\w.]+)", PAGE):
        assert (tool.DOCS.parent / f"{module.replace('.', '/')}.py").exists(), module


# What the tool makes of rows


def test_the_targets_are_those_of_the_issue() -> None:
    numbers = [(each.name, each.to, each.limit, each.at_least) for each in CPU_TARGETS]
    assert numbers == [
        (EAGER_TAIL, SENET, 3.5, True),
        (COMPILED, SENET, 2.0, True),
        (SENET, COPY, 2.0, False),
        (OURS, TIMM_PLAIN, 1.0, False),
        (OURS, OURS_PLAIN, 1.02, False),
        (OURS, OURS_PLAIN, 1.02, False),
        (OURS, TIMM, 0.85, False),
        (FOLDED, FOLDED_PLAIN, 1.02, False),
        (FOLDED, TIMM, 0.85, False),
        (EMPTY, "", 10, False),
        (DISPATCH, "", 50, False),
    ]
    assert [(each.name, each.to, each.limit, each.at_least) for each in GPU_TARGETS] == [
        (EAGER_TAIL, SENET, 2.5, True),
        (COMPILED, SENET, 1.3, True),
        (SENET, COPY, 1.25, False),
        (OURS, TIMM_PLAIN, 0.9, False),
        (OURS, COMPILED_NETWORK, 1.0, False),
        (OURS, OURS_PLAIN, 1.02, False),
    ]
    assert [each.places for each in CPU_TARGETS[:3]] == [tuple((shape, 16) for shape in STAGES)] * 3
    assert [each.places for each in GPU_TARGETS[:3]] == [tuple((shape, 256) for shape in STAGES)] * 3
    assert {each.mode for each in CPU_TARGETS[5:9]} == {"infer"} and CPU_TARGETS[3].mode == "train"
    assert [batch for _, batch in CPU_TARGETS[5].places] == [1, 8]
    for each in (*CPU_TARGETS, *GPU_TARGETS):
        (number,) = re.findall(r"[≤≥] ([\d.]+)", each.sentence)
        assert float(number) == each.limit and ("≥" in each.sentence) == each.at_least


@pytest.mark.parametrize(("ratio", "reached"), [(3.49, False), (3.5, True), (5.0, True), (0.286, False)])
def test_at_least(ratio: float, reached: bool) -> None:
    rows = [compared(EAGER_TAIL, 100.0, "eager, no SE", 9.0), compared(EAGER_TAIL, 100.0, SENET, ratio)]
    ((outcome,),) = outcomes_of(rows).values()
    assert (outcome.value, outcome.reached, outcome.where) == (ratio, reached, "256×56×56")
    assert (outcome.low, outcome.high) == (round(0.9 * ratio, 4), round(1.2 * ratio, 4))


@pytest.mark.parametrize(("ratio", "reached"), [(2.01, False), (2.0, True), (0.5, True)])
def test_at_most(ratio: float, reached: bool) -> None:
    ((outcome,),) = outcomes_of([compared(SENET, 4.0, COPY, ratio, shape="2048x7x7")]).values()
    assert (outcome.reached, outcome.where) == (reached, "2048×7×7")


def test_rows_of_other_places_modes_and_benchmarks_do_not_count() -> None:
    right = compared(OURS, 4.0, TIMM_PLAIN, 0.9, **NETWORK)
    assert len(outcomes_of([right])) == 1
    for changes in (
        {"batch": 2},
        {"mode": "infer"},
        {"benchmark": "tail"},
        {"shape": "3x32x32"},
        {"name": TIMM},
    ):
        assert not outcomes_of([replace(right, **changes)]), changes
    both = [replace(right, mode="infer", batch=batch, ratio_to=OURS_PLAIN) for batch in (1, 8)]
    (inference,) = outcomes_of(both).values()
    assert [each.where for each in inference] == ["batch 1", "batch 8"]


@pytest.mark.parametrize(
    ("ours", "plain", "reached"), [(1020, 1000, True), (1021, 1000, False), (900, 1000, True)]
)
def test_memory_is_that_of_the_plain_network(ours: int, plain: int, reached: bool) -> None:
    rows = [
        timing(OURS, peak_bytes=ours, **NETWORK),
        timing(OURS_PLAIN, peak_bytes=plain, **NETWORK),
        timing(TIMM_PLAIN, peak_bytes=1, **NETWORK),
    ]
    ((outcome,),) = outcomes_of(rows).values()
    assert outcome.reached == reached and outcome.value == pytest.approx(ours / plain)
    assert not outcomes_of(rows[:1]) and not outcomes_of([rows[0], timing(OURS_PLAIN, **NETWORK)])


def test_what_fell_short_never_looks_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "REASONS", {})
    for dispatch, shown in ((0.0504, "50.4"), (0.0496, "50"), (0.0516, "52")):
        row = timing(DISPATCH, dispatch, benchmark="call", shape="8x1x1", batch=1, mode="infer")
        assert f"| 8×1×1 | {shown} | " in tool.targets_table(CPU_TARGETS, [row])


def test_first_use_is_in_seconds_and_dispatch_in_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "REASONS", {})
    rows = [
        timing(EMPTY, 9_500.0, benchmark="first use", shape="3x224x224", batch=2),
        timing(DISPATCH, 0.061, benchmark="call", shape="8x1x1", batch=1, mode="infer"),
    ]
    (first,), (call,) = outcomes_of(rows).values()
    assert first.value == pytest.approx(9.5) and first.reached
    assert call.value == pytest.approx(61) and call.reached is False
    table = tool.targets_table(CPU_TARGETS, rows)
    assert "| first use of the kernels: ≤ 10 s | 3×224×224 | 9.5 | 8.6–11.4 | 7 | reached |" in table
    assert "| 8×1×1 | 61 | 55–73 | 7 | **fell short** |" in table


def test_without_timm_the_layers_are_the_peer() -> None:
    gpu = {**NETWORK, "batch": 256}
    rows = [compared(OURS, 4.0, LAYERS_PLAIN, 0.95, **gpu), timing(LAYERS_PLAIN, **gpu)]
    ((outcome,),) = outcomes_of(rows, GPU_TARGETS).values()
    assert outcome.where == f"batch 256, against {LAYERS_PLAIN}" and outcome.reached is False
    rows += [compared(OURS, 4.0, TIMM_PLAIN, 0.85, **gpu), timing(TIMM_PLAIN, **gpu)]
    ((outcome,),) = outcomes_of(rows, GPU_TARGETS).values()
    assert outcome.where == "batch 256" and outcome.reached


def test_what_could_not_run_is_not_measured_and_says_why() -> None:
    rows = [timing(COMPILED, None, note="no C++ compiler")]
    table = tool.targets_table(CPU_TARGETS, rows)
    assert table.count("not measured: no C++ compiler") == 1
    assert table.count("not measured") == sum(len(each.places) for each in CPU_TARGETS)


def test_a_reason_stands_beside_what_fell_short(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = CPU_TARGETS[2].sentence
    rows = [compared(SENET, 4.0, COPY, 3.0, shape=shape) for shape in STAGES[:2]]
    monkeypatch.setattr(targets, "REASONS", {(sentence, ""): "because", (sentence, "256×56×56"): "caches"})
    verdicts = [each.verdict() for each in outcomes_of(rows)[sentence]]
    assert verdicts == ["**fell short**: caches", "**fell short**: because"]
    assert outcomes_of([compared(SENET, 4.0, COPY, 1.0)])[sentence][0].verdict() == "reached"


def test_traffic_is_counted() -> None:
    # BatchNorm 2 + 1, squeeze 1, scale 1 + 1, sum 2 + 1, ReLU 1 + 1.
    assert eager_traffic(se=True)[0] == (7, 4)
    assert eager_traffic(se=False)[0] == (5, 3)
    # ReLU 2 + 1; BatchNorm 4 + 1.
    assert eager_traffic(se=False)[1] == (6, 2)
    assert sum(sum(each) for each in eager_traffic(se=True)) == 29
    table = tool.traffic_table()
    assert "| fused, without SE | 3 | 1 | 6 | 2 | 12 |" in table
    assert "| fused, with SE | 3 | 1 | 6 | 2 | 12 |" in table


def test_bandwidth_is_bytes_over_time() -> None:
    rows = [
        compared(SENET, 50.0, COPY, 2.0, bytes=600_000_000),
        compared(SENET, 50.0, "senet, no SE", 1.0, bytes=600_000_000),
        timing(COPY, 25.0, bytes=600_000_000),
        compared(GRAPH, 30.0, COPY, 1.2, bytes=600_000_000, shape="512x28x28"),
        timing(COPY, 24.0, bytes=600_000_000, shape="512x28x28"),
    ]
    assert tool.bandwidth_table(rows).splitlines()[2:] == [
        f"| 256×56×56, 16 images, training, fp32 | {SENET} | 600.0 | 12.0 | 24.0 | 50% |",
        f"| 512×28×28, 16 images, training, fp32 | {GRAPH} | 600.0 | 20.0 | 25.0 | 80% |",
    ]


def test_a_table_has_a_line_for_each_thing_with_all_its_ratios() -> None:
    rows = [
        compared(OURS, 40.0, TIMM_PLAIN, 0.98, peak_bytes=3 * 2**20, **NETWORK),
        compared(OURS, 40.0, TIMM, 0.9, peak_bytes=3 * 2**20, **NETWORK),
        timing(TIMM, None, note="a | b", **{**NETWORK, "batch": 1, "mode": "infer"}),
    ]
    assert tool.times_table(rows, memory=True).splitlines()[2:] == [
        f"| 3×224×224, 8 images, training, fp32 | {OURS} | 40.0 | 36.0–48.0 | 7 | 3.0 | "
        f"0.98 (0.88–1.18) × {TIMM_PLAIN}; 0.90 (0.81–1.08) × {TIMM} |  |",
        f"| 3×224×224, 1 image, inference, fp32 | {TIMM} |  |  |  |  |  | a / b |",
    ]
    call = compared(CALL, 0.05, EAGER, 1.5, benchmark="call", shape="8x1x1", batch=1)
    assert "| 50.0 | 45.0–60.0 | 7 |" in tool.times_table([call], unit="µs")


def test_the_profile_adds_up() -> None:
    rows = [
        timing(f"{name}: {group}", value, benchmark="profile")
        for name, value in (("layer by layer", 3.0), ("fused", 2.0), ("timm's plain ResNet-50", 1.0))
        for group in (*GROUPS, REST)
    ]
    lines = tool.profile_table(rows).splitlines()
    assert lines[0] == "|  | layer by layer | fused | timm's plain ResNet-50 |"
    assert lines[2] == "| optimiser | 3.00 | 2.00 | 1.00 |" and lines[-1] == "| in all | 24.0 | 16.0 | 8.00 |"


def test_machines_are_told_once() -> None:
    row = timing("x")
    other = replace(
        row, machine=Machine(hardware="a GPU", threads=1, versions="torch 2", date="2026-03-04T05:06:07")
    )
    later = replace(row, machine=replace(row.machine, date="2026-01-05T00:00:00"))
    assert tool.machines([row, other, later, row]) == (
        "Measured on\n\n"
        "* a processor, 2 cores, 2 threads: torch 9.9, timm 1; 2026-01-02, 2026-01-05.\n"
        "* a GPU, 1 thread: torch 2; 2026-03-04."
    )


def test_checks_of_a_gpu_are_counted() -> None:
    passed = timing("a pass", None, benchmark="check", note="passed, error 1e-7 of 1e-05")
    failed = timing("a tail", None, benchmark="check", note="FAILED, error 1 of 1e-05")
    assert tool.checks_sentence([passed, passed]).startswith("2 of 2 checks")
    sentence = tool.checks_sentence([passed, failed])
    assert sentence.startswith("1 of 2 checks") and "Failed: a tail on 256x56x56" in sentence
    assert tool.checks_sentence([]) == ""


def test_a_whole_page_of_rows(tmp_path: Path) -> None:
    write_csv(
        [
            each
            for shape in STAGES
            for each in (
                compared(SENET, 4.0, COPY, 1.9, shape=shape, bytes=12),
                timing(COPY, 2.0, shape=shape, bytes=12),
            )
        ],
        tmp_path / "tail.csv",
    )
    write_csv([compared(OURS, 4.0, TIMM_PLAIN, 0.99, **NETWORK)], tmp_path / "network.csv")
    write_csv(
        [timing(name, 900.0, benchmark="first use", shape="3x224x224", batch=2) for name in (EMPTY, KEPT)],
        tmp_path / "first_use.csv",
    )
    page = tool.page(tmp_path)
    assert page.count("| reached |") == 4 + 1 + 1 and "fell short" not in page
    assert f"![Bars of the times above](images/{tool.CHART.name})" in page
    assert "{" not in page and "\n\n\n" not in page
    for title in ("Why SE costs time", "How SE rides along", "What was to be reached", "How to repeat"):
        assert f"\n## {title}\n" in page
    assert shape_text((256, 56, 56)) not in page, "sizes are written with ×"
    empty = tool.page(tmp_path / "nothing")
    assert "![" not in empty and "| reached |" not in empty and "\n\n\n" not in empty
