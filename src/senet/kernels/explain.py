"""Tells which kernel runs each block of a network, and why not a faster one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from senet.checks import require_type
from senet.errors import SenetError
from senet.kernels.dispatch import Ran, recording
from senet.schema import shown
from senet.shown import Rows, Shown, Table
from senet.text import counted


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """What ran one block.

    Attributes:
        block: the names of its layers in the network, such as ``layer1.0: bn3, se``.
        steps: what it computes, such as ``bn se add relu``.
        shape: of its input.
        backend: ``triton``, ``numba``, ``torch`` or ``reference``; see `senet.kernels.dispatch`.
        reason: why nothing faster ran, or empty.
    """

    block: str
    steps: str
    shape: tuple[int, ...]
    backend: str
    reason: str


@dataclass(frozen=True, repr=False)
class KernelReport(Shown):
    """Which kernel ran each block of a network, in the order in which they ran. Prints as a table."""

    rows: tuple[KernelRow, ...]

    @property
    def backends(self) -> dict[str, int]:
        """How many blocks each backend ran."""
        names = [row.backend for row in self.rows]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def to_rows(self) -> Rows:
        """Return one row for each block."""
        return [{**asdict(row), "shape": _sizes(row)} for row in self.rows]

    def table(self) -> Table:
        """Return a line for each block, and how many blocks each backend ran."""
        counts = ", ".join(f"{count} by {name}" for name, count in self.backends.items())
        return Table(
            head=("block", "steps", "input", "kernel", "why nothing faster"),
            lines=[(row.block, row.steps, _sizes(row), row.backend, row.reason) for row in self.rows],
            notes=(f"{counted(len(self.rows), 'block')}: {counts or 'none'}",),
        )

    def __str__(self) -> str:
        """Return all of the table."""
        return self.table().text()


def _sizes(row: KernelRow) -> str:
    return "×".join(map(str, row.shape))


def explain_kernels(model: nn.Module, *inputs: Any) -> KernelReport:
    """Run ``model`` once and tell which kernel ran each block and why.

    The model stays as it is: running statistics are put back, random numbers too. In training and in
    inference different kernels may run: a model in training mode runs as in training, one in evaluation mode
    without gradients.

    Args:
        model: one of senet's networks, one that `senet.accelerate` has been through, or one compiled with
            ``backend="senet"``. Blocks that do not run by way of senet are not seen.
        inputs: what the model takes, such as images (N, C, H, W), on its device.

    Raises:
        SenetError: the model cannot run on them.
    """
    with recording() as ran:
        run_once(model, *inputs)
    names = {id(module): name for name, module in model.named_modules()}
    return KernelReport(tuple(_row(each, names) for each in _once(ran)))


def run_once(model: nn.Module, *inputs: Any) -> None:
    """Run ``model`` and leave it as it is: running statistics are put back, random numbers too.

    Raises:
        SenetError: it cannot run on the inputs.
    """
    require_type("model", model, nn.Module, "a network")
    devices = sorted({each.device.index or 0 for each in inputs if isinstance(each, Tensor) and each.is_cuda})
    mode = torch.set_grad_enabled
    kept = buffers_kept(model) if model.training else nullcontext()
    with torch.random.fork_rng(devices), mode(model.training), kept:
        try:
            model(*inputs)
        except (RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise SenetError(
                f"{type(model).__name__} cannot run on what was given "
                f"({shown(str(error), str)}): give what it takes, such as images (N, C, H, W)."
            ) from error


def _once(ran: list[Ran]) -> Iterator[Ran]:
    """Leave out an SE block that ran by itself inside of a tail that is listed, where nothing fused it."""
    listed: set[int] = set()
    for each in ran:
        se = each.layers[1]
        if each.choice.is_fused or each.steps != "se" or id(se) not in listed:
            yield each
        listed.discard(id(se))
        if each.steps != "se":
            listed.add(id(se))


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put running statistics and other buffers back to what they were before the context."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _row(ran: Ran, names: dict[int, str]) -> KernelRow:
    layers = [
        layer if isinstance(layer, str) else names.get(id(layer), type(layer).__name__)
        for layer in ran.layers[:2]
        if layer is not None
    ]
    parents = {name.rpartition(".")[0] for name in layers}
    block = ", ".join(layers)
    if len(parents) == 1 and "" not in parents:
        block = f"{parents.pop()}: {', '.join(name.rpartition('.')[2] for name in layers)}"
    return KernelRow(
        block=block or "(sum)",
        steps=ran.steps,
        shape=ran.shape,
        backend=ran.choice.backend,
        reason=ran.choice.reason,
    )
