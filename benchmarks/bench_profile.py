"""Where the time of a training step goes, before and after: ``python -m benchmarks.bench_profile``.

PyTorch's profiler, on SE-ResNet-50 with 8 images, layer by layer and fused, in turns with timm's plain
ResNet-50. The time of each operator without the operators it calls is added up by what it belongs to. On two
cores about a minute and a half.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks.bench_network import OURS, TIMM_PLAIN, Setting, networks, steps_of
from benchmarks.common import parse, save
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import InTurns, Work
from senet.insight.tails import layer_by_layer
from senet.insight.timing_rows import timing_rows

BEFORE, AFTER, PLAIN = "layer by layer", "fused", "timm's plain ResNet-50"
# An operator belongs to the first group with a word in its name; what it calls belongs with it.
GROUPS = {
    "optimiser": ("Optimizer.step", "Optimizer.zero_grad"),
    "fused tails": ("senet::tail", "_Tail"),
    "convolutions": ("convolution",),
    "BatchNorm": ("batch_norm",),
    "SE and the classifier": ("mean", "mul", "linear", "addmm", "sigmoid", "Mul", "Mean", "Addmm", "Sigmoid"),
    "sums": ("aten::add", "AddBackward"),
    "ReLU": ("relu", "threshold_backward", "Relu"),
}
REST = "everything else"


def group_of(event: FunctionEvent) -> str:
    """Return what an operator belongs to: the group of the outermost call around it that has one."""
    found = REST
    around: FunctionEvent | None = event
    while around is not None:
        for group, words in GROUPS.items():
            if any(word in around.name for word in words):
                found = group
                break
        around = around.cpu_parent
    return found


def profiled(work: Work) -> dict[str, float]:
    """Run once and return the seconds of each group."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    seconds = dict.fromkeys((*GROUPS, REST), 0.0)
    for event in profiler.events() or []:
        seconds[group_of(event)] += event.self_cpu_time_total * 1e-6
    return seconds


def main(argv: list[str] | None = None) -> None:
    """Profile and write the rows."""
    options = parse(__doc__, "profile", 40, argv)
    side, batch = (32, 2) if options.smoke else (224, 8)
    setting = Setting(batch, side, torch.device("cpu"))
    built = networks(setting.device, options.smoke)
    steps = steps_of({name: built[name] for name in (OURS, TIMM_PLAIN)}, setting)
    ours, plain = steps[OURS].train, steps[TIMM_PLAIN].train
    works: dict[str, Work] = {BEFORE: layer_by_layer(ours), AFTER: ours, PLAIN: layer_by_layer(plain)}
    least = 1 if options.smoke else 5
    save(rows_of(works, options.seconds, least, setting.common()), options.out)


def rows_of(works: dict[str, Work], seconds: float, least: int, common: dict[str, Any]) -> list[Timing]:
    """Return a row for each group before and after, from at least so many rounds."""
    rounds: dict[str, list[float]] = {}
    for work in works.values():
        work()
    count = 0
    started = time.perf_counter()
    while count < least or time.perf_counter() - started < seconds:
        order = list(works)[:: 1 if count % 2 == 0 else -1]
        for name in order:
            for group, each in profiled(works[name]).items():
                rounds.setdefault(f"{name}: {group}", []).append(each)
        count += 1
    turns = InTurns({name: tuple(each) for name, each in rounds.items()})
    return timing_rows(turns, **{**common, "benchmark": "profile", "mode": "train"})


if __name__ == "__main__":
    main()
