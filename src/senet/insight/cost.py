"""What a network costs: parameters and multiply-adds, senet's own networks and any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks.cost import Cost, CostedModule, UnknownLayerError, parameter_count
from senet.errors import SenetError

__all__ = ["Cost", "cost"]


def cost(model: nn.Module | str, input_size: int | tuple[int, int, int] | None = None) -> Cost:
    """Count the parameters and the multiply-adds for one image.

    Multiply-adds are those of convolutions and fully connected layers, SE's included. senet's networks
    tell theirs from shapes. Any other module runs once, in evaluation mode and without gradients, on
    the meta device, where nothing is computed; if it cannot run there it runs on its own. It is left as
    it was.

    Args:
        model: a module, or a name of `senet.networks.list_models`.
        input_size: (channels, height, width) of one image, or the side of a square one with the
            channels the network takes. By default the size a senet network was designed for.

    Raises:
        SenetError: no network of this name, no size given for a foreign module, or an image too
            small to leave a pixel.
    """
    if isinstance(model, str):
        from senet.networks import create_network

        with torch.device("meta"):
            model = create_network(model)
    shape = _image_shape(model, input_size)
    if isinstance(model, CostedModule):
        try:
            return model.cost(shape)[0]
        except UnknownLayerError:
            pass  # A layer somebody put into it: count what runs.
    return Cost(parameters=parameter_count(model), convolution=_traced_multiply_adds(model, shape))


def _image_shape(model: nn.Module, size: int | tuple[int, int, int] | None) -> tuple[int, int, int]:
    spec = getattr(model, "spec", None)
    if size is None:
        size = getattr(spec, "input_size", None)
    if isinstance(size, int):
        size = (getattr(spec, "in_channels", 3), size, size)
    if size is None:
        raise SenetError(
            f"The input size of a {type(model).__name__} is not known: give it, for example 224."
        )
    if len(size) != 3 or min(size) < 1:
        raise SenetError(f"The input size must be (channels, height, width) of at least 1, not {size}.")
    return size


def _traced_multiply_adds(model: nn.Module, shape: tuple[int, int, int]) -> int:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    meta: dict[str, Tensor] = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    first = next((tensor for _, tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, *shape, dtype=first.dtype, device="meta")
    with _evaluating(model), torch.no_grad():
        try:
            with FlopCounterMode(display=False) as counter:
                torch.func.functional_call(model, meta, (image,))
        except (NotImplementedError, RuntimeError) as on_meta:
            if first.is_meta:
                raise SenetError(f"{type(model).__name__} cannot run on {shape}: {on_meta}") from on_meta
            with FlopCounterMode(display=False) as counter:
                model(torch.zeros_like(image, device=first.device))
    # The counter counts a multiplication and an addition as two.
    return int(counter.get_total_flops()) // 2


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
