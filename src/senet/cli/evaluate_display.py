"""What the terminal shows while weights are evaluated, and after."""

from __future__ import annotations

from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from senet.cli.terminal import Console, plain
from senet.experiments.evaluation_report import HEADS, IN_BRACKETS, EvaluationReport
from senet.text import counted

WORST_SHOWN = 10
MOST_NAMED = 10


class EvaluationDisplay:
    """Draws one live line in a terminal, and prints tables at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            expand=True,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def checking(self, done: int, total: int) -> None:
        """Draw how many images have been looked at."""
        self._draw("checking images", done, total)

    def describe(self, facts: dict[str, str]) -> None:
        """Print what is about to be evaluated."""
        table = Table.grid(padding=(0, 2))
        for label, text in facts.items():
            table.add_row(f"[dim]{label}[/dim]", plain(text))
        self.console.print(table)
        self.console.print()

    def evaluating(self, view: str, done: int, total: int) -> None:
        """Draw how many images have been evaluated."""
        self._draw(f"{view} pixels", done, total)

    def conclude(self, report: EvaluationReport, *, all_classes: bool, out: str | None) -> None:
        """Print errors, classes, confusions and notes."""
        for warning in report.warnings:
            self.console.print(f"[bold yellow]{plain(warning)}[/]", soft_wrap=True)
        self.console.print(_errors(report))
        self.console.print(plain(report.beside))
        self.console.print(f"[dim]{IN_BRACKETS}[/dim]\n")
        rows = report.by_class()
        shown = rows if all_classes else rows[:WORST_SHOWN]
        title = "all classes" if len(shown) == len(rows) else f"the {len(shown)} worst of {len(rows)} classes"
        view = f", {report.rows[-1].view} pixels" if len(report.rows) > 1 else ""
        self.console.print(f"By class: {title}{view}")
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in ("class", "images", "top-1 error", "most often predicted as"):
            table.add_column(name, justify="right" if name == "images" else "left")
        for each in shown:
            taken = f"{each.mistaken_for[0]} ({each.mistaken_for[1]})" if each.mistaken_for else ""
            table.add_row(plain(each.name), f"{each.top1.images:,}", str(each.top1), plain(taken))
        self.console.print(table)
        self._print_confusions(report)
        for note in report.notes:
            self.console.print(f"* {note}", markup=False, soft_wrap=True)
        self._name_skipped(report)
        if out is not None:
            self.console.print(f"Written to {plain(out)}", soft_wrap=True)

    def _print_confusions(self, report: EvaluationReport) -> None:
        confusions = report.confusions()[:WORST_SHOWN]
        if not confusions:
            return
        self.console.print("\nMost frequent confusions")
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for name in ("true class", "predicted", "images", "of"):
            table.add_column(name, justify="right" if name in ("images", "of") else "left")
        for each in confusions:
            table.add_row(plain(each.name), plain(each.guess), f"{each.count:,}", f"{each.images:,}")
        self.console.print(table)
        self.console.print()

    def _name_skipped(self, report: EvaluationReport) -> None:
        if report.unreadable:
            self.console.print(f"Skipped as unreadable: {counted(len(report.unreadable), 'file')}")
            for name, reason in report.unreadable[:MOST_NAMED]:
                self.console.print(f"  {plain(name)}: {plain(reason)}", soft_wrap=True)

    def _draw(self, title: str, done: int, total: int) -> None:
        if title not in self.tasks:
            self.tasks[title] = self.bar.add_task(title, total=total)
        self.bar.update(self.tasks[title], completed=done, total=total)


def _errors(report: EvaluationReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in HEADS:
        table.add_column(name)
    for row in report.rows:
        view, resizes, top1, *others = row.cells()
        table.add_row(view, resizes, f"[bold]{top1}[/bold]", *others)
    return table
