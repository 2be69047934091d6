"""What a network costs by the convention of `senet.blocks.cost`: senet's own networks and any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from senet.blocks.cost import Cost, CostedModule, UnknownLayerError, byte_count, parameter_count
from senet.checks import positive, require_type
from senet.errors import SenetError
from senet.insight.trace import Trace
from senet.schema import shown

__all__ = ["Cost", "cost"]

RUN_FAILURES = (AssertionError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What modules raise that need values, which the meta device has not, or an image of another size."""


def cost(model: nn.Module | str, input_size: int | tuple[int, int, int] | None = None) -> Cost:
    """Count parameters, bytes, and by kind the operations for one image in evaluation mode.

    senet's networks tell their cost from shapes: nothing runs and nothing is allocated. Any other module
    runs once, without gradients, on the meta device, where nothing is computed; if it cannot run there it
    runs on its own. It is left as it was. Both ways count alike, with one difference: a package that
    writes SE's layers as 1x1 convolutions has their work under convolution.

    Args:
        model: a module, or a name of `senet.networks.list_models`.
        input_size: (channels, height, width) of one image, or the side of a square one with the
            channels the network takes. By default the size a senet network was designed for.

    Raises:
        SenetError: no network of this name, no size given for a foreign module, or an image that the
            network cannot see.
    """
    require_type("model", model, (str, nn.Module), "a network or the name of one")
    if isinstance(model, str):
        model = _on_meta(model, input_size)
    shape = _image_shape(model, input_size)
    if isinstance(model, CostedModule):
        try:
            return model.cost(shape)[0]
        except UnknownLayerError:
            pass  # A layer somebody put into it: count what runs.
    return _traced(model, shape) + Cost(parameters=parameter_count(model), bytes=byte_count(model))


def _on_meta(name: str, size: int | tuple[int, int, int] | None) -> nn.Module:
    from senet.networks import create_network

    with torch.device("meta"):
        return create_network(name, in_channels=size[0] if isinstance(size, tuple) and size else 3)


def _image_shape(model: nn.Module, size: int | tuple[int, int, int] | None) -> tuple[int, int, int]:
    spec = getattr(model, "spec", None)
    if size is None:
        size = getattr(spec, "input_size", None)
    if size is None:
        raise SenetError(f"The input size of a {type(model).__name__} is unknown: give it, for example 224.")
    shape = size if isinstance(size, Sequence) else (getattr(spec, "in_channels", 3), size, size)
    if isinstance(shape, str) or len(shape) != 3:
        raise SenetError(
            f"The input size must be the side of an image or (channels, height, width), not {shown(size)}."
        )
    channels, height, width = (positive("The input size", each) for each in shape)
    return channels, height, width


def _traced(model: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Return what runs, without parameters and bytes."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    meta: dict[str, Tensor] = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    first = next((tensor for _, tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, *shape, dtype=first.dtype, device="meta")
    with evaluating(model), _never_compiling(), torch.no_grad():
        try:
            with (trace := Trace()):
                torch.func.functional_call(model, meta, (image,))
        except RUN_FAILURES:
            try:
                with (trace := Trace()):
                    model(torch.zeros_like(image, device=first.device))
            except RUN_FAILURES as error:
                raise SenetError(
                    f"{type(model).__name__} cannot run on an image of {shape}: {_first_line(error)}"
                ) from error
    return trace.cost


def _never_compiling() -> AbstractContextManager[object]:
    """Run compiled modules as they were written; where torch.compile meets a trace it gives up for good."""
    # New in torch 2.6.
    set_stance = getattr(torch.compiler, "set_stance", None)
    return nullcontext() if set_stance is None else set_stance("force_eager")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in evaluation mode while the context lasts."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
