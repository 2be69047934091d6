"""The end of a residual unit, forward and backward: ``python -m benchmarks.bench_tail``.

BatchNorm, SE, sum and ReLU on the maps of ResNet-50's four stages: senet, PyTorch's layers one by one,
torch.compile of those, the same without SE, and a plain copy of as many bytes. On two cores about four
minutes, half of them in torch.compile.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.common import (
    compiled_step,
    eager_twin,
    missing_row,
    parse,
    per_call,
    repeated,
    require_same,
    save,
)
from senet.blocks.se_config import SEConfig
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import Work, time_in_turns
from senet.insight.tails import CopyStep, Tail, TailStep, dtype_of, make_maps, shape_text, tail_bytes
from senet.insight.timing_rows import timing_rows
from senet.kernels.steps import Steps

SHAPES = ((256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7))
SMOKE_SHAPES = ((64, 6, 6), (128, 3, 3))
BATCH = 16
WITH, WITHOUT = Steps.parse("bn se add relu"), Steps.parse("bn add relu")

SENET, SENET_PLAIN = "senet, SE", "senet, no SE"
EAGER, EAGER_PLAIN = "eager, SE", "eager, no SE"
COMPILED = "torch.compile, SE"
COPY = "copy of the same bytes"
GRAPH = "senet, SE, in a CUDA graph"
COMPARE = (
    (SENET, COPY),
    (SENET, SENET_PLAIN),
    (EAGER, SENET),
    (EAGER, EAGER_PLAIN),
    (COMPILED, SENET),
    (EAGER_PLAIN, SENET),
    (GRAPH, COPY),
)
TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2}


def measure(
    shape: tuple[int, int, int],
    *,
    batch: int,
    precision: str,
    device: torch.device,
    seconds: float,
    smoke: bool,
    calls: int = 1,
) -> list[Timing]:
    """Return the rows of one stage.

    Args:
        shape: of one image's maps.
        batch: images.
        precision: of the maps.
        device: where to measure.
        seconds: how long.
        smoke: whether this is to tell only that it runs.
        calls: how many are timed at once.
    """
    maps = make_maps(shape, batch, add=True, device=device, dtype=dtype_of(precision))
    ours = Tail(shape[0], WITH, SEConfig()).to(device)
    plain = Tail(shape[0], WITHOUT, None).to(device)
    eager, eager_plain = eager_twin(ours), eager_twin(plain)
    steps = {
        SENET: TailStep(ours, maps),
        SENET_PLAIN: TailStep(plain, maps),
        EAGER: TailStep(eager, maps),
        EAGER_PLAIN: TailStep(eager_plain, maps),
    }
    require_same(steps[SENET], steps[EAGER], TOLERANCES[precision])
    require_same(steps[SENET_PLAIN], steps[EAGER_PLAIN], TOLERANCES[precision])
    copies = CopyStep(maps, WITH)
    works: dict[str, Work] = {name: step.train for name, step in steps.items()}
    compiled, note = compiled_step(lambda module: TailStep(module, maps).train, eager_twin(ours), smoke)
    if compiled is not None:
        works[COMPILED] = compiled
    if device.type == "cuda":
        try:
            works[GRAPH] = graphed(steps[SENET].train)
        except RuntimeError as error:
            print(f"no CUDA graph: {str(error).splitlines()[0]}")
    works[COPY] = copies.run
    choice = steps[SENET].kernel()
    turns = per_call(time_in_turns(repeated(works, calls), device=device, seconds=seconds), calls)
    common: dict[str, Any] = {
        "benchmark": "tail",
        "shape": shape_text(shape),
        "batch": batch,
        "precision": precision,
        "layout": "channels_last",
        "mode": "train",
        "machine": this_machine(device),
    }
    rows = timing_rows(
        turns,
        COMPARE,
        bytes_of={
            SENET: tail_bytes(maps, WITH),
            SENET_PLAIN: tail_bytes(maps, WITHOUT),
            GRAPH: tail_bytes(maps, WITH),
            COPY: copies.bytes,
        },
        note_of={
            COMPILED: note,
            SENET: f"kernels: {choice.backend}{', ' if choice.reason else ''}{choice.reason}",
        },
        **common,
    )
    return rows if compiled is not None else [*rows, missing_row(COMPILED, note, **common)]


def graphed(work: Work) -> Work:
    """Return ``work`` recorded once on a CUDA device: what is left of its time is the device's own."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def main(argv: list[str] | None = None) -> None:
    """Measure all stages and write the rows."""
    options = parse(__doc__, "tail", 100, argv)
    shapes = SMOKE_SHAPES if options.smoke else SHAPES
    rows: list[Timing] = []
    for shape in shapes:
        rows += measure(
            shape,
            batch=2 if options.smoke else BATCH,
            precision="fp32",
            device=torch.device("cpu"),
            seconds=options.seconds / len(shapes),
            smoke=options.smoke,
        )
        print(f"{shape_text(shape)} done", flush=True)
    save(rows, options.out)


if __name__ == "__main__":
    main()
