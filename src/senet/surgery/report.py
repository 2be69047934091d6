"""What `senet.accelerate` took and what it left."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from senet.shown import Rows, Shown, Table
from senet.text import counted


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


@dataclass(frozen=True, kw_only=True, repr=False)
class AccelerationReport(Shown):
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

    def to_rows(self) -> Rows:
        """Return one row for each place."""
        return [asdict(row) for row in self.rows]

    def table(self) -> Table:
        """Return a line for each place, and the totals."""
        return Table(
            head=("block", "layers", "steps", "", "why not (more)"),
            lines=[
                (each.block or "(the model)", each.layers, each.steps, _STATES[each.taken], each.reason)
                for each in self.rows
            ],
            notes=tuple(self._totals()),
        )

    def __str__(self) -> str:
        """Return all of the table."""
        return self.table().text()

    def _totals(self) -> list[str]:
        totals = [f"{self.model}: {counted(len(self.taken), 'place')} fused{_list(self.steps)}"]
        if self.left:
            totals.append(f"{len(self.left)} left{_list(self.reasons)}")
        if self.fused_before:
            nothing = "" if self.taken else "Nothing new: "
            totals.append(f"{nothing}{counted(self.fused_before, 'layer')} already fused")
        return totals


_STATES = {True: "taken", False: "left"}


def _counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _list(counts: dict[str, int]) -> str:
    return ": " + ", ".join(f"{count} × {name}" for name, count in counts.items()) if counts else ""
