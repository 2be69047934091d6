"""Says why nothing could be put into a model, and what would match."""

from __future__ import annotations

from torch.nn.modules.conv import _ConvNd

from senet.errors import SenetError
from senet.surgery.flat_graph import FlatGraph
from senet.surgery.insertion_report import ALREADY, InsertionReport

_RULE = (
    "SE goes to the end of a branch that is added to or concatenated with its input, after a "
    "concatenation of branches, or otherwise after the non-linearity of a convolution; where= accepts "
    "any module"
)


def refuse_nothing(report: InsertionReport, flat: FlatGraph, *, example_given: bool) -> None:
    """Raise `SenetError` where there is no site, unless all places weigh their channels already."""
    if report.sites:
        return
    if not any(isinstance(each, _ConvNd) for each in flat.model.modules()):
        raise SenetError(f"{report.model} has no convolution whose channels SE could rescale.")
    reasons = report.reasons
    if flat.unread:
        name, why = next(iter(flat.unread.items()))
        part = f"its part {name!r}" if name else "the model"
        kind = type(flat.model.get_submodule(name)).__name__
        advice = (
            "name the modules that get SE with where="
            if example_given
            else "give example_input=, an input of the model, to run it and see how data flows"
        )
        raise SenetError(f"The forward of {part} ({kind}) cannot be traced: {why}; {advice}.")
    if ALREADY in reasons:
        return
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons.items())
    looked = f" ({listed})" if listed else ""
    raise SenetError(f"{report.model} has no place for SE{looked}. {_RULE}.")
