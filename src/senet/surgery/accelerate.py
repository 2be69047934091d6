"""Gives the fused kernels to a model that was built elsewhere."""

from __future__ import annotations

import torch
from torch import nn

from senet.errors import SenetError
from senet.surgery.fused_block import fuse
from senet.surgery.report import AccelerationReport
from senet.surgery.survey import Survey

_FIRST = "accelerate the model first, then"


def accelerate(model: nn.Module) -> AccelerationReport:
    """Let ``model`` run senet's fused kernels wherever BatchNorm, SE, a sum or a ReLU follow each other.

    Works in place: the state dict, all parameters, modules and hooks, and the numbers stay as they are, and
    the classes of the blocks are subclasses of what they were. It takes, in the forward of any block that
    torch.fx can read,

    * ``bn se add relu`` and its parts, such as the end of a residual unit: ``relu(se(bn(y)) + shortcut)``,
    * ``bn relu se``: a convolution of an SE-VGG,
    * ``se``: an SE block of timm, torchvision, pytorchcv or any other that computes the same.

    Where a block has changed since (another attribute, a hook on a layer that a kernel would pass over, a
    layer of another type) its own forward runs. Which kernel runs a place is decided at each call; see
    `senet.explain_kernels`. torch.export, torch.jit.trace and torch.fx see the layers one by one.
    Copies and pickles of the model are accelerated too. Methods that are replaced later are not noticed.

    Args:
        model: any network, in training or evaluation mode, on any device.

    Returns:
        What was taken and what was left, with the reason. A second call takes nothing more.

    Raises:
        SenetError: there is nothing to take, or the model is scripted, compiled or wrapped for several
            processes or devices.
    """
    _refuse_wrapped(model)
    survey = Survey(model)
    report = AccelerationReport(
        model=type(model).__name__, rows=survey.rows(), fused_before=len(survey.fused_before)
    )
    if not report.taken and not report.fused_before:
        raise SenetError(_nothing(report))
    for block, plan in survey.plans.items():
        if plan.versions:
            fuse(block, plan.versions, survey.inlined[block])
    return report


def _refuse_wrapped(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise SenetError(f"senet.accelerate takes a torch.nn.Module, not {type(model).__name__}.")
    for name, module in model.named_modules():
        wrapped = _wrapping(module)
        if wrapped:
            whole = f"its part {name!r}" if name else "the model"
            raise SenetError(
                f"senet.accelerate cannot look into {type(model).__name__}: {whole} is {wrapped}."
            )


def _wrapping(module: nn.Module) -> str:
    """Return in what ``module`` is wrapped and what to do instead, or an empty text."""
    if isinstance(module, torch.jit.ScriptModule):
        return f"scripted, which is no Python any more: {_FIRST} torch.jit.trace it"
    kinds = {each.__name__ for each in type(module).__mro__}
    if "OptimizedModule" in kinds or module._compiled_call_impl is not None:
        return f"compiled: {_FIRST} torch.compile it"
    for kind in ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule", "DataParallel"):
        if kind in kinds:
            return f"wrapped in {kind}: {_FIRST} wrap it"
    return ""


def _nothing(report: AccelerationReport) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in report.reasons.items())
    looked = f"{len(report.rows)} BatchNorms and SE blocks{f' ({reasons})' if reasons else ''}"
    return (
        f"senet.accelerate found nothing to take in {report.model}, where it looked at {looked}. It takes a "
        "BatchNorm with SE, a sum or a ReLU behind it, and SE blocks, in forwards that torch.fx can read."
    )
