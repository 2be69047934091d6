import io
import re
import statistics
from dataclasses import replace

import pytest
from rich.console import Console

from senet.insight import results_rows
from senet.insight.results import Spread
from senet.report import table
from senet.report.page import page
from tests.report import factory


@pytest.fixture(scope="module")
def comparison():
    return factory.usual()


def row(comparison, metric):
    return next(row for row in results_rows.rows(comparison) if row.metric.value == metric)


def test_errors_are_means_of_the_last_epoch_over_the_seeds(comparison):
    found = row(comparison, "Top-1 error")
    for variant, cell in (("plain", found.plain), ("se", found.se)):
        errors = [
            100
            * statistics.fmean(
                p != t for p, t in zip(run.predictions, comparison.data.test_labels, strict=True)
            )
            for run in comparison.runs_of(variant)
        ]
        assert str(cell) == f"{statistics.fmean(errors):.2f} % (± {statistics.stdev(errors):.2f})"
    top1 = comparison.top1
    assert top1.low < top1.difference < top1.high < 0, "the factory's SE network should be better"
    signs = f"−{-top1.difference:.2f} points (−{-top1.low:.2f} to −{-top1.high:.2f})"
    assert str(found.difference) == signs


def test_costs(comparison):
    assert [str(cell) for cell in row(comparison, "Parameters").cells()] == [
        "Parameters",
        "272,474",
        "275,866",
        "+1.2 % (+3,392)",
    ]
    assert [str(cell) for cell in row(comparison, "Multiply-adds").cells()[1:]] == [
        "40.81 million",
        "40.82 million",
        "+0.008 % (+3,392)",
    ]
    assert [str(cell) for cell in row(comparison, "Training speed").cells()] == [
        "Training speed (images per second)",
        "1,412 (1,388 to 1,432)",
        "1,300 (1,270 to 1,320)",
        "+8.6 % time (+7.9 to +9.5)",
    ]
    assert [str(cell) for cell in row(comparison, "Inference time").cells()[1:]] == [
        "0.2113 (0.208 to 0.217)",
        "0.2255 (0.221 to 0.233)",
        "none measurable (−0.7 to +12.1 % time)",
    ]
    assert [str(cell) for cell in row(comparison, "Peak memory").cells()[1:]] == [
        "283 MiB",
        "304 MiB",
        "+7.3 %",
    ]


def test_one_seed_without_top5():
    comparison = factory.two_classes()
    assert [r.metric.value for r in results_rows.rows(comparison)][:3] == [
        "Top-1 error",
        "Majority class",
        "Parameters",
    ]
    assert row(comparison, "Top-1 error").plain.detail == ""
    assert "standard deviation" not in table.notes(comparison)[0]
    assert "96 % interval over test images" in table.notes(comparison)[0]


def test_notes_say_how_speeds_were_measured(comparison):
    said = "both networks timed in turns, 30 pairs of runs, batch size 128, on cpu, 2 threads"
    assert said in table.notes(comparison)[-1]
    assert table.notes(comparison)[-1].endswith("“none measurable” if it includes zero.")
    ratio = Spread(median=1, p20=1, p80=1, count=50)
    other = replace(comparison, cost=replace(comparison.cost, inference_time_ratio=ratio))
    assert "30 pairs of runs for training and 50 for inference" in table.notes(other)[-1]


def test_notes_say_what_the_interval_covers(comparison):
    assert table.notes(comparison)[1] == (
        "The interval covers other seeds on these same 4,000 test images; the sampling "
        "error of the test images, "
        f"± {comparison.sampling_error:.2f} points (95 %), comes in addition."
    )
    assert not any("sampling error" in note for note in table.notes(factory.two_classes()))


def test_notes_say_how_often_the_comparison_was_looked_at(comparison):
    assert table.notes(comparison)[2].startswith("Seeds may be added later")
    again = replace(comparison, looks=(2, 5, 3))
    assert table.notes(again)[2].startswith("Looked at 3 times, after 2, 5 and 3 seeds: the interval widens")
    extended = table.notes(replace(comparison, looks=(3, 3)))[2]
    assert "2 times, after 3 and 3 seeds, with trainings extended to more epochs in between: the" in extended
    assert len(table.notes(replace(comparison, looks=()))) == 3, "results from before looks were counted"


def test_the_majority_class_is_a_row(comparison):
    found = row(
        replace(comparison, data=replace(comparison.data, train_counts=(9, 8, 1) + 7 * (1,))),
        "Majority class",
    )
    assert [str(cell) for cell in found.cells()] == [
        "Majority class (always “T-shirt”)",
        "90.00 %",
        "90.00 %",
        "",
    ]


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.2), (1.0, 1.01), (0.99, 1.0)])
def test_a_time_whose_interval_includes_none_is_not_called_one(comparison, low, high):
    ratio = Spread(median=1.0, p20=0.5, p80=2.0, count=50, low=low, high=high)
    other = replace(comparison, cost=replace(comparison.cost, training_time_ratio=ratio))
    assert row(other, "Training speed").difference.value == "none measurable"
    old = replace(ratio, low=None, high=None)
    other = replace(comparison, cost=replace(comparison.cost, training_time_ratio=old))
    assert str(row(other, "Training speed").difference) == "0.0 % time (−50.0 to +100.0)"


def test_terminal_table_fits_80_columns(comparison):
    wide = replace(comparison, cost=factory.cost(se_parameters=1_234_567_890))
    for shown in (comparison, wide):
        stream = io.StringIO()
        Console(file=stream, width=80).print(table.as_rich(results_rows.rows(shown)))
        text = stream.getvalue()
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        for cell in (cell for r in results_rows.rows(shown) for cell in r.cells()):
            assert cell.value in text and cell.detail in text
        # A row is two lines and a gap: nothing wraps.
        assert len(text.strip().splitlines()) == 1 + 3 * len(results_rows.rows(shown))


def test_markdown_and_html_show_the_same_cells(comparison):
    markdown, html = (
        table.as_markdown(results_rows.rows(comparison)),
        table.as_html(results_rows.rows(comparison)),
    )
    lines = markdown.splitlines()
    assert lines[0] == "|  | plain | SE | SE − plain |"
    assert {line.count("|") for line in lines} == {5}
    for line, r in zip(lines[2:], results_rows.rows(comparison), strict=True):
        assert line == "| " + " | ".join(map(str, r.cells())) + " |"
    texts = re.findall(r"<(?:span|small)>([^<]+)</", html)
    assert texts == [
        t for r in results_rows.rows(comparison) for c in r.cells() for t in (c.value, c.detail) if t
    ]
    assert re.findall(r'data-label="(.*?)"', html)[:3] == ["plain", "SE", "SE − plain"]


def test_markup_in_cells_is_escaped():
    cells = [results_rows.Cell("<b>|", "a|b")] * 4
    assert "<b>" not in table.as_html([results_rows.Row(*cells)])
    assert table.as_markdown([results_rows.Row(*cells)]).splitlines()[2].count(" | ") == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.2345, "1.23"),
        (9.999, "10.0"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (-0.5, "−0.500"),
    ],
)
def test_significant(value, text):
    assert results_rows.significant(value) == text


@pytest.mark.parametrize(
    ("more", "text"),
    [(23.26, "+23.3 %"), (0.874, "+0.87 %"), (0.00494, "+0.005 %"), (-0.0007, "−0.0007 %"), (0.0, "0.00 %")],
)
def test_a_small_change_is_not_shown_as_none(more: float, text: str) -> None:
    assert results_rows.percent(more) == text


def test_a_network_without_multiply_adds_has_no_percentage():
    comparison = factory.two_classes()
    plain = replace(comparison.cost.plain, multiply_adds=0)
    shown = replace(comparison, cost=replace(comparison.cost, plain=plain))
    assert str(row(shown, "Multiply-adds").difference) == "– (+40,816,576)"
    assert "40.82 million" in repr(shown)
    assert "Multiply-adds" in page(shown)
