"""A copy of a network for inference, with its BatchNorms folded into the convolutions in front of them.

In evaluation mode a BatchNorm is an affine map of each channel, which the convolution in front of it can do
as well: ``a (W x + b) + c = (a W) x + (a b + c)``. What is left between two convolutions is SE, the sum and
ReLUs. On a CPU the weights are also put in the order in which oneDNN reads them, once instead of at every
call, and oneDNN runs the ReLU.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from senet.blocks.attached import attach, detach, has_other_hooks, position_of
from senet.blocks.squeeze_excitation import has_forward_of_its_own, has_hooks
from senet.blocks.tail import FoldedNorm
from senet.checks import require_type
from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.dispatch import recording

_pack_weight: Any = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)
_CAN_PACK = torch._C._has_mkldnn and _pack_weight is not None


class FoldedConvolution(nn.Module):
    """A 2-d convolution with a BatchNorm, and a ReLU if asked, folded into it. It is not trained.

    Args:
        conv: the convolution.
        bn: the BatchNorm behind it, with running statistics.
        includes_relu: whether a ReLU follows.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d, *, includes_relu: bool) -> None:
        super().__init__()
        assert bn.running_mean is not None and bn.running_var is not None
        weight, bias = nn.utils.fuse_conv_bn_weights(
            conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.padding: Any = conv.padding
        self.includes_relu = includes_relu
        self._packed: tuple[Tensor, int, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H', W') for (N, in_channels, H, W)."""
        if self._may_be_packed(x):
            given = (self.padding, self.stride, self.dilation, self.groups)
            last = "relu" if self.includes_relu else "none"
            packed: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self._pack(x), self.bias, *given, last, [], ""
            )
            return packed
        y = functional.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        return torch.relu_(y) if self.includes_relu else y

    def _may_be_packed(self, x: Tensor) -> bool:
        return (
            _CAN_PACK
            and type(x) is Tensor
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() > 0
            and not isinstance(self.padding, str)
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not self.weight.is_inference()
            and torch._C._get_tracing_state() is None
            and torch._C._len_torch_dispatch_stack() == 0
        )

    def _pack(self, x: Tensor) -> Tensor:
        weight, known = self.weight, self._packed
        if known is None or known[0].data_ptr() != weight.data_ptr() or known[1] != weight._version:
            given = (self.padding, self.stride, self.dilation, self.groups, list(x.shape))
            packed = _pack_weight(weight.to_mkldnn(), *given)
            # The old memory is kept: other weights in the same place would look unchanged.
            self._packed = known = weight.detach(), weight._version, packed
        return known[2]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the packed weights, which are made anew where the copy runs."""
        return {**self.__dict__, "_packed": None}


def fold(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of ``model`` for inference, with BatchNorms folded into convolutions; see the module.

    Class scores stay the same up to rounding. A BatchNorm is folded where the output of a 2-d convolution
    goes into it by way of senet's blocks, and neither has hooks; the others stay. The copy cannot be trained,
    and its state dict is its own.

    The copy is frozen: later changes of ``model`` do not reach it. Its own weights may be replaced or loaded
    (``load_state_dict``), but not changed where PyTorch does not count changes, that is through ``.data``,
    NumPy or shared memory: on a CPU it would go on with the old ones. Fold again instead.

    Args:
        model: one of senet's networks, or one that `senet.accelerate` has been through. It stays as it is.
        example: images (N, C, H, W) that the model takes; it runs once on them.

    Raises:
        SenetError: no BatchNorm could be folded.
    """
    require_type("model", model, nn.Module, "a network")
    require_type("example", example, Tensor, "images as a tensor (N, C, H, W)")
    copied = copy.deepcopy(model).eval()
    names = {id(module): name for name, module in copied.named_modules()}
    pairs = _pairs(copied, example)
    if not pairs:
        raise SenetError(
            f"Nothing in this {type(model).__name__} can be folded: no BatchNorm follows a 2-d "
            "convolution in senet's blocks. Build it with senet.create_model, or call senet.accelerate "
            "first."
        )
    for conv, bn, includes_relu in pairs:
        _replace(copied, names[id(conv)], FoldedConvolution(conv, bn, includes_relu=includes_relu))
        _replace(copied, names[id(bn)], _folded(bn, includes_relu=includes_relu))
    return copied


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d, bool]]:
    """Return each convolution whose output goes into a BatchNorm, that, and whether a ReLU follows."""
    convolutions: dict[int, nn.Conv2d] = {}
    kept: list[Tensor] = []  # so that no other tensor gets the id of one of them
    runs: list[nn.Conv2d] = []

    def keep(conv: nn.Conv2d, _: Any, output: Tensor) -> None:
        convolutions[id(output)] = conv
        kept.append(output)
        runs.append(conv)

    plain = [each for each in model.modules() if _is_plain(each, nn.Conv2d)]
    handles = [each.register_forward_hook(keep) for each in plain]
    uses = _Uses()
    try:
        with torch.no_grad(), kernels("reference"), recording(keep_inputs=True) as ran, uses:
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    norms = [each.layers[0] for each in ran]
    found = []
    for each, bn in zip(ran, norms, strict=True):
        conv = convolutions.get(id(each.given))
        is_bn = _may_be_folded(bn)
        # An output that goes elsewhere as well, such as to a shortcut, is needed as it is.
        used_once = uses.count.get(id(each.given)) == 1
        if conv is not None and is_bn and used_once and runs.count(conv) == norms.count(bn) == 1:
            follows = each.steps in ("bn relu", "bn relu se") and _is_plain(each.layers[2], nn.ReLU)
            found.append((conv, bn, follows))
    return found


class _Uses(TorchFunctionMode):
    """Counts how often each tensor goes into something that computes a tensor, by id."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[int, int] = {}
        self._kept: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and count its tensors."""
        result = func(*args, **(kwargs or {}))
        if any(isinstance(each, Tensor) for each in tree_leaves(result)):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self.count[id(leaf)] = self.count.get(id(leaf), 0) + 1
                    self._kept.append(leaf)
        return result


def _is_plain(layer: Any, kind: type[nn.Module]) -> bool:
    return type(layer) is kind and not has_hooks(layer) and not has_forward_of_its_own(layer)


def _may_be_folded(bn: Any) -> bool:
    plain = type(bn) is nn.BatchNorm2d and not has_other_hooks(bn) and not has_forward_of_its_own(bn)
    return plain and bn.running_mean is not None and position_of(bn) != "before"


def _folded(bn: nn.BatchNorm2d, *, includes_relu: bool) -> FoldedNorm:
    """Return what stands for ``bn``, with the block that sits on it, if there is one."""
    norm, position = FoldedNorm(includes_relu=includes_relu), position_of(bn)
    if position is not None:
        attach(norm, detach(bn), position)
    return norm


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
