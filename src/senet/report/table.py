"""The rows of a comparison as a table of the terminal, of the page and of documentation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from senet.insight.results import Comparison
from senet.insight.results_rows import HEADER, Cell, Row
from senet.text import counted

if TYPE_CHECKING:
    from rich.table import Table


def notes(comparison: Comparison) -> list[str]:
    """Return the sentences without which the small print of the table cannot be read."""
    cost, seeds = comparison.cost, len(comparison.seeds)
    training, inference = cost.training_time_ratio.count, cost.inference_time_ratio.count
    pairs = f"{counted(training, 'pair')} of runs"
    if training != inference:
        pairs = f"{counted(training, 'pair')} of runs for training and {inference} for inference"
    interval = f"{100 * comparison.top1.confidence:.6g} % interval over {comparison.top1.over}"
    after_last = "Errors: after the final epoch"
    if seeds > 1:
        after_last += f", mean ± standard deviation over {counted(seeds, 'seed')}"
    found = [f"{after_last}; the difference with its {interval}."]
    if comparison.sampling_error is not None:
        images = f"{counted(len(comparison.data.test_labels), 'test image')}"
        found.append(
            f"The interval covers other seeds on these same {images}; the sampling error of the test "
            f"images, ± {comparison.sampling_error:.2f} points (95 %), comes in addition."
        )
    if comparison.looks:
        found.append(_about_looks(comparison.looks))
    ranges = "middle 60 % of the measurements"
    if cost.training_time_ratio.low is not None:
        ranges += "; time differences with their 95 % interval, “none measurable” if it includes zero"
    found.append(
        f"Speed: both networks timed in turns, {pairs}, batch size {cost.batch_size}, on {cost.device}; "
        f"medians, with the range of the {ranges}."
    )
    return found


def as_rich(table_rows: Sequence[Row]) -> Table:
    """Return the rows as a table for the terminal that fits 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    for i, title in enumerate(HEADER):
        table.add_column(Text(title), justify="left" if i == 0 else "right", no_wrap=True)
    for row in table_rows:
        cells = ((cell.value, f"\n{cell.detail}" if cell.detail else "") for cell in row.cells())
        table.add_row(*(Text.assemble(value, (detail, "dim")) for value, detail in cells))
    return table


def as_markdown(table_rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines: list[tuple[str, ...]] = [HEADER, ("---", "---:", "---:", "---:")]
    lines += [tuple(str(cell).replace("|", "\\|") for cell in row.cells()) for row in table_rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def as_html(table_rows: Sequence[Row]) -> str:
    """Return the rows as an HTML table; roles keep it a table where narrow screens restyle it."""
    head = "".join(f'<th role="columnheader" scope="col">{escape(title)}</th>' for title in HEADER)
    body = "".join(f'<tr role="row">{_html_cells(row)}</tr>' for row in table_rows)
    return (
        f'<table role="table" class="results"><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _html_cells(row: Row) -> str:
    metric, *others = (_html_cell(cell) for cell in row.cells())
    labelled = zip(others, HEADER[1:], strict=True)
    return f'<th role="rowheader" scope="row">{metric}</th>' + "".join(
        f'<td role="cell" data-label="{escape(label)}">{content}</td>' for content, label in labelled
    )


def _html_cell(cell: Cell) -> str:
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f"<span>{escape(cell.value)}</span>{detail}"


def _about_looks(looks: Sequence[int]) -> str:
    kept = (
        "over all looks together, a difference that does not exist is claimed in at most 5 % of comparisons"
    )
    if len(looks) == 1:
        return f"Seeds may be added later: the interval widens with every look, so that {kept}."
    numbers = f"{', '.join(map(str, looks[:-1]))} and {looks[-1]}"
    times = f"Looked at {len(looks)} times, after {numbers} seeds"
    if len(set(looks)) < len(looks):
        times += ", with trainings extended to more epochs in between"
    return f"{times}: the interval widens with every look, so that {kept}."
