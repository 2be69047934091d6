"""What `senet.accelerate` took and what it left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True, kw_only=True)
class AccelerationRow:
    """One BatchNorm or SE block and what stands behind it. Rows sort by block.

    Attributes:
        block: the name of the module whose forward calls the layers, empty for the model itself.
        layers: the names of the layers in the block, such as ``bn3, se, act3``.
        steps: what they compute, such as ``bn se add relu``.
        taken: whether they run as one operator from now on.
        reason: why they were left, or why a tail that was taken does not go on; or empty.
    """

    block: str
    layers: str
    steps: str
    taken: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class AccelerationReport:
    """The places of a model in the order of its modules. Prints as a table.

    Attributes:
        model: the name of its class.
        rows: each BatchNorm and each SE block of the model is in one of them.
        fused_before: how many BatchNorms and SE blocks ran fused already; they have no rows.
    """

    model: str
    rows: tuple[AccelerationRow, ...]
    fused_before: int = 0

    @property
    def taken(self) -> tuple[AccelerationRow, ...]:
        """The places that run fused from now on."""
        return tuple(row for row in self.rows if row.taken)

    @property
    def left(self) -> tuple[AccelerationRow, ...]:
        """The places that run as before."""
        return tuple(row for row in self.rows if not row.taken)

    @property
    def steps(self) -> dict[str, int]:
        """How many places of each kind were taken."""
        return _counts([row.steps for row in self.taken])

    @property
    def reasons(self) -> dict[str, int]:
        """How many places were left for each reason."""
        return _counts([row.reason for row in self.left])

    def __str__(self) -> str:
        """Return a line for each place, and the totals."""
        heads = ("block", "layers", "steps", "", "why not (more)")
        lines = [
            (row.block or "(the model)", row.layers, row.steps, "taken" if row.taken else "left", row.reason)
            for row in self.rows
        ]
        table = aligned([heads, *lines])
        return "\n".join([*(table if lines else []), *self._totals()])

    def _totals(self) -> list[str]:
        totals = [f"{self.model}: {len(self.taken)} places taken{_list(self.steps)}"]
        if self.left:
            totals.append(f"{len(self.left)} left{_list(self.reasons)}")
        if self.fused_before:
            nothing = "" if self.taken else "Nothing new: "
            totals.append(f"{nothing}{self.fused_before} layers ran fused already")
        return totals


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells as text with the cells below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _list(counts: dict[str, int]) -> str:
    return ": " + ", ".join(f"{count} × {name}" for name, count in counts.items()) if counts else ""
