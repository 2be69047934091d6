"""Fused kernels for any model, in place: what `senet.accelerate` and `senet.fold` do, and their report."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.fx import GraphModule

from senet.checks import require_type
from senet.compiler.backend import compiled, layer_of
from senet.compiler.patterns import Epilogue
from senet.compiler.wrapped import refuse_wrapped
from senet.errors import SenetError
from senet.kernels.explain import run_once
from senet.shown import Rows, Shown, Table
from senet.text import counted


@dataclass(frozen=True, order=True, kw_only=True)
class AccelerationRow:
    """One BatchNorm or SE block and what follows it. Rows sort by layers.

    Attributes:
        layers: the names of its BatchNorm and its SE block, such as ``layer1.0.bn3, layer1.0.se``.
        steps: what they compute with what follows, such as ``bn se add relu``.
        taken: whether they run as one operator.
        reason: why they were left, or why what was taken goes no further; or empty.
    """

    layers: str
    steps: str
    taken: bool
    reason: str = ""


@dataclass(kw_only=True, repr=False)
class AccelerationReport(Shown):
    """The epilogues of a model in the order in which they run. Prints as a table.

    A model is compiled when it runs, for training and for inference by itself, and the report grows with it:
    it tells of the last graph that was compiled.

    Attributes:
        model: the name of its class.
        rows: one for each epilogue; none before the model has run.
        graphs: how many graphs were compiled so far.
    """

    model: str
    rows: list[AccelerationRow] = field(default_factory=list)
    graphs: int = 0

    @property
    def taken(self) -> list[AccelerationRow]:
        """The epilogues that run fused."""
        return [row for row in self.rows if row.taken]

    @property
    def left(self) -> list[AccelerationRow]:
        """The epilogues that run layer by layer."""
        return [row for row in self.rows if not row.taken]

    @property
    def steps(self) -> dict[str, int]:
        """How many epilogues of each kind were taken."""
        return _counts([row.steps for row in self.taken])

    @property
    def reasons(self) -> dict[str, int]:
        """How many epilogues were left for each reason."""
        return _counts([row.reason for row in self.left])

    def to_rows(self) -> Rows:
        """Return one row for each epilogue."""
        return [asdict(row) for row in self.rows]

    def table(self) -> Table:
        """Return a line for each epilogue, and the totals."""
        return Table(
            head=("layers", "steps", "", "why not (more)"),
            lines=[(each.layers, each.steps, _STATES[each.taken], each.reason) for each in self.rows],
            notes=tuple(self._totals()),
        )

    def __str__(self) -> str:
        """Return all of the table."""
        return self.table().text()

    def _totals(self) -> list[str]:
        if not self.graphs:
            return [f"{self.model}: not compiled yet. Run it once, or give senet.accelerate an input."]
        totals = [f"{self.model}: {counted(len(self.taken), 'epilogue')} fused{_list(self.steps)}"]
        if self.left:
            totals.append(f"{len(self.left)} left{_list(self.reasons)}")
        return totals


class _Compiler:
    """The backend of one model, which keeps its report."""

    def __init__(self, report: AccelerationReport, *, freeze: bool) -> None:
        self.report, self.freeze = report, freeze

    def __call__(self, graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        rows: list[AccelerationRow] = []

        def tell(found: Epilogue, why_not: str) -> None:
            names = [name for name in map(layer_of, (found.bn_node, found.se_node)) if name]
            rows.append(
                AccelerationRow(
                    layers=", ".join(dict.fromkeys(names)),
                    steps=str(found.steps),
                    taken=not why_not,
                    reason=why_not or found.stop,
                )
            )

        run = compiled(graph, inputs, freeze=self.freeze, tell=tell)
        self.report.rows[:] = rows
        self.report.graphs += 1
        return run


def accelerate(model: nn.Module, *inputs: Any, freeze: bool = False) -> AccelerationReport:
    """Compile ``model`` in place with senet's backend of torch.compile.

    It then runs fused kernels wherever BatchNorm, SE, a sum or a ReLU follow each other (an epilogue), in
    networks of senet, timm, torchvision or anyone else. The state dict, parameters, modules and hooks stay as
    they are. The first call of each kind (training, inference, another size of images) compiles, which takes
    seconds. Copies and pickles of the model are not accelerated.

    Args:
        model: any network, on any device.
        inputs: what the model takes, such as images (N, C, H, W). If given, it runs once on them, so that it
            is compiled and the report complete at once. Its running statistics stay.
        freeze: for inference only: weights are taken as constants when the model first runs, BatchNorms are
            folded into the convolutions in front of them, and results carry no gradients. A later change
            that PyTorch counts (an optimiser, ``load_state_dict``, ``copy_``) is refused at the next call;
            one that it does not count (``.data``, NumPy, shared memory) is not seen.

    Returns:
        What was taken and what was left, with the reason.

    Raises:
        SenetError: the model is scripted, compiled by somebody else or wrapped for several processes or
            devices, it is in training mode with ``freeze``, or it cannot run on the inputs.
    """
    require_type("freeze", freeze, bool, "True or False")
    if isinstance(model, nn.Module) and model in _accelerated:
        model._compiled_call_impl = None
    refuse_wrapped(model, "accelerate")
    if freeze and model.training:
        raise SenetError("A model is frozen for inference alone: call eval() on it before freeze=True.")
    report = AccelerationReport(model=type(model).__name__)
    model._compiled_call_impl = compile_call(model, report, freeze=freeze)
    _accelerated.add(model)
    if inputs:
        run_once(model, *inputs)
    return report


def compile_call(
    model: nn.Module, report: AccelerationReport | None = None, *, freeze: bool = False
) -> Callable[..., Any]:
    """Return the call of ``model``, compiled; the model itself runs as before."""
    report = report or AccelerationReport(model=type(model).__name__)

    # A frame of its own: PyTorch's containers, such as Sequential, would be compiled child by child.
    def call(*args: Any, **kwargs: Any) -> Any:
        return model._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    run: Callable[..., Any] = torch.compile(call, backend=_Compiler(report, freeze=freeze))
    return torch.no_grad()(run) if freeze else run


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` for inference, with BatchNorms folded into the convolutions before them.

    Class scores stay the same up to rounding. On a CPU the weights are also laid out once as oneDNN reads
    them, and oneDNN runs the sum and the ReLU. It is ``accelerate(copy, freeze=True)``, which says what is
    folded when, and which later changes of the copy are refused. The model stays as it is, and its later
    changes do not reach the copy.

    Args:
        model: any network, of senet, timm, torchvision or your own.

    Raises:
        SenetError: the model is scripted, compiled or wrapped.
    """
    refuse_wrapped(model, "fold")
    copied = copy.deepcopy(model).eval()
    accelerate(copied, freeze=True)
    return copied


_accelerated: WeakSet[nn.Module] = WeakSet()
_STATES = {True: "taken", False: "left"}


def _counts(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _list(counts: dict[str, int]) -> str:
    return ": " + ", ".join(f"{count} × {name}" for name, count in counts.items()) if counts else ""
