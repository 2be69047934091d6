"""Puts SE, or a relative of it, into a network that somebody else built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from senet.blocks.cost import CostedModule
from senet.blocks.kinds import Kind, hidden_width, make_block, require_kind, uses_reduction
from senet.blocks.se_config import RESIDUAL_PLACEMENTS, Placement, SEConfig, Start
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.checks import one_of, positive, true_or_false
from senet.compiler.wrapped import refuse_wrapped
from senet.errors import SenetError
from senet.surgery.carry_out import NewBlock, carry_out
from senet.surgery.flat_graph import FlatGraph, read_by_tracing
from senet.surgery.insertion_report import InsertionReport, Site, Skipped
from senet.surgery.nothing import refuse_nothing
from senet.surgery.optimizer_groups import OptimizerGroups
from senet.surgery.recorded import read_by_running, read_by_trying
from senet.surgery.sites import Candidate, SiteFinder

Where = str | Sequence[str] | Callable[[Site], bool]


def squeeze_excite(
    model: nn.Module,
    reduction: int = 16,
    *,
    kind: Kind = "se",
    placement: Placement = "standard",
    stages: Sequence[int] | None = None,
    where: Where | None = None,
    start: Start = "identity",
    se: SEConfig | Mapping[str, Any] | None = None,
    example_input: Any = None,
    optimizer: Optimizer | None = None,
    dry_run: bool = False,
) -> InsertionReport:
    """Put SE into any CNN, where the paper puts it (Section 3.3), without changing what it computes.

    Works in place. All keys of the state dict, parameters, buffers, modules, classes and hooks stay what they
    were; each block becomes the child ``se`` of the module whose output it weighs. Places are found by how
    maps flow, not by class names:

    * at the end of a residual branch, before the sum, also of pre-activation units, inverted residuals and
      ConvNeXt's; likewise of a branch that is concatenated with its input (ShuffleNet, DenseNet),
    * behind the concatenation of an Inception module,
    * in a network with neither, behind the non-linearity of each convolution.

    A second call finds nothing to do. `senet.remove` takes the blocks out again, `senet.accelerate` makes
    them run fused with the BatchNorm in front and the sum behind.

    Args:
        model: any network of convolutions, in training or evaluation mode, on any device.
        reduction: r; the hidden layer has channels / r units, at least 4.
        kind: ``"se"``, or one of its relatives ``"ese"``, ``"eca"``, ``"scse"``, ``"ge"``, ``"cbam"``.
        placement: in residual units ``"standard"``, ``"pre"``, ``"post"``, ``"identity"`` (on projections)
            or ``"conv3x3"``; see `senet.SEConfig`.
        stages: that get SE, numbered as in the paper and as the report shows them; default: all.
        where: names, or a function of a `Site` that says whether to take it. A name, in which ``*`` stands
            for any letters, takes units, also such that the rule leaves out for having no sum; that of a
            part of the model takes all units in it; that of any other module a place behind it.
        start: ``"identity"``: all gates are exactly 1 until trained; ``"random"``: the paper's start,
            which changes what a trained network computes.
        se: all choices of the SE blocks at once, instead of ``reduction``, ``placement``, ``stages`` and
            ``start``.
        example_input: what the model takes: a tensor, a tuple of arguments or a dictionary of named ones.
            Without it torch.fx reads the model, and where that cannot follow the model runs on random images
            of usual sizes; with it the model runs on that. It runs in evaluation mode, and the report then
            says by how much inserting changed the output.
        optimizer: of the model; the new parameters join the groups of their surroundings.
        dry_run: return the plan and change nothing.

    Returns:
        Each place with what it costs, and each one that was skipped with the reason. Prints as a table.

    Raises:
        SenetError: there is no place, with the reason and what would match; an argument is out of range; or
            the model is scripted, compiled or wrapped for several processes or devices.
    """
    refuse_wrapped(model, "squeeze_excite")
    true_or_false("dry_run", dry_run)
    choices = _choices(reduction, kind, placement, stages, start, se)
    groups = None if optimizer is None else OptimizerGroups(optimizer, model)
    flat = _read(model, example_input)
    plan = _plan(SiteFinder(flat, choices.placement), choices, where)
    report = InsertionReport(
        model=type(model).__name__,
        block=choices.described(),
        sites=tuple(site for _, site in plan.chosen),
        skipped=plan.skipped,
        dry_run=dry_run,
    )
    refuse_nothing(report, flat, example_given=example_input is not None)
    if dry_run or not report.sites:
        return report
    places = [
        NewBlock(candidate.host, choices.block(candidate.channels, candidate.dimensions))
        for candidate, _ in plan.chosen
        if candidate.host is not None
    ]
    return carry_out(flat, places, report, groups, example_input)


@dataclass(frozen=True, kw_only=True)
class _Choices:
    kind: Kind
    reduction: int
    placement: Placement
    stages: Sequence[int] | None
    start: Start
    se: SEConfig | None

    def block(self, channels: int, dimensions: int) -> CostedModule:
        if self.se is not None:
            return SqueezeExcitation.from_config(channels, self.se)
        return make_block(self.kind, channels, reduction=self.reduction, start=self.start, dims=dimensions)

    def hidden(self, channels: int) -> int | None:
        if self.se is not None:
            return self.se.hidden_width(channels)
        return hidden_width(self.kind, channels, self.reduction)

    def unfit(self, candidate: Candidate) -> str:
        """Return why these blocks cannot sit there, or an empty text."""
        behind_relu = candidate.host is not None and candidate.host.position == "after relu"
        if behind_relu and self.se is not None and self.se.gate == "tanh":
            return "gates of tanh may be negative, and its ReLU, which is not a module, would follow them"
        return ""

    def described(self) -> str:
        reduced = f" with reduction {self.reduction}" if uses_reduction(self.kind) else ""
        return f"{self.kind}{reduced}, start {self.start}"


@dataclass(frozen=True)
class _Plan:
    chosen: list[tuple[Candidate, Site]]
    skipped: tuple[Skipped, ...]


def _choices(
    reduction: int,
    kind: Kind,
    placement: Placement,
    stages: Sequence[int] | None,
    start: Start,
    se: SEConfig | Mapping[str, Any] | None,
) -> _Choices:
    require_kind(kind)
    reduction = positive("reduction", reduction)
    if se is not None:
        se = SEConfig.of(se, SEConfig())
        if (reduction, kind, placement, stages, start) != (16, "se", "standard", None, "identity"):
            raise SenetError(
                "se= contains all SE settings: give either se or reduction, kind, placement, stages and "
                "start."
            )
        if se.units != "standard":
            raise SenetError(
                f"units {se.units!r} only applies to senet's own networks: name the units with where= "
                "instead."
            )
        reduction, placement, stages, start = se.reduction, se.placement, se.stages, se.start
    if not uses_reduction(kind) and reduction != 16:
        raise SenetError(f"reduction={reduction} has no effect on {kind}, which has no hidden layer.")
    one_of("placement", placement, RESIDUAL_PLACEMENTS)
    one_of("start", start, get_args(Start))
    # SEConfig says what stages may be.
    stages = SEConfig(stages=tuple(stages) if isinstance(stages, list | range) else stages).stages  # type: ignore[arg-type]
    return _Choices(kind=kind, reduction=reduction, placement=placement, stages=stages, start=start, se=se)


def _read(model: nn.Module, example_input: Any) -> FlatGraph:
    if example_input is not None:
        return read_by_running(model, example_input)
    flat = read_by_tracing(model)
    return (read_by_trying(model) or flat) if flat.unread else flat


def _plan(finder: SiteFinder, choices: _Choices, where: Where | None) -> _Plan:
    names = None if where is None or callable(where) else _names(where)
    candidates = finder.chosen(choices.stages, names)
    _refuse_reduction(choices, candidates)
    chosen, skipped = [], []
    for candidate in candidates:
        reason = candidate.reason or choices.unfit(candidate)
        if not reason:
            site = _site(candidate, choices)
            if not callable(where) or where(site):
                chosen.append((candidate, site))
                continue
            reason = "excluded by where="
        skipped.append(Skipped(name=candidate.unit.name, kind=candidate.unit.kind, reason=reason))
    unread = [
        Skipped(name=name, kind="", reason=f"its forward cannot be traced: {why}")
        for name, why in finder.flat.unread.items()
    ]
    return _Plan(chosen, (*skipped, *unread))


def _names(where: object) -> list[str]:
    names = [where] if isinstance(where, str) else where
    if not isinstance(names, list | tuple | set) or not all(isinstance(each, str) for each in names):
        raise SenetError(f"where must be names, or a function of a site, not {where!r}.")
    if not names:
        raise SenetError("where must name at least one unit, not an empty list: leave it out for all units.")
    return list(names)


def _refuse_reduction(choices: _Choices, candidates: list[Candidate]) -> None:
    chosen = [each for each in candidates if not each.reason]
    if not chosen or not uses_reduction(choices.kind):
        return
    narrowest = min(chosen, key=lambda each: each.channels)
    if choices.reduction > narrowest.channels:
        raise SenetError(
            f"reduction must be at most {narrowest.channels}, the channels of "
            f"{narrowest.unit.name or 'the model'}, not {choices.reduction}: choose a smaller one, or "
            "leave that unit out with where= or stages=."
        )


def _site(candidate: Candidate, choices: _Choices) -> Site:
    assert candidate.host is not None
    with torch.device("meta"):
        block = choices.block(candidate.channels, candidate.dimensions)
    return Site(
        name=candidate.unit.name,
        host=candidate.host.name,
        position=candidate.host.position,
        kind=candidate.unit.kind,
        stage=candidate.stage,
        channels=candidate.channels,
        hidden=choices.hidden(candidate.channels),
        parameters=sum(each.numel() for each in block.parameters()),
        multiply_adds=_multiply_adds(block, candidate),
    )


def _multiply_adds(block: CostedModule, candidate: Candidate) -> int | None:
    """Return the work for one image, or ``None`` where it depends on a size that is not known."""
    if candidate.size:
        return block.cost((candidate.channels, *candidate.size))[0].multiply_adds
    sizes = ((candidate.channels, *(side,) * candidate.dimensions) for side in (16, 32))
    counts = {block.cost(size)[0].multiply_adds for size in sizes}
    return counts.pop() if len(counts) == 1 else None
