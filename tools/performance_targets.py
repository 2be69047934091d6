"""What is to be reached in speed and memory, and whether the rows of the benchmarks reach it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.bench_first_use import CALLS, DISPATCH, EMPTY
from benchmarks.bench_network import COMPILED as COMPILED_NETWORK
from benchmarks.bench_network import FOLDED, FOLDED_PLAIN, LAYERS_PLAIN, OURS, OURS_PLAIN, TIMM, TIMM_PLAIN
from benchmarks.bench_tail import BATCH, COMPILED, COPY, EAGER, SENET, SHAPES

from senet.insight.results_timing import Timing
from senet.insight.tails import shape_text

Unit = Literal["ratio", "memory", "seconds", "microseconds"]
SCALES: dict[Unit, float] = {"seconds": 1e-3, "microseconds": 1e3}
"""From milliseconds to what a target is stated in."""
Place = tuple[str, int]
"""The shape of one image's maps, or of an image, and the images at a time."""

_LAYERS = (
    "see the tail without SE below: what comes on top of it is SE's two layers, whose weights and gradients "
    "no fusing makes smaller, and the calls"
)
_SE_BLOCK = (
    "a block of SE reads its maps once more and its weights, and its calls take as long again, for their "
    "code is no longer in the caches after a convolution"
)
REASONS: dict[tuple[str, str], str] = {
    ("tail: eager SE takes ≥ 3.5 times as long", "512×28×28"): (
        "the passes are as fast as a copy; these maps fit a cache of 32 MiB, which serves the layers too"
    ),
    ("tail: eager SE takes ≥ 3.5 times as long", ""): _LAYERS,
    ("tail: ≤ 2 times a copy of the same bytes", "2048×7×7"): _LAYERS,
    ("training step: ≤ 1.00 times timm's plain ResNet-50", ""): (
        "four fifths of a step are convolutions; what stands between them still takes longer with SE than in "
        "timm's plain network, whose layers work in place, see the profile below"
    ),
    ("inference: ≤ 1.02 times our plain ResNet-50", ""): _SE_BLOCK,
    ("inference: ≤ 0.85 times timm's SE-ResNet-50", ""): (
        "the BatchNorms are still there: fold them, see the next lines"
    ),
    ("inference, folded: ≤ 1.02 times our plain ResNet-50, folded", ""): _SE_BLOCK,
    ("inference, folded: ≤ 0.85 times timm's SE-ResNet-50", "batch 8"): (
        "with 8 images nearly all of it is convolutions, which both run with the same library"
    ),
    ("first use of the kernels: ≤ 10 s", ""): (
        "Numba has 13 loops to compile, and spends most of the time in Python before LLVM sees them"
    ),
    ("each call: ≤ 50 µs of dispatch", ""): (
        "a third is Python that looks at the layers, their hooks and whether a table is still theirs"
    ),
}
"""Why a target was not reached, by its sentence and where, as found by measuring.

A reason for every place has the empty text as its place. tests/test_performance_page.py asks for one for
each target that fell short, and for no others.
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One number to reach.

    Attributes:
        sentence: what it says, as a reader sees it.
        benchmark: whose rows tell.
        name: of the row.
        to: of what it is compared with; a memory target divides peaks.
        limit: the number.
        at_least: whether more is better.
        mode: training or inference.
        places: where it is to be reached, each a measurement of its own.
        unit: of the limit.
        instead: another name for ``to`` where the machine lacks the first.
    """

    sentence: str
    benchmark: str
    name: str
    to: str = ""
    limit: float
    at_least: bool = False
    mode: str = "train"
    places: tuple[Place, ...]
    unit: Unit = "ratio"
    instead: str = ""


def _tails(
    batch: int, eager: float, compiled: float, copy: float, words: tuple[str, str, str]
) -> Iterator[Target]:
    """Yield the targets of the tails: least ratios to senet, and senet's largest ratio to the copy."""
    places = tuple((shape_text(shape), batch) for shape in SHAPES)
    for name, to, limit, sentence in (
        (EAGER, SENET, eager, f"tail: eager SE takes ≥ {words[0]} times as long"),
        (COMPILED, SENET, compiled, f"tail: torch.compile of eager SE takes ≥ {words[1]} times as long"),
        (SENET, COPY, copy, f"tail: ≤ {words[2]} times a copy of the same bytes"),
    ):
        yield Target(
            sentence=sentence,
            benchmark="tail",
            name=name,
            to=to,
            limit=limit,
            at_least=to == SENET,
            places=places,
        )


def _network(sentence: str, to: str, limit: float, *batches: int, name: str = OURS, **more: Any) -> Target:
    places = tuple(("3x224x224", batch) for batch in batches)
    return Target(
        sentence=sentence, benchmark="network", name=name, to=to, limit=limit, places=places, **more
    )


def _folded(sentence: str, to: str, limit: float) -> Target:
    return _network(sentence, to, limit, 1, 8, name=FOLDED, mode="infer")


CPU_TARGETS = (
    *_tails(BATCH, 3.5, 2.0, 2.0, ("3.5", "2", "2")),
    _network("training step: ≤ 1.00 times timm's plain ResNet-50", TIMM_PLAIN, 1.00, 8),
    _network("training step: memory ≤ 1.02 times our plain ResNet-50's", OURS_PLAIN, 1.02, 8, unit="memory"),
    _network("inference: ≤ 1.02 times our plain ResNet-50", OURS_PLAIN, 1.02, 1, 8, mode="infer"),
    _network("inference: ≤ 0.85 times timm's SE-ResNet-50", TIMM, 0.85, 1, 8, mode="infer"),
    _folded("inference, folded: ≤ 1.02 times our plain ResNet-50, folded", FOLDED_PLAIN, 1.02),
    _folded("inference, folded: ≤ 0.85 times timm's SE-ResNet-50", TIMM, 0.85),
    Target(
        sentence="first use of the kernels: ≤ 10 s",
        benchmark="first use",
        name=EMPTY,
        limit=10,
        places=(("3x224x224", 2),),
        unit="seconds",
    ),
    Target(
        sentence="each call: ≤ 50 µs of dispatch",
        benchmark="call",
        name=DISPATCH,
        limit=50,
        mode="infer",
        places=tuple((shape_text(shape), batch) for shape, batch, mode in CALLS if mode == "infer"),
        unit="microseconds",
    ),
)
GPU_TARGETS = (
    *_tails(256, 2.5, 1.3, 1.25, ("2.5", "1.3", "1.25")),
    _network(
        "training step: ≤ 0.90 times timm's plain ResNet-50", TIMM_PLAIN, 0.90, 256, instead=LAYERS_PLAIN
    ),
    _network(
        "training step: ≤ 1.0 times timm's SE-ResNet-50 under torch.compile", COMPILED_NETWORK, 1.0, 256
    ),
    _network(
        "training step: memory ≤ 1.02 times our plain ResNet-50's", OURS_PLAIN, 1.02, 256, unit="memory"
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What was measured for one target in one place.

    Attributes:
        target: what was to be reached.
        where: shape or batch.
        value: the median; ``None`` where nothing was measured.
        low: the 20th percentile.
        high: the 80th.
        count: rounds.
        note: of the row.
    """

    target: Target
    where: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; ``None`` where nothing was measured."""
        if self.value is None:
            return None
        return self.value >= self.target.limit if self.target.at_least else self.value <= self.target.limit

    @property
    def reason(self) -> str:
        """Why it was not reached, as far as that is known."""
        sentence = self.target.sentence
        return REASONS.get((sentence, self.where)) or REASONS.get((sentence, ""), "")

    def verdict(self) -> str:
        """Say whether it was reached, or why not."""
        if self.reached is None:
            return f"not measured{': ' if self.note else ''}{self.note}"
        if self.reached:
            return "reached"
        return f"**fell short**{': ' if self.reason else ''}{self.reason}"


def outcomes(targets: Iterable[Target], rows: Sequence[Timing]) -> Iterator[Outcome]:
    """Yield what the rows say about each target in each place."""
    for target in targets:
        for shape, batch in target.places:
            here = [
                row
                for row in rows
                if (row.benchmark, row.mode, row.shape, row.batch)
                == (target.benchmark, target.mode, shape, batch)
            ]
            yield _outcome(target, f"batch {batch}" if "network" in target.benchmark else shape, here)


def _outcome(target: Target, where: str, rows: Sequence[Timing]) -> Outcome:
    """Return what the rows of one place say."""
    where = where.replace("x", "×")
    own = [row for row in rows if row.name == target.name]
    missing = Outcome(target, where, note=next((row.note for row in own if row.milliseconds is None), ""))
    if target.unit == "memory":
        peaks = [
            next((row.peak_bytes for row in rows if row.name == name), None)
            for name in (target.name, target.to)
        ]
        if peaks[0] is None or peaks[1] is None:
            return missing
        return Outcome(target, where, peaks[0] / peaks[1], count=1)
    if target.unit in SCALES:
        time, scale = next((row.milliseconds for row in own), None), SCALES[target.unit]
        if time is None:
            return missing
        return Outcome(target, where, scale * time.median, scale * time.p20, scale * time.p80, time.count)
    to = target.to
    if target.instead and not any(row.name == to for row in rows):
        to, where = target.instead, f"{where}, against {target.instead}"
    ratio = next((row.ratio for row in own if row.ratio_to == to), None)
    if ratio is None:
        return missing
    return Outcome(target, where, ratio.median, ratio.p20, ratio.p80, ratio.count)
