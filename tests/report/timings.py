"""Timings to write, draw and read."""

from __future__ import annotations

from typing import Any

from senet.insight.results import Spread
from senet.insight.results_timing import Machine, Timing

MACHINE = Machine(
    hardware="a processor, 2 cores", threads=2, versions="torch 9.9, timm 1", date="2026-01-02T03:04:05"
)


def spread(median: float, count: int = 7) -> Spread:
    return Spread(median=median, p20=round(0.9 * median, 4), p80=round(1.2 * median, 4), count=count)


def timing(name: str, milliseconds: float | None = 4.0, **changes: Any) -> Timing:
    settings: dict[str, Any] = {
        "benchmark": "tail",
        "shape": "256x56x56",
        "batch": 16,
        "precision": "fp32",
        "layout": "channels_last",
        "mode": "train",
        "milliseconds": None if milliseconds is None else spread(milliseconds),
        "machine": MACHINE,
    }
    return Timing(name=name, **{**settings, **changes})


def compared(name: str, milliseconds: float, to: str, ratio: float, **changes: Any) -> Timing:
    return timing(name, milliseconds, ratio_to=to, ratio=spread(ratio), **changes)


TIMINGS = (
    compared("SE", 4.0, "plain", 1.0, bytes=1000),
    compared("SE", 4.0, "copy", 2.5, bytes=1000),
    timing("plain", 4.0),
    timing("copy", 1.6),
    compared("senet se_x", 70.5, "senet x", 1.07, benchmark="network", shape="3x8x8", peak_bytes=2**20),
    timing("senet x", 66.0, benchmark="network", shape="3x8x8"),
    compared("senet se_x", 8.0, "senet x", 0.99, benchmark="network", shape="3x8x8", mode="infer", batch=1),
    timing("senet x", 8.1, benchmark="network", shape="3x8x8", mode="infer", batch=1),
    timing("torch.compile", None, benchmark="other", note='no compiler, "really"'),
)
