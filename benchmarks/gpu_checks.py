"""Whether the kernels of a device compute what they should, on the cases that go wrong first.

Each check tells how far the kernels are off, relative to the largest value, and what is allowed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import operator_call
from senet.blocks.se_config import SEConfig
from senet.insight.tails import Tail
from senet.kernels import torch_passes
from senet.kernels.backends import kernels, passes_of
from senet.kernels.dispatch import recording
from senet.kernels.steps import Steps
from senet.kernels.tables import Affine

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
MOST = 20
"""Times its bound that a check may be off at most, however far off the layers are."""
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
STEPS = ("bn se add relu", "bn add relu", "bn relu", "bn relu se", "bn se", "se")
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """Maps on which kernels are checked: their shape, and what is done to noise to make them."""

    name: str
    shape: tuple[int, int, int, int]
    change: Change = lambda maps: maps


@dataclass(frozen=True)
class Check:
    """What was found: the largest relative error, the bound it is held to, and what else went wrong."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    layout: str
    error: float
    bound: float = 0.0
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        return not self.problem and self.error <= self.bound


def _with(value: float, *index: int) -> Change:
    def change(maps: Tensor) -> Tensor:
        maps[index] = value
        return maps

    return change


def _constant(maps: Tensor) -> Tensor:
    maps[:, ::2] = 3.7
    return maps


def _not_finite(maps: Tensor) -> Tensor:
    maps[0, 1, 2, 3] = float("nan")
    maps[1, 4, 0, 0] = float("inf")
    maps[1, 5, 0, 0] = -float("inf")
    return maps


CASES = (
    Case("odd sizes", (3, 7, 5, 9)),
    Case("1 channel", (2, 1, 6, 5)),
    Case("64 channels", (4, 64, 14, 14)),
    Case("2048 channels", (2, 2048, 7, 7)),
    Case("1 pixel", (8, 64, 1, 1)),
    Case("1 image", (1, 64, 9, 9)),
    Case("mean 10000 times the deviation", (4, 24, 12, 12), lambda maps: maps + 1e4),
    Case("constant channels", (4, 16, 6, 6), _constant),
    Case("one huge value", (4, 16, 8, 8), _with(3e4, 1, 3, 2, 2)),
    Case("gaps in memory", (4, 10, 8, 12), lambda maps: maps[:, 1:, ::2, 3:]),
    Case("NaN and infinity", (3, 8, 6, 6), _not_finite),
    Case("large maps", (2, 20, 57, 113)),
)
SMOKE_CASES = tuple(
    case for case in CASES if case.name in {"odd sizes", "NaN and infinity", "gaps in memory"}
)


def expected_backend(device: torch.device) -> str:
    """Return which compiled passes a device should run."""
    return "triton" if device.type == "cuda" else "numba"


def maps_of(case: Case, dtype: torch.dtype, layout: str, device: torch.device, seed: int = 0) -> Tensor:
    """Return the maps of a case in a type and a layout."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(case.shape, generator=generator, dtype=torch.float64)
    maps = noise.to(device=device, dtype=dtype, memory_format=LAYOUTS[layout])
    # A case may leave gaps, which a conversion afterwards would close.
    return case.change(maps)


def error_of(got: Tensor, wanted: Tensor) -> float:
    """Return the largest difference relative to the largest finite value.

    It is infinite where the shapes differ, or what is finite: infinity and NaN are one here, since which of
    the two comes out depends on the order of sums.
    """
    got, wanted = got.detach().double(), wanted.detach().double()
    finite = wanted.isfinite()
    if got.shape != wanted.shape or not torch.equal(got.isfinite(), finite):
        return float("inf")
    if not finite.any():
        return 0.0
    apart = (got[finite] - wanted[finite]).abs().max()
    return (apart / wanted[finite].abs().max().clamp(min=1e-30)).item() if apart > 0 else 0.0


def check_passes(case: Case, dtype: torch.dtype, layout: str, device: torch.device) -> Iterator[Check]:
    """Hold every pass against `torch_passes` in float64."""
    passes = passes_of(expected_backend(device))
    y, shortcut, grad = (maps_of(case, dtype, layout, device, seed) for seed in range(3))
    out = torch.relu(maps_of(case, dtype, layout, device, seed=3))
    channels = y.shape[1]
    tables = torch.randn(8, y.shape[0], channels, generator=torch.Generator().manual_seed(4))
    a, b, P, T, R, Q, centre, _ = tables.to(device)
    affine, shared = Affine(a, b), Affine(a[0].contiguous(), b[0].contiguous())
    centre, Q = centre[0].contiguous(), Q[0].contiguous()
    calls: dict[str, tuple[Any, ...]] = {
        "moments_pass": (y,),
        "relu_sums_pass": (y, centre, shared),
        "apply_pass": (y, centre, affine, shortcut),
        "gradient_sums_pass": (grad, y, centre, out),
        "gradient_sums_pass, affine": (grad, y, centre, shared),
        "gradient_apply_pass": (grad, y, centre, out, P, None, Q, R),
        "gradient_apply_pass, affine": (grad, y, centre, affine, P, T, Q, R),
    }
    options = {
        "moments_pass": {"second": True},
        "apply_pass": {"relu": True},
        "gradient_apply_pass": {"with_shortcut": True},
        "gradient_apply_pass, affine": {"with_shortcut": False},
    }
    for name, given in calls.items():
        function, more = name.split(",")[0], options.get(name, {})
        got = getattr(passes, function)(*given, **more)
        wanted = getattr(torch_passes, function)(*map(_double, given), **more)
        if function == "moments_pass":  # the shift is each backend's own choice
            got, wanted = _means(got, y), _means(wanted, y)
        error = max(map(error_of, _tensors(got), _tensors(wanted)))
        yield Check(name, tuple(y.shape), dtype, layout, error, BOUNDS[dtype])


def _means(moments: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return each map's mean and the scatter around it."""
    pixels = y.shape[2] * y.shape[3]
    first, second = moments.first.double(), moments.second.double()
    return moments.shift.double() + first / pixels, second - first * first / pixels


def _double(each: Any) -> Any:
    if isinstance(each, Affine):
        return Affine(each.scale.double(), each.bias.double())
    return each.double() if isinstance(each, Tensor) else each


def _tensors(result: Any) -> list[Tensor]:
    found = [result] if isinstance(result, Tensor) else list(result)
    return [each for each in found if each is not None]


def check_tail(
    case: Case, steps: str, dtype: torch.dtype, layout: str, device: torch.device, *, train: bool
) -> Check:
    """Hold a tail's output, running statistics and all gradients against its layers in float64.

    Where the layers themselves are far off in the type of the maps, the kernels may be so too.
    """
    name = f"{steps}, {'training' if train else 'evaluation'}"
    module, inputs, grad = _tail_and_inputs(case, steps, dtype, layout, device)
    module.train(train)
    layers, exact = copy.deepcopy(module), copy.deepcopy(module).double()
    with kernels("always"), recording() as ran:
        got = _run(module, inputs, grad)
    with kernels("reference"):
        rounded = _run(layers, inputs, grad)
        wanted = _run(exact, [_leaf(each.double()) for each in inputs], grad.double())
    theirs = max(map(error_of, rounded, wanted))
    bound = max(BOUNDS[dtype], min(4 * theirs, MOST * BOUNDS[dtype]))
    choice = ran[0].choice
    problem = ""
    if choice.backend != expected_backend(device):
        problem = f"ran by {choice.backend}: {choice.reason}"
    error = max(map(error_of, got, wanted))
    return Check(name, tuple(inputs[0].shape), dtype, layout, error, bound, problem)


def _tail_and_inputs(
    case: Case, steps: str, dtype: torch.dtype, layout: str, device: torch.device
) -> tuple[Tail, list[Tensor], Tensor]:
    parsed = Steps.parse(steps)
    y = maps_of(case, dtype, layout, device)
    shortcut = _leaf(torch.randn_like(y)) if parsed.add else None
    channels = y.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Tail(channels, parsed, SEConfig(reduction=min(16, channels)))
        if module.bn is not None:
            torch.nn.init.uniform_(module.bn.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bn.bias, -0.5, 0.5)
    grad = maps_of(Case(case.name, tuple(y.shape)), dtype, layout, device, seed=5)  # type: ignore[arg-type]
    given = [_leaf(y)] if shortcut is None else [_leaf(y), shortcut]
    return module.to(device), given, grad


def _leaf(each: Tensor) -> Tensor:
    return each.detach().requires_grad_()


def _run(module: Tail, inputs: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Return output, running statistics and gradients."""
    half = inputs[0].dtype in (torch.bfloat16, torch.float16)
    with torch.autocast(inputs[0].device.type, inputs[0].dtype, enabled=half):
        out = module(inputs[0], inputs[1] if len(inputs) > 1 else None)
    gradients = torch.autograd.grad(out, [*inputs, *module.parameters()], grad)
    statistics = [] if module.bn is None else [module.bn.running_mean, module.bn.running_var]
    return [out, *(each for each in statistics if each is not None), *gradients]


def check_empty(device: torch.device) -> Check:
    """Hold an empty batch against the layers."""
    module, _, _ = _tail_and_inputs(CASES[2], STEPS[0], torch.float32, "channels_last", device)
    y = torch.empty(0, 64, 7, 7, device=device)
    out = module.eval()(y, y)
    return Check("empty batch", tuple(y.shape), y.dtype, "contiguous", 0.0 if out.shape == y.shape else 1.0)


def check_same_bits(dtype: torch.dtype, device: torch.device) -> Check:
    """Run twice and look whether all bits are the same."""
    case = Case("same bits twice", (8, 96, 28, 28))
    runs = []
    for _ in range(2):
        module, inputs, grad = _tail_and_inputs(case, STEPS[0], dtype, "channels_last", device)
        torch.manual_seed(1)
        inputs[1] = _leaf(torch.randn_like(inputs[1], memory_format=torch.channels_last))
        with kernels("always"):
            runs.append(_run(module, inputs, grad))
    same = all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    return Check("same bits twice", case.shape, dtype, "channels_last", 0.0 if same else 1.0)


def check_operator(steps: str, device: torch.device) -> Check:
    """Run PyTorch's own checks of an operator: schema, autograd, fake tensors, compilation."""
    module, inputs, _ = _tail_and_inputs(CASES[0], steps, torch.float32, "channels_last", device)
    with kernels("always"):
        operator, given = operator_call(lambda: module(inputs[0], inputs[1] if len(inputs) > 1 else None))
    assert given[0].requires_grad
    problem = ""
    try:
        torch.library.opcheck(operator, given)
    except Exception as error:  # noqa: BLE001 opcheck raises whatever a check meets
        problem = f"opcheck: {(str(error) or type(error).__name__).splitlines()[0]}"
    shape = tuple(inputs[0].shape)
    return Check(f"opcheck, {steps}", shape, torch.float32, "channels_last", 0.0, problem=problem)


def all_checks(device: torch.device, *, smoke: bool) -> Iterator[Check]:
    """Run everything, what matters most first: whoever stops early has seen each case."""
    cases = SMOKE_CASES if smoke else CASES
    steps = STEPS[:1] if smoke else STEPS
    layouts = list(LAYOUTS)
    for case in cases:
        yield from check_passes(case, torch.float32, layouts[0], device)
        for each in steps:
            yield check_tail(case, each, torch.float32, layouts[0], device, train=True)
    yield check_empty(device)
    yield check_same_bits(torch.float32, device)
    for each in STEPS[:1] if smoke else STEPS:
        yield check_operator(each, device)
    halves = [torch.bfloat16, torch.float16] if device.type == "cuda" else []
    for dtype in halves:
        yield check_same_bits(dtype, device)
    for dtype, layout in [(dtype, layout) for dtype in (torch.float32, *halves) for layout in layouts]:
        for case in cases:
            if (dtype, layout) != (torch.float32, layouts[0]):
                yield from check_passes(case, dtype, layout, device)
                yield check_tail(case, STEPS[0], dtype, layout, device, train=True)
            yield check_tail(case, STEPS[3], dtype, layout, device, train=False)
