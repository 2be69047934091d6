"""Everything on a CUDA device, in one run of less than ten minutes: ``python -m benchmarks.gpu``.

Needs Python, torch and triton; where senet is not installed, put ``src`` on PYTHONPATH. With timm its
networks are measured too. First the kernels are checked, then tails and networks are measured in bfloat16,
channels_last. The rows are written after each part, so that a run that is cut off leaves those before.
Ends with 1 if a check failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks import bench_network, bench_tail
from benchmarks.bench_first_use import EMPTY, first_uses
from benchmarks.bench_network import COMPILED, OURS, OURS_PLAIN, TIMM, Setting
from benchmarks.common import CHANNELS_LAST, compiled_step, missing_row, parse, save
from benchmarks.gpu_checks import Check, all_checks
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import Work
from senet.insight.tails import layer_by_layer, shape_text
from senet.insight.timing_rows import timing_rows
from senet.networks.zoo import create_network

LIMIT = 570
TAIL_CALLS = 10


class Run:
    """One run of everything: the rows so far, and the time that is left."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.smoke = options, options.smoke
        self.device = torch.device("cpu" if self.smoke else "cuda")
        self.started = time.perf_counter()
        self.rows: list[Timing] = []
        self.failed = 0

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return float(self.options.limit) - (time.perf_counter() - self.started)

    def part(self, name: str, least: float, work: Callable[[], list[Timing]]) -> None:
        """Run one part if so many seconds are left, and write all rows so far."""
        if not self.smoke and self.left < least:
            print(f"{name}: left out, {self.left:.0f} s are not enough", flush=True)
            return
        print(f"{name}: {self.left:.0f} s left", flush=True)
        before = len(self.rows)
        self.rows += work()
        save(self.rows, self.options.out, begin=before)

    def common(self, **more: Any) -> dict[str, Any]:
        """Return what rows share."""
        return {"layout": "channels_last", "mode": "train", "machine": this_machine(self.device), **more}

    def checks(self) -> list[Timing]:
        """Check the kernels for at most a third of the time."""
        rows: list[Timing] = []
        stop = self.left - self.options.limit / 3
        for check in all_checks(self.device, smoke=self.smoke):
            rows.append(self._checked(check))
            if self.left < stop:
                print(f"checks stopped after {len(rows)}: no time left for more", flush=True)
                break
        print(f"{len(rows)} checks, {self.failed} failed", flush=True)
        return rows

    def _checked(self, check: Check) -> Timing:
        if not check.passed:
            self.failed += 1
            print(f"FAILED {check}", flush=True)
        verdict = "passed" if check.passed else "FAILED"
        names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        return missing_row(
            check.name,
            f"{verdict}, error {check.error:.1e} of {check.bound:.0e} {check.problem}".strip(),
            benchmark="check",
            shape=shape_text(check.shape[1:]),
            batch=check.shape[0],
            precision=names[check.dtype],
            **self.common(layout=check.layout),
        )

    def tails(self) -> list[Timing]:
        """Measure the tails of ResNet-50's stages."""
        shapes = bench_tail.SMOKE_SHAPES if self.smoke else bench_tail.SHAPES
        return [
            row
            for shape in shapes
            for row in bench_tail.measure(
                shape,
                batch=2 if self.smoke else 256,
                precision="fp32" if self.smoke else "bf16",
                device=self.device,
                seconds=self.options.seconds / 3 / len(shapes),
                smoke=self.smoke,
                calls=2 if self.smoke else TAIL_CALLS,
            )
        ]

    def networks(self) -> list[Timing]:
        """Measure training steps, and inference."""
        setting = Setting(2, 32, self.device) if self.smoke else Setting(256, 224, self.device, "bf16")
        built = self._built()
        compiled, note = self._compiled(built, setting)
        others: dict[str, Work] = {} if compiled is None else {COMPILED: compiled}
        rows = bench_network.measure(
            built, setting, "train", self.options.seconds / 2, others, {COMPILED: note}
        )
        if compiled is None:
            rows.append(missing_row(COMPILED, note, mode="train", **setting.common()))
        return rows + bench_network.measure(built, setting, "infer", self.options.seconds / 6)

    def _built(self) -> dict[str, nn.Module]:
        """Return senet's networks, and timm's if it can be imported."""
        try:
            if not self.options.without_timm:
                return bench_network.networks(self.device, self.smoke)
        except ImportError as error:
            print(f"without timm: {error}", flush=True)
        plain = "resnet8" if self.smoke else "resnet50b"
        made = {OURS: create_network(f"se_{plain}"), OURS_PLAIN: create_network(plain)}
        return {name: each.to(self.device, memory_format=CHANNELS_LAST) for name, each in made.items()}  # type: ignore[call-overload]

    def _compiled(self, built: dict[str, nn.Module], setting: Setting) -> tuple[Work | None, str]:
        """Return a training step of timm's SE network, or of senet's layer by layer, under torch.compile."""
        name = TIMM if TIMM in built else OURS
        images = setting.images()

        def step(module: nn.Module) -> Callable[[], object]:
            work = NetworkStep(module, images, precision=setting.precision).train
            return work if name == TIMM else layer_by_layer(work)

        work, note = compiled_step(step, built[name], self.smoke)
        return work, f"{name}{'' if name == TIMM else ', layer by layer'}: {note}"

    def first_use(self) -> list[Timing]:
        """Measure how long the kernels of a network compile."""
        model, side = ("se_resnet8", 32) if self.smoke else ("se_resnet50b", 224)
        common = self.common(benchmark="first use", shape=f"3x{side}x{side}", batch=2, precision="fp32")
        try:
            return timing_rows(first_uses(model, side, 1, self.device, limit=self.left / 2), **common)
        except subprocess.TimeoutExpired as error:
            return [missing_row(EMPTY, f"more than {error.timeout:.0f} s", **common)]


def more_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script alone."""
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help=f"seconds for everything (default: {LIMIT})"
    )
    parser.add_argument("--without-timm", action="store_true", help="measure senet's networks alone")


def main(argv: list[str] | None = None) -> int:
    """Check, measure, write the rows, and return 1 if a check failed."""
    options = parse(__doc__, "gpu", 120, argv, more_options)
    if not options.smoke and not torch.cuda.is_available():
        print("There is no CUDA device here; --smoke tells that the script runs.", file=sys.stderr)
        return 2
    run = Run(options)
    run.part("checks", 30, run.checks)
    run.part("tails", 60, run.tails)
    run.part("networks", 120, run.networks)
    run.part("first use", 90, run.first_use)
    print(f"{time.perf_counter() - run.started:.0f} s in all, {run.failed} checks failed", flush=True)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
