"""What `senet.squeeze_excite` put into a model, and which places it left."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace

from senet.blocks.attached import Position
from senet.shown import Rows, Shown, Table
from senet.text import counted

ALREADY = "it already has channel attention"
"""The reason why a unit with SE, or something like it, gets no more."""


@dataclass(frozen=True, order=True, kw_only=True)
class Site:
    """A place that has got SE, or gets it when the plan is carried out. Sites sort by name.

    Attributes:
        name: of the unit, such as ``layer1.0``: the module whose forward runs it.
        host: the module that the block sits on; its parameters are ``{host}.se.…``.
        position: of the block on its host: behind it, in front of it, or behind the ReLU it goes into.
        kind: of unit, such as ``bottleneck`` or ``inception``.
        stage: numbered as in the paper, or ``None`` where the size of the maps is not known.
        channels: that the block weighs.
        hidden: width of the hidden layer, or ``None`` where the block has none.
        parameters: added.
        multiply_adds: added for one image, or ``None`` where they depend on the size of the maps and no
            ``example_input`` tells it.
    """

    name: str
    host: str
    position: Position
    kind: str
    stage: int | None
    channels: int
    hidden: int | None
    parameters: int
    multiply_adds: int | None


@dataclass(frozen=True, order=True, kw_only=True)
class Skipped:
    """A place that was looked at and gets no SE.

    Attributes:
        name: of the unit.
        kind: of unit, or empty for a module that could not be read.
        reason: why.
    """

    name: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True, repr=False)
class InsertionReport(Shown):
    """The plan and what came of it, in the order in which the places run. Prints as a table.

    Attributes:
        model: the name of its class.
        block: what was put in, such as ``se, reduction 16``.
        sites: the places that got SE.
        skipped: the others.
        dry_run: whether nothing was changed.
        output_change: the largest difference that inserting made to the output for ``example_input``, or
            ``None`` where none was given.
        optimizer: what became of the new parameters in the optimizer, or empty.
    """

    model: str
    block: str
    sites: tuple[Site, ...]
    skipped: tuple[Skipped, ...]
    dry_run: bool = False
    output_change: float | None = None
    optimizer: str = field(default="")

    @property
    def parameters(self) -> int:
        """Added by all sites together."""
        return sum(site.parameters for site in self.sites)

    @property
    def multiply_adds(self) -> int | None:
        """Added by all sites together for one image, or ``None`` where that is not known."""
        counts = [site.multiply_adds for site in self.sites]
        return None if None in counts else sum(each for each in counts if each is not None)

    @property
    def reasons(self) -> dict[str, int]:
        """How many places were skipped for each reason."""
        names = [row.reason for row in self.skipped]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def to_rows(self) -> Rows:
        """Return one row for each place that got SE, then for each that was skipped, with its reason."""
        taken = [{**asdict(site), "skipped": None} for site in self.sites]
        nothing = dict.fromkeys(each.name for each in fields(Site))
        return taken + [
            {**nothing, "name": row.name, "kind": row.kind, "skipped": row.reason} for row in self.skipped
        ]

    def table(self) -> Table:
        """Return a line for each place, and the totals."""
        return Table(
            head=("unit", "kind", "SE sits", "stage", "channels", "hidden", "parameters", "multiply-adds"),
            lines=[_line(site) for site in self.sites],
            numbers=(3, 4, 5, 6, 7),
            notes=tuple(self._totals()),
        )

    def __str__(self) -> str:
        """Return all of the table, with each place that was skipped."""
        skipped = [f"  {row.name or '(the model)'}: {row.reason}" for row in self.skipped]
        table = self.table()
        return replace(table, notes=(*(["Skipped:"] if skipped else []), *skipped, *table.notes)).text()

    def _had_se(self) -> int:
        return self.reasons.get(ALREADY, 0)

    def _totals(self) -> list[str]:
        if not self.sites:
            had = counted(self._had_se(), "place")
            return [f"{self.model}: nothing to do, {had} already with channel attention."]
        verb = "would be added" if self.dry_run else "added"
        block = "SE" + self.block.removeprefix("se") if self.block.split()[0] == "se" else self.block
        where = f"{block} {verb} at {counted(len(self.sites), 'place')}"
        work = "" if self.multiply_adds is None else f" and {self.multiply_adds:,} multiply-adds per image"
        totals = [f"{self.model}: {where} (+{counted(self.parameters, 'parameter')}{work})."]
        if self.skipped:
            totals.append(f"Skipped: {len(self.skipped)}.")
        if self.output_change is not None:
            totals.append(f"Largest change of the output for the example: {self.output_change:.3g}.")
        if self.optimizer:
            totals.append(self.optimizer)
        return totals


def _line(site: Site) -> tuple[str, ...]:
    inner = site.host.removeprefix(f"{site.name}.") if site.name != site.host else site.host
    work = "?" if site.multiply_adds is None else f"{site.multiply_adds:,}"
    return (
        site.name or "(the model)",
        site.kind,
        f"{_WHERE[site.position]} {inner}",
        "?" if site.stage is None else str(site.stage),
        f"{site.channels:,}",
        "-" if site.hidden is None else f"{site.hidden:,}",
        f"{site.parameters:,}",
        work,
    )


_WHERE: dict[Position, str] = {"after": "after", "before": "before", "after relu": "after ReLU of"}
