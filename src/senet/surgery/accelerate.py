"""Gives the fused kernels to a model that was built elsewhere."""

from __future__ import annotations

from torch import nn

from senet.errors import SenetError
from senet.surgery.fused_block import fuse
from senet.surgery.report import AccelerationReport
from senet.surgery.survey import Survey
from senet.surgery.wrapped import refuse_wrapped
from senet.text import counted


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
    refuse_wrapped(model, "accelerate")
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


def _nothing(report: AccelerationReport) -> str:
    reasons = "; ".join(f"{count} × {reason}" for reason, count in report.reasons.items())
    blocks = counted(len(report.rows), "BatchNorm or SE block", "BatchNorms and SE blocks")
    looked = f"{blocks}{f' ({reasons})' if reasons else ''}"
    return (
        f"senet.accelerate found nothing to fuse in {report.model}; it checked {looked}. It fuses a "
        "BatchNorm followed by SE, a sum or a ReLU, and SE blocks, in forward methods that torch.fx can "
        "trace."
    )
