"""What the terminal shows while ``senet bench`` measures, and after."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from senet.cli.terminal import Console
from senet.errors import SenetError
from senet.files import make_folder, require_folder, require_writable
from senet.insight.bench import FIRST_USE, BenchSettings
from senet.insight.results_timing import Bench
from senet.networks.zoo import plain_name, twin_name
from senet.report.timings_csv import write_csv
from senet.report.timings_plot import check_plot_path, write_plot
from senet.report.timings_table import as_rich, conclusion, panels
from senet.text import counted

RUNS = Path("runs")
_HOW = (
    "Times are medians. A ratio compares times measured in turns, round by round: its median, with the "
    "range of the middle 60 %."
)


def plot_path(csv: Path | None, plot: Path | None, model: str) -> Path:
    """Return where the chart goes, after looking whether both files can be written; writes nothing.

    Raises:
        SenetError: the chart is neither .svg nor .png, or a file cannot be written.
    """
    for path in (csv, plot):
        if path is not None:
            require_writable(path)
    if plot is not None:
        check_plot_path(plot)
        return plot
    if RUNS.exists() and not RUNS.is_dir():
        raise SenetError(f"{RUNS} is a file, not a folder for the chart: choose another path with --plot.")
    require_folder(RUNS)
    return RUNS / f"bench-{model}.svg"


class BenchDisplay:
    """Draws a bar while things are measured, and the results after.

    The bar moves between measurements only: a thread of its own would take time from them.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            expand=True,
            auto_refresh=False,
        )
        self.task: TaskID | None = None
        self.title = ""

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def watch(self, title: str, share: float) -> None:
        """Draw what is measured and how much is done; where nothing is drawn, print each title once."""
        if not self.console.is_terminal:
            if title != self.title:
                self.console.print(f"{title} …", markup=False)
            self.title = title
            return
        if self.task is None:
            self.task = self.bar.add_task(title, total=1.0)
        self.bar.update(self.task, description=title, completed=share)
        self.bar.refresh()

    def show(self, settings: BenchSettings, result: Bench, missing: list[str]) -> None:
        """Print a chart for each thing measured, and what to know about them."""
        machine = result.timings[0].machine
        se, plain = twin_name(settings.model), plain_name(settings.model)
        images = f"{settings.batch_size} × 3×{settings.size}×{settings.size}"
        threads = f"{counted(machine.threads, 'thread')}"
        self._print(f"{machine.hardware}, {threads}; {machine.versions}")
        self._print(f"{se} and {plain}, images {images}, {settings.precision}, channels_last")
        for title, rows in panels(result.timings):
            if title != FIRST_USE:
                self._print(f"\n{title}", style="bold")
                self.console.print(as_rich(rows, self.console.width))
        self._print("")
        for note in (_HOW, *result.notes, *missing):
            self._print(note, style="dim")
        self._print(f"\n{conclusion(result.timings)}", style="bold")

    def write(self, settings: BenchSettings, result: Bench, csv: Path | None, plot: Path) -> None:
        """Write the files, and print where they are."""
        measured = [timing for timing in result.timings if timing.benchmark != FIRST_USE]
        hardware = measured[0].machine.hardware
        model = twin_name(settings.model)
        title = f"{model}, batch {settings.batch_size}, {settings.precision}, {hardware}"
        if plot.parent == RUNS:
            make_folder(RUNS)
        if csv is not None:
            write_csv(result.timings, csv)
            self._print(f"Rows: {csv}", soft_wrap=True)
        write_plot(measured, plot, title)
        self._print(f"Chart: {plot}", soft_wrap=True)

    def _print(self, text: str, style: str | None = None, soft_wrap: bool = False) -> None:
        self.console.print(text, style=style, markup=False, soft_wrap=soft_wrap)
