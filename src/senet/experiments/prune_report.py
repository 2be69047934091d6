"""What `senet.prune_gates` measured, folded and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from senet.insight.results import Spread
from senet.shown import Rows, Shown, Table, aligned
from senet.text import counted, signed

_HEADS = (
    *("block", "channels", "parameters", "gate", "std", "loss", "top-1 error"),
    *("step", "folded into", "time", "why not"),
)


@dataclass(frozen=True, order=True, kw_only=True)
class PruneRow:
    """One SE block. Rows sort by its name.

    Attributes:
        block: its name in the model.
        channels: that it weighs.
        parameters: that it has.
        mean_gate: mean over images and channels; NaN where it did not run, as in what follows.
        gate_deviation: standard deviation of a channel's gate over the images, mean over channels.
        loss_change: of the whole model when this block alone is replaced by its mean gates.
        error_change: of its top-1 error, in percentage points.
        step: the how manieth block that was folded it is, or ``None`` where it was kept.
        into: names of the layers that its gates were folded into.
        reason: why it was kept, or empty.
        milliseconds: inference on one batch after this step, or ``None`` where it was kept.
        time_ratio: to the original model's, measured in turns with it.
    """

    block: str
    channels: int
    parameters: int
    mean_gate: float
    gate_deviation: float
    loss_change: float
    error_change: float
    step: int | None = None
    into: tuple[str, ...] = ()
    reason: str = ""
    milliseconds: Spread | None = None
    time_ratio: Spread | None = None

    @property
    def folded(self) -> bool:
        """Whether the block was folded."""
        return self.step is not None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        ran = self.mean_gate == self.mean_gate
        measured = (
            f"{self.mean_gate:.3f}",
            f"{self.gate_deviation:.4f}",
            signed(self.loss_change, 5),
            f"{signed(self.error_change)} points",
        )
        time = f"{self.milliseconds.median:.2f} ms" if self.milliseconds else ""
        ratio = f" (×{self.time_ratio.median:.3f})" if self.time_ratio else ""
        return (
            self.block,
            f"{self.channels:,}",
            f"{self.parameters:,}",
            *(measured if ran else ("–",) * len(measured)),
            "kept" if self.step is None else str(self.step),
            ", ".join(self.into),
            time + ratio,
            self.reason,
        )


@dataclass(frozen=True, kw_only=True)
class PrunedModel:
    """The model before or after.

    Attributes:
        parameters: in all.
        se_parameters: those of SE blocks.
        loss: mean over the images.
        top1_error: percent of images whose first guess is wrong.
        top5_error: percent of images without the right class among five guesses; ``None`` with five classes
            or fewer.
        milliseconds: inference on one batch.
    """

    parameters: int
    se_parameters: int
    loss: float
    top1_error: float
    top5_error: float | None
    milliseconds: Spread

    @property
    def se_share(self) -> float:
        """How many more parameters SE makes, in percent of those without SE."""
        plain = self.parameters - self.se_parameters
        return 100 * self.se_parameters / plain if plain else float("inf")


@dataclass(frozen=True, kw_only=True, repr=False)
class PruneReport(Shown):
    """All SE blocks of a model in the order in which they run. Prints as a table.

    Errors are in percent, changes are after minus before.

    Attributes:
        model: the name of the network, or of its class.
        rows: one for each SE block.
        budget: by how much the top-1 error might rise, as a share of the images.
        images: how many it was measured on.
        batch_size: of the batch that was timed.
        device: where, for example ``"cpu, 2 threads"``.
        dry_run: whether the model was left as it was; ``after`` is then what it would have become.
        before: the model as it was.
        after: the model with blocks folded.
        time_ratio: inference after over before, in turns.
    """

    model: str
    rows: tuple[PruneRow, ...]
    budget: float
    images: int
    batch_size: int
    device: str
    dry_run: bool
    before: PrunedModel
    after: PrunedModel
    time_ratio: Spread

    @property
    def folded(self) -> tuple[PruneRow, ...]:
        """The blocks that were folded, in the order in which they were."""
        return tuple(sorted((row for row in self.rows if row.folded), key=lambda row: row.step or 0))

    @property
    def kept(self) -> tuple[PruneRow, ...]:
        """The blocks that were kept."""
        return tuple(row for row in self.rows if not row.folded)

    def to_rows(self) -> Rows:
        """Return one row for each block; times are medians."""
        return [
            {
                **asdict(replace(row, milliseconds=None, time_ratio=None)),
                "into": ", ".join(row.into),
                "milliseconds": row.milliseconds.median if row.milliseconds else None,
                "time_ratio": row.time_ratio.median if row.time_ratio else None,
            }
            for row in self.rows
        ]

    def table(self) -> Table:
        """Return how many blocks were folded, and the model before and after."""
        would = " would be" if self.dry_run else ""
        sentence = (
            f"{self.model}: {len(self.folded)} of {counted(len(self.rows), 'SE block')}{would} folded, "
            f"measured on {counted(self.images, 'image')} (one image is {100 / self.images:.2g} %), "
            f"with a budget of {100 * self.budget:g} points"
        )
        return Table(title=(sentence,), head=("", "before", "after"), lines=self._totals())

    def __str__(self) -> str:
        """Return a line for each block, and the totals."""
        blocks = aligned([_HEADS, *(row.cells() for row in self.rows)])
        return "\n".join([*blocks, "", self.table().text()])

    def _totals(self) -> list[tuple[str, str, str]]:
        both = (self.before, self.after)
        lines = [
            ("parameters", *(f"{each.parameters:,}" for each in both)),
            ("SE adds", *(f"{each.se_parameters:,} ({each.se_share:.2f} %)" for each in both)),
            ("loss", *(f"{each.loss:.4f}" for each in both)),
            ("top-1 error", *(f"{each.top1_error:.2f} %" for each in both)),
        ]
        if self.before.top5_error is not None:
            lines.append(("top-5 error", *(f"{each.top5_error or 0:.2f} %" for each in both)))
        ratio = self.time_ratio
        times = [_spread(each.milliseconds, " ms") for each in both]
        lines.append((f"batch of {self.batch_size}", *times))
        lines.append(("time, after / before", "", _spread(ratio)))
        lines.append(
            (
                "measured on",
                self.device,
                f"{counted(ratio.count, 'pair')} of runs, with 20th to 80th percentile",
            )
        )
        return [(first, second, third) for first, second, third in lines]


def _spread(each: Spread, unit: str = "") -> str:
    return f"{each.median:.3f}{unit} ({each.p20:.3f} to {each.p80:.3f})"
