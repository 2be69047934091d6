"""Chooses what runs a tail, and says why.

* ``triton``: compiled passes on a CUDA device.
* ``numba``: compiled passes on a CPU.
* ``torch``: the plain formulation of the same passes, for torch.compile to fuse where neither of them runs.
* ``reference``: the layers one by one, as PyTorch has them. Always right, never fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from senet.kernels import fused, torch_passes
from senet.kernels.backends import missing, mode, passes_or_plain
from senet.kernels.excitation import Excitation
from senet.kernels.fused import BatchNorm
from senet.kernels.operators import float_tables, tail_in_eager_mode, tail_operator
from senet.kernels.steps import Steps

_TRITON_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_NUMBA_TYPES = (torch.float32, torch.float64)
_FEWEST_VALUES = {
    (True, True): 1 << 19,
    (True, False): 1 << 19,
    (False, True): 1 << 13,
    (False, False): 1 << 17,
}
"""Values of a batch of maps from which a fused tail on a CPU makes up for its overhead, by whether gradients
are kept and whether it has SE (``python -m benchmarks.bench_first_use``)."""


class Choice(NamedTuple):
    """What runs a tail, and for ``reference`` and ``torch`` why nothing faster does."""

    backend: str
    reason: str = ""

    @property
    def is_fused(self) -> bool:
        """Whether one operator or formulation runs the whole tail."""
        return self.backend != "reference"


class Ran(NamedTuple):
    """One tail of a forward pass: its BatchNorm, SE and ReLU, its steps, its input's shape, and what ran it.

    The input itself is there only if `recording` was to keep it.
    """

    layers: tuple[Any, ...]
    steps: str
    shape: tuple[int, ...]
    choice: Choice
    given: Tensor | None


_recordings: list[tuple[list[Ran], bool]] = []


@contextmanager
def recording(*, keep_inputs: bool = False) -> Iterator[list[Ran]]:
    """Collect the tails that run while the context lasts, and their inputs if asked."""
    entry: tuple[list[Ran], bool] = ([], keep_inputs)
    _recordings.append(entry)
    try:
        yield entry[0]
    finally:
        _recordings.remove(entry)


def record(layers: tuple[Any, ...], steps: Steps, y: Tensor, choice: Choice) -> None:
    """Tell whoever is `recording` what ran."""
    for ran, keep_inputs in _recordings:
        ran.append(Ran(layers, str(steps), tuple(y.shape), choice, y if keep_inputs else None))


def choose(
    y: Tensor, shortcut: Tensor | None, steps: Steps, *, gate: str = "", of_batch: bool = False
) -> Choice:
    """Choose what runs a tail on ``y``, (N, C, *spatial).

    Args:
        y: the tail's input.
        shortcut: what it adds, if anything.
        steps: of the tail.
        gate: of SE, if there is one.
        of_batch: whether BatchNorm takes its statistics from ``y``.
    """
    wanted = mode()
    reason = (
        "SENET_KERNELS=reference" if wanted == "reference" else _unfit(y, shortcut, steps, gate, of_batch)
    )
    if reason:
        return Choice("reference", reason)
    if wanted == "torch":
        return Choice("torch", "SENET_KERNELS=torch")
    backend, reason = _compiled_backend(y)
    fewest = _FEWEST_VALUES[torch.is_grad_enabled(), steps.se]
    if backend == "numba" and wanted == "auto" and y.numel() < fewest:
        return Choice("reference", "too few values: the layers are as fast")
    if backend:
        return Choice(backend)
    return Choice("torch" if torch.compiler.is_compiling() else "reference", reason)


def _compiled_backend(y: Tensor) -> tuple[str, str]:
    """Return the backend for the type and device of ``y``, or why there is none."""
    device = y.device.type
    backend, types = {"cuda": ("triton", _TRITON_TYPES), "cpu": ("numba", _NUMBA_TYPES)}.get(device, ("", ()))
    if not backend:
        return "", f"no kernels for {device}"
    if y.dtype not in types:
        return "", f"no kernels for {str(y.dtype).removeprefix('torch.')} on {device}"
    reason = missing(backend)
    return ("", reason) if reason else (backend, "")


def _unfit(y: Tensor, shortcut: Tensor | None, steps: Steps, gate: str, of_batch: bool) -> str:
    """Return why no fused form computes what the layers would, or an empty text."""
    if y.dim() < 2 or y.numel() == 0:
        return "no values"
    if not y.dtype.is_floating_point:
        return f"no kernels for {str(y.dtype).removeprefix('torch.')}"
    if shortcut is not None and (
        shortcut.shape != y.shape or shortcut.dtype != y.dtype or shortcut.device != y.device
    ):
        return "the shortcut has a different shape, type or device"
    if steps.relu_first and gate == "tanh":
        return "the tanh gate may be negative before the ReLU"
    if of_batch and y.numel() == y.shape[1]:
        return "one value per channel"
    return _watched()


def unreadable(y: Tensor, parameters: Iterable[Tensor | None]) -> str:
    """Return why no kernel can read ``parameters`` beside maps ``y``, or an empty text."""
    for each in parameters:
        if each is None:
            continue
        if each.device != y.device:
            return f"a parameter is on {each.device} but the input is on {y.device}"
        if type(y) is Tensor and type(each) not in (Tensor, Parameter):
            return f"a parameter is a {type(each).__name__}"
    return ""


def _watched() -> str:
    """Return what differentiates or records single operators just now, if anything."""
    if torch._C._get_tracing_state() is not None:
        return "torch.jit"
    if torch.compiler.is_compiling():
        return "torch.export" if torch.compiler.is_exporting() else ""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return ""


def run(
    choice: Choice,
    y: Tensor,
    shortcut: Tensor | None,
    batch_norm: BatchNorm,
    excitation: Excitation | None,
    steps: Steps,
) -> tuple[Tensor, Tensor | None]:
    """Run a tail as chosen.

    Args:
        choice: anything but ``reference``.
        y: (N, C, *spatial).
        shortcut: in the shape of ``y``; only with ``steps.add``.
        batch_norm: parameters and statistics.
        excitation: SE's layers; only with ``steps.se``.
        steps: of the tail.

    Returns:
        The output in shape, type and memory format of ``y``, and the statistics, (6, C) as `tables.Norm`;
        for inference only the batch's.
    """
    if choice.backend == "torch":
        result = fused.forward(torch_passes, y, shortcut, batch_norm, excitation, steps)
        return result.out, result.norm
    watched = _operators_are_watched(y)
    if not (watched or torch.is_grad_enabled()):
        with float_tables(y):
            passes = passes_or_plain(choice.backend)
            return fused.infer(passes, y, shortcut, batch_norm, excitation, steps)
    weight, bias, mean, var, of_batch, eps, group = batch_norm
    w1, b1, w2, b2, activation, gate = excitation or (None, None, None, None, "", "")
    operator = tail_operator if watched else tail_in_eager_mode
    out, norm, *_ = operator(
        y, shortcut, weight, bias, mean, var, w1, b1, w2, b2,
        str(steps), of_batch, eps, activation, gate, group, choice.backend,
    )  # fmt: skip
    return out, norm


def overflowed(choice: Choice, table: Tensor | None) -> bool:
    """Whether the statistics of a batch, (6, C), are more than float32 holds.

    PyTorch's BatchNorm sums in float64 on a CPU, and is finite up to the largest of float32. On a GPU to ask
    would make the CPU wait.
    """
    if choice.backend != "numba" or type(table) is not Tensor or torch.compiler.is_compiling():
        return False
    return not math.isfinite(table.sum().item())


def _operators_are_watched(y: Tensor) -> bool:
    """Whether somebody is to see a tail as one operator: torch.compile, a counter, a kind of tensor."""
    return torch.compiler.is_compiling() or type(y) is not Tensor or torch._C._len_torch_dispatch_stack() > 0
