"""Folds the SE blocks that hardly react to their input into the layers in front of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.blocks.cost import parameter_count
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.checks import callable_or_none, finite_number, true_or_false
from senet.compiler.wrapped import refuse_wrapped
from senet.errors import SenetError
from senet.experiments.prune_report import PrunedModel, PruneReport, PruneRow
from senet.experiments.scores import Loss, evaluate_scores, same_scores, scores_of
from senet.insight.gates import GateStatistics, gate_statistics
from senet.insight.labelled import LabelledImages
from senet.insight.results import Spread
from senet.insight.step import NetworkStep
from senet.insight.stopwatch import InTurns, time_in_turns
from senet.networks.network import Network
from senet.surgery.fold_gate import constant_gate, fold_gate, refusal
from senet.surgery.gate_places import Place, find_places
from senet.training.device import describe_device
from senet.training.evaluate import Evaluation

Progress = Callable[[int, int], object]


def prune_gates(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    budget: float = 0.001,
    loss: Loss | None = None,
    dry_run: bool = False,
    seconds: float = 4.0,
    progress: Progress | None = None,
) -> PruneReport:
    """Replace SE blocks that hardly react to their input by constant weights, in place.

    Some blocks give nearly the same gates whatever they see; the paper found this in the last stage of
    SE-ResNet-50 and took them away (Sections 4 and 7.2). For each block (any `senet.SqueezeExcitation`,
    wherever it sits) this measures mean and variance of its gates and what the model loses when they are
    held at their means.
    Beginning with the block whose replacement costs least, it folds blocks for good as long as the top-1
    error of the whole model rises by no more than ``budget``; one that would exceed it is kept, and the next
    is tried. Use thousands of images: with few, a block that helps on most may seem to cost none, and the
    images that chose the blocks flatter the result, so test it on others.

    Folded means: the mean gates are multiplied into weights and bias of the BatchNorm, GroupNorm or
    convolution in front of the block, also behind a ReLU or a concatenation, and the block is gone from
    modules and state dict. The report says where that is not possible and why. A senet network without any
    block left is its plain network from then on.

    Args:
        model: any network that puts out class scores (N, classes), on any device. Its mode stays.
        loader: yields pairs of images and class indices, the same ones in each pass, such as a
            ``DataLoader`` without augmentation. Images are moved to the model's device and type.
        budget: how much the top-1 error may rise, as a share: 0.001 for 0.1 percentage points.
        loss: of (scores, labels), a mean over the batch; by default cross-entropy.
        dry_run: report what would be done and leave the model as it is.
        seconds: how long inference is timed at the end, and over all steps together.
        progress: called with the passes over the images that are done and the most that it may take: two,
            and two for each block.

    Returns:
        What was measured, folded and kept.

    Raises:
        SenetError: something given cannot be used, or a loss is not finite; the model is as it was.
    """
    _check(model, budget, seconds, loss)
    true_or_false("dry_run", dry_run)
    callable_or_none("progress", progress, "a function of the passes that are done and of all")
    images = LabelledImages(loader, model)
    with torch.inference_mode(False), torch.no_grad():  # inference tensors tell no change in place
        pruning = _Pruning(_copied(model).eval(), images, loss or functional.cross_entropy, progress)
        report = pruning.run(_name(model), budget=budget, seconds=seconds, dry_run=dry_run)
    if not dry_run:
        for place, gate in pruning.folds:
            fold_gate(model, place, gate)
        _name_plain(model)
    return report


@dataclass(frozen=True, kw_only=True)
class _Alone:
    """One block held at its mean gates, and what the model is then."""

    statistics: GateStatistics
    result: Evaluation | None


class _Pruning:
    """Works on a copy of the model and knows in the end what to fold.

    Args:
        model: the copy.
        images: to measure on.
        loss: of scores and labels.
        progress: told of each pass.
    """

    def __init__(
        self, model: nn.Module, images: LabelledImages, loss: Loss, progress: Progress | None
    ) -> None:
        self.original, self.model = model, _copied(model)
        self.images, self.loss, self.progress = images, loss, progress
        self.example = images.first()
        self.folds: list[tuple[Place, Tensor]] = []
        self.total = 2 + 2 * len(_blocks(model))
        self.passes = 0

    def run(self, name: str, *, budget: float, seconds: float, dry_run: bool) -> PruneReport:
        """Measure all blocks and fold those that the budget allows into the copy."""
        before = self._evaluate(self.original)
        statistics = gate_statistics(self.original, self.images)
        self._tell()
        alone = [self._alone(each) for each in statistics]
        order = sorted((each for each in alone if each.result), key=_loss)
        rows = {each.statistics.block: self._row(each, before) for each in alone}
        after, wrong = before, before.in_top1.count(False)
        # A little more: in floating point, 0.29 times 100 images are less than 29.
        allowed = wrong + budget * len(before.in_top1) + 1e-6
        for each in order:
            block = each.statistics.block
            trial, place, reason = self._try(each.statistics)
            if trial is not None:
                result = self._evaluate(trial)
                rise = result.top1_error - before.top1_error
                if result.in_top1.count(False) <= allowed:
                    after, self.model = result, trial
                    self.folds.append((place, each.statistics.mean))
                    time = self._time(seconds / len(order))
                    rows[block] = self._folded(rows[block], place, time)
                    continue
                reason = f"the top-1 error would rise by {rise:.2f} points in all, more than {100 * budget:g}"
            rows[block] = replace(rows[block], reason=reason)
        return self._report(name, tuple(rows.values()), (before, after), budget, seconds, dry_run)

    def _alone(self, statistics: GateStatistics) -> _Alone:
        if statistics.count == 0:
            self._tell()
            return _Alone(statistics=statistics, result=None)
        block: Any = self.original.get_submodule(statistics.block)
        with constant_gate(block, statistics.mean):
            return _Alone(statistics=statistics, result=self._evaluate(self.original))

    def _row(self, alone: _Alone, before: Evaluation) -> PruneRow:
        each, result = alone.statistics, alone.result
        return PruneRow(
            block=each.block,
            channels=len(each.mean),
            parameters=parameter_count(self.original.get_submodule(each.block)),
            mean_gate=each.mean.mean().item(),
            gate_deviation=each.variance.sqrt().mean().item(),
            loss_change=result.loss - before.loss if result else math.nan,
            error_change=result.top1_error - before.top1_error if result else math.nan,
            reason="" if result else "it did not run",
        )

    def _try(self, statistics: GateStatistics) -> tuple[nn.Module | None, Place, str]:
        """Return a copy in which one more block is folded, or ``None``, its place, and why not."""
        example = self.example
        place = find_places(self.model, example[:2])[statistics.block]
        reason = refusal(place, statistics.mean)
        if reason:
            self._tell()
            return None, place, reason
        trial = _copied(self.model)
        fold_gate(trial, place, statistics.mean)
        _name_plain(trial)
        block: Any = self.model.get_submodule(statistics.block)
        with constant_gate(block, statistics.mean):
            wanted = scores_of(self.model, example)
        if not same_scores(scores_of(trial, example), wanted, block.fc1.weight.dtype):
            self._tell()
            layers = ", ".join(part.layer for part in place.parts)
            return None, place, f"the scores would change: another layer also uses the output of {layers}"
        return trial, place, ""

    def _folded(self, row: PruneRow, place: Place, time: InTurns) -> PruneRow:
        return replace(
            row,
            step=len(self.folds),
            into=tuple(part.layer for part in place.parts),
            milliseconds=time.milliseconds("after"),
            time_ratio=time.ratio("after", "before"),
        )

    def _time(self, seconds: float) -> InTurns:
        images = self.example
        works = {
            "before": NetworkStep(self.original, images).infer,
            "after": NetworkStep(self.model, images).infer,
        }
        return time_in_turns(works, device=images.device, seconds=seconds)

    def _report(
        self,
        name: str,
        rows: tuple[PruneRow, ...],
        results: tuple[Evaluation, Evaluation],
        budget: float,
        seconds: float,
        dry_run: bool,
    ) -> PruneReport:
        time, images = self._time(seconds), self.example
        models = (self.original, self.model)
        before, after = (
            _pruned_model(model, result, time.milliseconds(which))
            for model, result, which in zip(models, results, ("before", "after"), strict=True)
        )
        return PruneReport(
            model=name,
            rows=rows,
            budget=budget,
            images=len(results[0].in_top1),
            batch_size=len(images),
            device=describe_device(images.device),
            dry_run=dry_run,
            before=before,
            after=after,
            time_ratio=time.ratio("after", "before"),
        )

    def _evaluate(self, model: nn.Module) -> Evaluation:
        result = evaluate_scores(model, self.images, self.loss)
        self._tell()
        return result

    def _tell(self) -> None:
        self.passes += 1
        if self.progress is not None:
            self.progress(self.passes, self.total)


def _name(model: nn.Module) -> str:
    return model.spec.se_name if isinstance(model, Network) else type(model).__name__


def _loss(each: _Alone) -> float:
    return each.result.loss if each.result else math.inf


def _pruned_model(model: nn.Module, result: Evaluation, milliseconds: Spread) -> PrunedModel:
    return PrunedModel(
        parameters=parameter_count(model),
        se_parameters=sum(parameter_count(each) for each in _blocks(model)),
        loss=result.loss,
        top1_error=result.top1_error,
        top5_error=result.top5_error,
        milliseconds=milliseconds,
    )


def _blocks(model: nn.Module) -> list[SqueezeExcitation]:
    return [each for each in model.modules() if isinstance(each, SqueezeExcitation)]


def _name_plain(model: nn.Module) -> None:
    """Let a senet network without SE blocks be the plain one that it now is, for whoever saves it."""
    if isinstance(model, Network) and not _blocks(model):
        model.spec = replace(model.spec, se=None)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise SenetError(f"This {type(model).__name__} cannot be copied to measure on: {error}") from error


def _check(model: nn.Module, budget: float, seconds: float, loss: Loss | None) -> None:
    refuse_wrapped(model, "prune_gates")
    for name, value, most in (("budget", budget, 1.0), ("seconds", seconds, math.inf)):
        allowed = "a share from 0 to 1, such as 0.001 for 0.1 points" if most == 1 else "at least 0"
        if not 0 <= finite_number(name, value, allowed) <= most:
            raise SenetError(f"{name} must be {allowed}, not {value!r}.")
    callable_or_none("loss", loss, "a function of (scores, labels)")
    if not _blocks(model):
        raise SenetError(
            f"This {type(model).__name__} has no senet.SqueezeExcitation block whose gates could be pruned."
        )
