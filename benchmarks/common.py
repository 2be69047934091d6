"""What the benchmarks share: options, peers written with PyTorch's own layers, torch.compile, rows."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.insight.results import Spread
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import InTurns, Work, time_once
from senet.insight.tails import Tail, TailStep
from senet.report.timings_csv import write_csv

RESULTS = Path(__file__).parent / "results"
CHANNELS_LAST = torch.channels_last
# What torch.compile raises where it cannot: no compiler, or a defect of its own.
COMPILE_ERRORS = (RuntimeError, ImportError, OSError, AssertionError, NotImplementedError)


def parse(
    description: str | None,
    name: str,
    seconds: float,
    argv: Sequence[str] | None,
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> argparse.Namespace:
    """Read the options that all benchmarks have.

    Args:
        description: the script's docstring.
        name: of the file of results.
        seconds: how long to measure by default.
        argv: the command line.
        more: adds options of the script's own.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument(
        "--out", type=Path, help=f"the CSV file to write (default: benchmarks/results/{name}.csv)"
    )
    made.add_argument(
        "--seconds", type=float, default=seconds, help=f"to measure in all (default: {seconds:g})"
    )
    made.add_argument("--smoke", action="store_true", help="run everything tiny: tells that it runs, no more")
    more(made)
    options = made.parse_args(argv)
    if options.smoke and options.out is None:
        made.error("--smoke needs --out: its times are not results")
    options.out = options.out or RESULTS / f"{name}.csv"
    return options


def save(timings: Sequence[Timing], path: Path, begin: int = 0) -> None:
    """Write the rows, whole or not at all, and print those from ``begin`` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(timings, path)
    for row in timings[begin:]:
        where = f"{row.benchmark} {row.shape} batch {row.batch} {row.mode}"
        time_text = "-" if row.milliseconds is None else f"{row.milliseconds.median:10.3f} ms"
        ratio = "" if row.ratio is None else f"{row.ratio.median:6.2f} x {row.ratio_to}"
        print(f"{where:48} {row.name:40} {time_text:>14} {ratio:40} {row.note}")
    print(f"{len(timings)} rows: {path}", flush=True)


class EagerSE(nn.Module):
    """Squeeze and excitation as timm writes it: a mean and two 1x1 convolutions."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, (N, C, H, W), with each channel weighed."""
        s = self.expand(self.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return torch.mul(x, s.sigmoid())


class EagerTail(nn.Module):
    """The residual tail in PyTorch's own layers, as timm writes it: the sum and the ReLU in place."""

    def __init__(self, channels: int, hidden: int | None) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.se = None if hidden is None else EagerSE(channels, hidden)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, y: Tensor, shortcut: Tensor) -> Tensor:
        """Return the output of the unit, in the shape of ``y``."""
        y = self.bn(y)
        if self.se is not None:
            y = self.se(y)
        y += shortcut
        out: Tensor = self.relu(y)
        return out


def eager_twin(tail: Tail) -> EagerTail:
    """Return a tail of senet's in PyTorch's layers, with the same weights."""
    bn, se = tail.bn, tail.se
    assert bn is not None
    twin = EagerTail(bn.num_features, None if se is None else se.fc1.out_features)
    twin.bn.load_state_dict(bn.state_dict())
    if se is not None and twin.se is not None:
        _copy_excitation(se, twin.se)
    return twin.to(bn.weight.device)


def _copy_excitation(se: SqueezeExcitation, twin: EagerSE) -> None:
    with torch.no_grad():
        for linear, convolution in ((se.fc1, twin.reduce), (se.fc2, twin.expand)):
            assert convolution.bias is not None
            convolution.weight.copy_(linear.weight[:, :, None, None])
            convolution.bias.copy_(linear.bias)


def require_same(step: TailStep, other: TailStep, tolerance: float) -> None:
    """Stop unless two tails put out the same: what differs cannot be compared in speed."""
    ours, theirs = step.forward().float(), other.forward().float()
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    if not difference <= tolerance:
        raise SystemExit(
            f"The tails differ by {difference:.1e}, more than {tolerance:.0e}: nothing to compare."
        )


def compiled_step(
    step: Callable[[nn.Module], Callable[[], object]], module: nn.Module, smoke: bool
) -> tuple[Callable[[], object] | None, str]:
    """Compile with torch.compile and run once.

    Args:
        step: makes work from the compiled module.
        module: to compile.
        smoke: leave out the compiler behind it, which takes half a minute.

    Returns:
        The work, or ``None`` where it cannot be compiled; and how long that took, or why not.
    """
    reason = "" if smoke else no_compiler()
    if reason:
        return None, reason
    torch._dynamo.reset()
    try:
        compiled = torch.compile(module, dynamic=False, backend="aot_eager" if smoke else "inductor")
        work = step(cast("nn.Module", compiled))
        seconds = time_once(work, next(module.parameters()).device)
    except COMPILE_ERRORS as error:
        return None, f"torch.compile failed: {_first_line(error)}"
    return work, f"compiled in {seconds:.0f} s"


def no_compiler() -> str:
    """Return why torch.compile has no C++ compiler, which it needs on a CPU, or an empty text."""
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if torch.cuda.is_available() or any(name and shutil.which(name) for name in names):
        return ""
    return "no C++ compiler, which torch.compile needs"


def missing_row(name: str, note: str, **common: Any) -> Timing:
    """Return the row of something that cannot run here."""
    return Timing(name=name, milliseconds=None, note=note, **common)


def single(milliseconds: float) -> Spread:
    """Return something that was measured once."""
    return Spread(median=milliseconds, p20=milliseconds, p80=milliseconds, count=1)


def repeated(works: Mapping[str, Work], calls: int) -> dict[str, Work]:
    """Return works that run ``calls`` times, so that short ones fill a GPU's queue."""

    def often(work: Work) -> Work:
        def run() -> None:
            for _ in range(calls):
                work()

        return run

    return dict(works) if calls == 1 else {name: often(work) for name, work in works.items()}


def per_call(turns: InTurns, calls: int) -> InTurns:
    """Return the times of one call from those of `repeated` ones."""
    return InTurns({name: tuple(each / calls for each in times) for name, times in turns.seconds.items()})


class _FirstTail(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the first call of the operator that runs tails."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.call: tuple[Any, tuple[Any, ...]] | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.call is None and func is torch.ops.senet.tail.default:
            self.call = func, args
        return func(*args, **(kwargs or {}))


def operator_call(work: Callable[[], object]) -> tuple[Any, tuple[Any, ...]]:
    """Run ``work`` and return the first call of the operator that runs tails: operator and arguments."""
    seen = _FirstTail()
    with seen:
        work()
    assert seen.call is not None, "no tail ran fused"
    return seen.call


def timm_network(name: str) -> nn.Module:
    """Build a network of timm's, also where torchvision, which it imports, does not fit this torch.

    Raises:
        ImportError: timm is not installed.
    """
    try:
        timm = importlib.import_module("timm")
    except RuntimeError:
        # Only there: where torchvision's operators load, they must not be declared before.
        from tests.references import import_timm

        timm = import_timm()
    model: nn.Module = timm.create_model(name)
    return model


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
