"""What the first use of the kernels costs, and each call: ``python -m benchmarks.bench_first_use``.

A new process with an empty cache runs a training step and inference of SE-ResNet-50: how much longer that
takes than a second time is what compiling takes. Another process finds the cache. Then the time of a call
on maps of a few values, where there is next to no work. On two cores about two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.bench_tail import WITH
from benchmarks.common import eager_twin, parse, per_call, repeated, save
from senet.blocks.se_config import SEConfig
from senet.insight.bench import first_use_seconds
from senet.insight.machine import this_machine
from senet.insight.results_timing import Mode, Timing
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import InTurns, spread, time_in_turns
from senet.insight.tails import Tail, TailStep, layer_by_layer, make_maps, shape_text
from senet.insight.timing_rows import timing_rows
from senet.kernels import fused
from senet.kernels.backends import kernels
from senet.networks.zoo import create_network

CACHES = ("NUMBA_CACHE_DIR", "TRITON_CACHE_DIR")
EMPTY, KEPT = "first use, nothing compiled before", "first use, compiled by another process before"
CALL, WORK, DISPATCH = "tail", "passes and tables alone", "tail without passes and tables"
LAYERS, EAGER = "layer by layer", "eager"
CALLS: tuple[tuple[tuple[int, int, int], int, Mode], ...] = (
    ((8, 1, 1), 1, "infer"),
    ((64, 2, 2), 2, "infer"),
    ((64, 2, 2), 2, "train"),
)
"""Shape of one image's maps, images, and mode: next to nothing to compute."""


def child(model: str, side: int, device: torch.device) -> None:
    """Print the seconds that the first training step and the first inference take more than the second."""
    images = torch.randn(2, 3, side, side).to(device, memory_format=torch.channels_last)
    network = create_network(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = NetworkStep(network, images)
    print(json.dumps(sum(first_use_seconds(work, device) for work in (step.train, step.infer))))


def in_new_process(model: str, side: int, device: torch.device, cache: str, limit: float) -> float:
    """Return what `child` prints in a process of its own whose kernels are kept in the folder ``cache``.

    Raises:
        subprocess.TimeoutExpired: after ``limit`` seconds.
    """
    script = [sys.executable, "-m", "benchmarks.bench_first_use"]
    done = subprocess.run(
        [*script, "--child", model, str(side), device.type],
        capture_output=True,
        text=True,
        check=True,
        timeout=limit,
        env={**os.environ, **dict.fromkeys(CACHES, cache)},
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def first_uses(model: str, side: int, repeats: int, device: torch.device, limit: float = 600) -> InTurns:
    """Return the seconds of first uses with an empty cache, and with the one that these leave.

    Raises:
        subprocess.TimeoutExpired: one took longer than ``limit`` seconds.
    """
    seconds: dict[str, list[float]] = {EMPTY: [], KEPT: []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in (EMPTY, KEPT):
                seconds[name].append(in_new_process(model, side, device, cache, limit))
    return InTurns({name: tuple(each) for name, each in seconds.items()})


def call_times(shape: tuple[int, int, int], batch: int, mode: Mode, seconds: float, calls: int) -> InTurns:
    """Return the seconds of one call of a tail, as senet's networks make it and as PyTorch's layers are.

    Args:
        shape: of one image's maps; a few values.
        batch: images.
        mode: forward and backward, or the forward alone in evaluation mode.
        seconds: how long to measure.
        calls: how many are timed at once.
    """
    maps = make_maps(shape, batch, add=True, device=torch.device("cpu"))
    module = Tail(shape[0], WITH, SEConfig(reduction=4)).train(mode == "train")
    twin = eager_twin(module).train(mode == "train")
    step, eager = TailStep(module, maps), TailStep(twin, maps)
    call, peer = (step.train, eager.train) if mode == "train" else (step.forward, eager.forward)
    with kernels("always"), torch.inference_mode(mode == "infer"):
        works: dict[str, Callable[[], object]] = {
            **{CALL: call, WORK: work_of(call, mode), EAGER: peer, LAYERS: layer_by_layer(call)}
        }
        turns = time_in_turns(repeated(works, calls), device=torch.device("cpu"), seconds=seconds)
    return per_call(turns, calls)


def work_of(call: Callable[[], object], mode: Mode) -> Callable[[], object]:
    """Return what a tail comes down to in the end: its passes over the maps and the algebra on tables."""
    caught: list[Callable[[], object]] = []
    names = ("infer",) if mode == "infer" else ("forward", "backward")
    originals = {name: getattr(fused, name) for name in names}

    def catching(name: str) -> Callable[..., Any]:
        def catch(*given: Any) -> Any:
            caught.append(partial(originals[name], *given))
            return originals[name](*given)

        return catch

    for name in originals:
        setattr(fused, name, catching(name))
    try:
        call()
    finally:
        for name, original in originals.items():
            setattr(fused, name, original)
    assert caught, "no tail ran fused"

    @torch.no_grad()
    def work() -> None:
        for each in caught:
            each()

    return work


def dispatch_row(turns: InTurns, **common: Any) -> Timing:
    """Return how much longer a tail takes than its work: choosing kernels, handing over layers, autograd."""
    pairs = zip(turns.seconds[CALL], turns.seconds[WORK], strict=True)
    return Timing(name=DISPATCH, milliseconds=spread([1000 * (a - b) for a, b in pairs]), **common)


def rows(options: Any) -> list[Timing]:
    """Measure everything."""
    model, side, repeats, calls = ("se_resnet8", 32, 1, 3) if options.smoke else ("se_resnet50b", 224, 3, 200)
    common: dict[str, Any] = {
        "precision": "fp32",
        "layout": "channels_last",
        "machine": this_machine(torch.device("cpu")),
    }
    first = first_uses(model, side, repeats, torch.device("cpu"))
    made = timing_rows(
        first, benchmark="first use", shape=f"3x{side}x{side}", batch=2, mode="train", **common
    )
    for shape, batch, mode in CALLS:
        turns = call_times(shape, batch, mode, options.seconds / 3, calls)
        sizes = {"benchmark": "call", "shape": shape_text(shape), "batch": batch, "mode": mode, **common}
        made += timing_rows(turns, [(CALL, EAGER), (CALL, LAYERS)], **sizes)
        made.append(dispatch_row(turns, **sizes))
    return made


def main(argv: list[str] | None = None) -> None:
    """Measure and write the rows."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--child"]:
        child(words[1], int(words[2]), torch.device(words[3]))
        return
    options = parse(__doc__, "first_use", 30, words)
    save(rows(options), options.out)


if __name__ == "__main__":
    main()
