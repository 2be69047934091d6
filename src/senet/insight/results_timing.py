"""What a benchmark found, as plain data: one thing timed beside others.

Holds numbers and text only (no tensors, no models), so that `senet.report` can read it without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from senet.insight.results import Spread

Mode = Literal["train", "infer"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and with what something was measured.

    Attributes:
        hardware: name of the processor or the GPU.
        threads: PyTorch's on the CPU.
        versions: of the packages that decide a result, such as ``"torch 2.9.0, numba 0.62.1"``.
        date: ISO 8601, in UTC.
    """

    hardware: str
    threads: int
    versions: str
    date: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one thing took, and how that compares with another that was timed in turns with it.

    Attributes:
        benchmark: what was measured, such as ``"tail"``.
        name: of what ran.
        shape: of one image's maps, or of an image: ``"256x56x56"``.
        batch: images at a time.
        precision: ``fp32`` or ``bf16``.
        layout: ``channels_last`` or ``contiguous``.
        mode: a training step, that is forward and backward, or inference.
        milliseconds: how long it took; missing where it could not run, which ``note`` explains.
        ratio_to: the name of the other; empty without one.
        ratio: this one's time over the other's, round by round.
        bytes: how many its passes read and write at least, where that was counted.
        peak_bytes: most tensor memory that it took at one moment, where that was measured.
        note: anything a reader has to know.
    """

    benchmark: str
    name: str
    shape: str
    batch: int
    precision: str
    layout: str
    mode: Mode
    milliseconds: Spread | None
    ratio_to: str = ""
    ratio: Spread | None = None
    bytes: int | None = None
    peak_bytes: int | None = None
    note: str = ""
    machine: Machine


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What ``senet bench`` found.

    Attributes:
        timings: in the order in which to show them.
        notes: sentences without which they cannot be read.
    """

    timings: tuple[Timing, ...]
    notes: tuple[str, ...]
