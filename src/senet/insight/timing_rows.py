"""From the stopwatch's times to rows of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from senet.insight.results_timing import Timing
from senet.insight.stopwatch import InTurns


def timing_rows(
    turns: InTurns,
    compare: Sequence[tuple[str, str]] = (),
    *,
    bytes_of: Mapping[str, int] | None = None,
    peak_of: Mapping[str, int] | None = None,
    note_of: Mapping[str, str] | None = None,
    **common: Any,
) -> list[Timing]:
    """Return a row for each piece of work, or one for each other that it is compared with.

    Args:
        turns: what was measured.
        compare: names of what is compared and with what, such as ``("SE", "plain")``.
        bytes_of: bytes read and written, by name.
        peak_of: peak memory in bytes, by name.
        note_of: anything a reader has to know, by name.
        common: the fields of `Timing` that all rows share.
    """
    rows = []
    for name in turns.seconds:
        row = Timing(
            name=name,
            milliseconds=turns.milliseconds(name),
            bytes=(bytes_of or {}).get(name),
            peak_bytes=(peak_of or {}).get(name),
            note=(note_of or {}).get(name, ""),
            **common,
        )
        others = [other for each, other in compare if each == name and other in turns.seconds]
        rows += [_compared(row, turns, other) for other in others] or [row]
    return rows


def _compared(row: Timing, turns: InTurns, other: str) -> Timing:
    return replace(row, ratio_to=other, ratio=turns.ratio(row.name, to=other))
