"""Into which layers a constant gate could go: the layers whose output an SE block weighs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from senet.blocks.attached import NAME, position_of
from senet.blocks.squeeze_excitation import SqueezeExcitation, has_forward_of_its_own, has_hooks
from senet.kernels.backends import kernels
from senet.surgery.scaling import channels_of, unfit, weighs_channels

# Functions of which f(s y) = s f(y) for s of at least 0.
_HOMOGENEOUS = ("relu", "relu_", "leaky_relu", "leaky_relu_")
_CONCATENATIONS = ("cat", "concat", "concatenate")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A layer and the channels of the gate that belong to its output.

    Attributes:
        layer: its name in the model.
        start: first channel.
        stop: the channel behind the last.
        behind_relu: whether a ReLU stands between the layer and the SE block.
    """

    layer: str
    start: int
    stop: int
    behind_relu: bool


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the constant gate of one SE block could go.

    Attributes:
        block: its name in the model.
        parts: the layers that together put out what it weighs; one, unless it weighs a concatenation.
        reason: why the gate can go nowhere, or empty.
    """

    block: str
    parts: tuple[Part, ...] = ()
    reason: str = ""


def find_places(model: nn.Module, example: Tensor) -> dict[str, Place]:
    """Return the place of each SE block by name; ``model`` runs once, in the mode it is in.

    Args:
        model: any, in evaluation mode.
        example: images that it takes.
    """
    names = {each: name for name, each in model.named_modules()}
    blocks = {name: each for each, name in names.items() if isinstance(each, SqueezeExcitation)}
    reasons = {name: _unfit_block(block, model) for name, block in blocks.items()}
    record = _Record()
    with torch.inference_mode(False), torch.no_grad(), kernels("reference"), record.watching(model):
        output = model(example.clone())
    record.use(tree_leaves(output), "the model's output")
    places = {name: _place(name, block, record, names, model) for name, block in blocks.items()}
    refused = {name: Place(block=name, reason=reason) for name, reason in reasons.items() if reason}
    return {**places, **refused}


def _unfit_block(block: SqueezeExcitation, model: nn.Module) -> str:
    if block.config.squeeze == "none":
        return "it has one gate per pixel"
    if has_forward_of_its_own(block) or type(block).forward is not SqueezeExcitation.forward:
        return "it has its own forward"
    if has_hooks(block):
        return "it has a hook"
    owners = [parent for parent in model.modules() for child in parent._modules.values() if child is block]
    if not owners:
        return "it is the model itself"
    return "it is part of several modules" if len(owners) > 1 else ""


@dataclass(eq=False)
class _Value:
    """What a tensor held at some moment: a change in place makes another value of it."""

    tensor: Any
    made_by: str
    sources: tuple[_Value, ...] = ()
    layer: nn.Module | None = None
    users: list[str] = field(default_factory=list)


class _Record(TorchFunctionMode):
    """Writes down which function, and which layer, computed each tensor from which, and who uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, _Value] = {}  # by the tensor's id, which a tensor that is kept never loses
        self._kept: list[Any] = []
        self.weighed: dict[nn.Module, list[_Value]] = {}
        self.returned: dict[nn.Module, _Value] = {}
        self.runs: dict[nn.Module, int] = {}
        self._inside = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and write it down."""
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        before = _versions(given)
        result = func(*args, **(kwargs or {}))
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        unchanged = _versions(given) == before
        # contiguous() and dropout in evaluation mode may return what they are given, as it is.
        if self._inside or not made or (unchanged and all(any(a is b for b in given) for a in made)):
            return result
        name = getattr(func, "__name__", str(func))
        if name in _CONCATENATIONS and (kwargs or {}).get("dim", args[1] if len(args) > 1 else 0) != 1:
            name = "a concatenation along another dimension than channels"
        sources = tuple(self.use(given, name))
        for each in made:
            self._write(_Value(each, name, sources))
        return result

    def use(self, tensors: list[Any], user: str) -> list[_Value]:
        """Write down a use of each tensor and return its values."""
        values = [self._value(each) for each in tensors if isinstance(each, Tensor)]
        for each in values:
            each.users.append(user)
        return values

    def _value(self, tensor: Tensor) -> _Value:
        known = self.values.get(id(tensor))
        return known or self._write(_Value(tensor, "the model's input or parameters"))

    def _write(self, value: _Value) -> _Value:
        self.values[id(value.tensor)] = value
        self._kept.append(value.tensor)
        return value

    def watching(self, model: nn.Module) -> ExitStack:
        """Return a context in which the calls of ``model`` are written down."""
        stack = ExitStack()
        for each in model.modules():
            if isinstance(each, SqueezeExcitation):
                handles: list[Any] = [
                    each.register_forward_pre_hook(self._before_block, with_kwargs=True),
                    each.register_forward_hook(self._after_block),
                ]
            elif weighs_channels(each):
                # In front of the hook that runs an attached block.
                handles = [each.register_forward_hook(self._after_layer, prepend=True)]
            else:
                continue
            for handle in handles:
                stack.callback(handle.remove)
        stack.enter_context(self)
        return stack

    def _before_block(self, block: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> None:
        (value,) = self.use([inputs[0] if inputs else given["x"]], "an SE block")
        self.weighed.setdefault(block, []).append(value)
        self._inside += 1

    def _after_block(self, block: nn.Module, _: Any, output: Tensor) -> None:
        self._inside -= 1
        self.returned[block] = self._write(_Value(output, "another SE block"))

    def _after_layer(self, layer: nn.Module, _: Any, output: Any) -> None:
        self.runs[layer] = self.runs.get(layer, 0) + 1
        if isinstance(output, Tensor) and not self._inside:
            self._value(output).layer = layer


def _versions(tensors: list[Tensor]) -> list[int]:
    return [-1 if each.is_inference() else each._version for each in tensors]


class _Refused(Exception):
    """Carries a reason."""


def _place(
    name: str, block: SqueezeExcitation, record: _Record, names: dict[nn.Module, str], model: nn.Module
) -> Place:
    calls = record.weighed.get(block, [])
    if len(calls) != 1:
        return Place(block=name, reason="it runs several times" if calls else "it did not run")
    host = model.get_submodule(name.rpartition(".")[0])
    if name.rpartition(".")[2] == NAME and position_of(host) == "after relu":
        users = record.returned[block].users
        if not users or set(users) - {"relu", "relu_"}:
            return Place(block=name, reason="it is not followed by a ReLU module of the model")
    try:
        parts = _parts(calls[0], 0, block.channels, False, record, names)
        for part in parts:
            reason = unfit(model.get_submodule(part.layer), model, runs=record.runs)
            if reason:
                raise _Refused(f"{part.layer} {reason}")
    except _Refused as refused:
        return Place(block=name, reason=str(refused))
    return Place(block=name, parts=tuple(parts))


def _parts(
    value: _Value, start: int, stop: int, behind_relu: bool, record: _Record, names: dict[nn.Module, str]
) -> list[Part]:
    """Return the layers that put out ``value``, whose channels are ``start`` to ``stop`` of the gate."""
    if len(value.users) != 1:
        raise _Refused(f"the output of {_name(value, names)} is also used elsewhere")
    if value.layer is not None:
        if channels_of(value.layer) != stop - start:
            raise _Refused(f"{names[value.layer]} has another number of channels")
        return [Part(layer=names[value.layer], start=start, stop=stop, behind_relu=behind_relu)]
    if value.made_by in _HOMOGENEOUS and len(value.sources) == 1:
        return _parts(value.sources[0], start, stop, True, record, names)
    if value.made_by in _CONCATENATIONS:
        parts = []
        for each in value.sources:
            end = start + each.tensor.shape[1]
            parts += _parts(each, start, end, behind_relu, record, names)
            start = end
        return parts
    raise _Refused(f"it multiplies the output of {value.made_by}, into which no weights can be folded")


def _name(value: _Value, names: dict[nn.Module, str]) -> str:
    return names[value.layer] if value.layer is not None else value.made_by
