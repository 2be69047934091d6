from __future__ import annotations

import pytest
from rich.console import Console

from senet.report.timings_table import as_rich, bars, conclusion, panels
from tests.report.timings import TIMINGS, compared, timing


def printed(width: int = 80) -> dict[str, list[str]]:
    charts = {}
    for title, rows in panels(TIMINGS):
        console = Console(width=width, record=True, file=None, force_terminal=False, color_system=None)
        with console.capture() as capture:
            console.print(as_rich(rows, width))
        charts[title] = capture.get().splitlines()
    return charts


def test_charts_hold_what_belongs_together() -> None:
    assert [(title, len(rows)) for title, rows in panels(TIMINGS)] == [
        ("Tail on maps of 256×56×56, forward and backward", 4),
        ("Training step", 2),
        ("Inference, 1 image", 2),
        ("other", 1),
    ]


def test_a_name_has_one_bar_and_all_its_ratios() -> None:
    (name, time, rows), *others = bars(TIMINGS[:4])
    assert (name, time.median, [row.ratio_to for row in rows]) == ("SE", 4.0, ["plain", "copy"])
    assert [each[0] for each in others] == ["plain", "copy"]
    assert bars(TIMINGS[-1:]) == [], "what did not run has no bar"


def test_bars_are_as_long_as_times_and_ratios_stand_beside_them() -> None:
    lines = printed()["Tail on maps of 256×56×56, forward and backward"]
    assert max(map(len, lines)) <= 80
    assert "4.00 ms" in lines[0] and "1.00 × plain (0.90–1.20)" in lines[0]
    assert "2.50 × copy (2.25–3.00)" in lines[1] and "1.60 ms" in lines[3]
    full, same, part = (line.count("█") for line in (lines[0], lines[2], lines[3]))
    assert full == same > 10 and part == pytest.approx(0.4 * full, abs=1)


@pytest.mark.parametrize("width", [60, 200])
def test_nothing_is_cut(width: int) -> None:
    for lines in printed(width).values():
        assert max(map(len, lines), default=0) <= min(width, 110)
        assert "…" not in "".join(lines)


def test_the_conclusion_is_about_the_twins() -> None:
    assert conclusion(TIMINGS) == (
        "A training step with SE takes 1.07 times as long as without (0.96–1.28, 7 rounds). "
        "Inference with SE takes 0.99 times as long as without (0.89–1.19, 7 rounds)."
    )
    other = compared("timm se_x", 9.0, "senet se_x", 1.5, benchmark="network")
    assert conclusion([*TIMINGS[4:6], other]).startswith("A training step with SE takes 1.07 times")
    assert conclusion([timing("SE")]) == ""
