"""Inference with frozen weights: each convolution also runs the BatchNorm, the sum and the ReLU behind it.

In evaluation mode BatchNorm is an affine map of each channel, which the convolution in front of it can do as
well: ``a (W x) + c = (a W) x + c``. On a CPU the weights are also laid out once as oneDNN reads them, and
oneDNN adds the shortcut and runs the ReLU while the output is in its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from senet.compiler.patterns import Epilogue, kind_of, value_of
from senet.errors import SenetError

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_FUNCTIONS = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}
_pack_weight: Any = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)
_CAN_PACK = torch._C._has_mkldnn and _pack_weight is not None


class FrozenConvolution(nn.Module):
    """A convolution with what follows it: BatchNorm, a sum, a ReLU. Its weights are constants.

    Args:
        weight: (out, in / groups, *kernel).
        bias: (out,), or none.
        options: stride, padding, dilation and groups.
        relu: whether a ReLU ends it.
        like: an input, (N, in, *spatial), or a stand-in for one.
    """

    weight: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor | None, options: Mapping[str, Any], *, relu: bool, like: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        dims = weight.dim() - 2
        stride, padding, dilation = (
            each if isinstance(each, str) else [each] * dims if isinstance(each, int) else list(each)
            for each in (options["stride"], options["padding"], options["dilation"])
        )
        self.options = (padding, stride, dilation, options["groups"])
        self.relu = relu
        self.packed: Tensor | None = None
        sizes = [each if isinstance(each, int) else 8 for each in like.shape]
        if self._is_packed(like):
            self.packed = _pack_weight(weight.to_mkldnn(), *self.options, sizes)

    def _is_packed(self, x: Tensor) -> bool:
        kinds = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        return _CAN_PACK and kinds and x.dim() == 4 and not isinstance(self.options[0], str)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Return (N, out, *spatial) for ``x``, (N, in, *spatial), with ``shortcut`` of that shape added."""
        padding, stride, dilation, groups = self.options
        bias: Tensor | None = self.bias  # type: ignore[assignment]
        if self.packed is not None and x.dtype == torch.float32 and x.numel() and type(x) is Tensor:
            given = (self.packed, bias, *self.options)
            after = "relu" if self.relu else "none"
            pointwise = torch.ops.mkldnn._convolution_pointwise
            if shortcut is None:
                plain: Tensor = pointwise(x, *given, after, [], "")
                return plain
            added: Tensor = pointwise.binary(
                x, shortcut, *given, "add", None, "relu" if self.relu else None, [], None
            )
            return added
        convolution: Any = _FUNCTIONS[x.dim()]
        y = convolution(x, self.weight, bias, stride, padding, dilation, groups)
        y = y if shortcut is None else y.add_(shortcut)
        return functional.relu_(y) if self.relu else y


class Frozen:
    """Runs a compiled graph and refuses to go on where a weight that it froze has been changed.

    Args:
        run: the graph.
        constants: the frozen tensors by their positions among the inputs.
    """

    def __init__(self, run: Callable[..., Any], constants: Mapping[int, Tensor]) -> None:
        self.run = run
        self.constants = [(index, each, _version(each)) for index, each in constants.items()]

    def __call__(self, *inputs: Any) -> Any:
        """Return what the graph returns.

        Raises:
            SenetError: a weight was replaced or written to since it was frozen.
        """
        for index, known, version in self.constants:
            if inputs[index] is not known or _version(known) != version:
                raise SenetError(
                    "A weight has changed since this model was frozen for inference: compile it again "
                    "(torch.compiler.reset() first), or leave out freeze."
                )
        return self.run(*inputs)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


class Freezer:
    """Puts frozen convolutions into a graph.

    Args:
        module: the graph of Dynamo's, with parameters as inputs.
        inputs: the values of its placeholders, in order.
    """

    def __init__(self, module: GraphModule, inputs: list[Any]) -> None:
        self.module = module
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.positions = {node: index for index, node in enumerate(placeholders)}
        self.inputs = inputs
        self.constants: dict[int, Tensor] = {}

    def fold(self, found: Epilogue) -> Epilogue | None:
        """Fold the BatchNorm that starts an epilogue into the convolution in front of it, if that can be.

        A sum and a ReLU right behind it go along.

        Returns:
            What is left of the epilogue.
        """
        conv = _arguments(found.y)
        if conv is None or not found.bn or found.of_batch or len(found.y.users) != 1:
            return found
        norm = [found.bn[name] for name in ("running_mean", "running_var", "weight", "bias")]
        values = self._values([conv["weight"], conv["bias"], *norm])
        if values is None:
            return found
        weight, bias, *statistics = values
        assert weight is not None
        folded = _fold(weight, bias, statistics, found.bn["eps"])
        taken = found.names[: found.names.index("se")] if found.se else found.names
        last = found.nodes[len(taken) - 1]
        shortcut = found.shortcut if "add" in taken else None
        start = self._put(last, conv, folded, relu="relu" in taken, shortcut=shortcut)
        self._erase([found.y, *found.nodes[: len(taken)]])
        if found.se is None:
            return None
        se = replace(found.se, maps=start)
        return Epilogue(
            start, found.names[len(taken) :], found.nodes[len(taken) :], se=se, shortcut=found.shortcut
        )

    def pack(self) -> None:
        """Put a frozen convolution in the place of each one that is left."""
        for node in list(self.module.graph.nodes):
            conv = _arguments(node)
            values = None if conv is None else self._values([conv["weight"], conv["bias"]])
            if conv is not None and values is not None and values[0] is not None:
                self._put(node, conv, (values[0].detach(), values[1]), relu=False)
                self._erase([node])

    def _values(self, nodes: list[Any]) -> list[Tensor | None] | None:
        """Return the values of parameters and buffers, kept as constants; nothing if one is computed."""
        if any(node is not None and not _is_parameter(node) for node in nodes):
            return None
        values: list[Tensor | None] = []
        for node in nodes:
            if node is not None:
                self.constants[self.positions[node]] = self.inputs[self.positions[node]]
            values.append(None if node is None else self.inputs[self.positions[node]])
        return values

    def _put(
        self,
        node: Node,
        conv: dict[str, Any],
        folded: tuple[Tensor, Tensor | None],
        *,
        relu: bool,
        shortcut: Node | None = None,
    ) -> Node:
        """Put a frozen convolution in front of ``node`` and let it be used in its place."""
        name = f"convolution_{sum(isinstance(each, FrozenConvolution) for each in self.module.children())}"
        layer = FrozenConvolution(*folded, conv, relu=relu, like=value_of(conv["input"]))
        self.module.add_module(name, layer)
        with self.module.graph.inserting_before(node):
            call = self.module.graph.call_module(name, (conv["input"], shortcut))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        return call

    def _erase(self, nodes: list[Node]) -> None:
        for node in reversed(nodes):
            self.module.graph.erase_node(node)


def _arguments(node: Any) -> dict[str, Any] | None:
    """Return the arguments of a convolution by name, or nothing for other nodes."""
    if kind_of(node) != "conv":
        return None
    given = {**_DEFAULTS, **dict(zip(_CONVOLUTION, node.args, strict=False)), **node.kwargs}
    # Autocast has the convolution run in another type than that of its weights.
    return given if value_of(node).dtype == value_of(given["weight"]).dtype else None


def _is_parameter(node: Node) -> bool:
    """Whether the value of ``node`` is a parameter or a buffer of the model."""
    return node.op == "placeholder" and any(part in node.name for part in ("_parameters_", "_buffers_"))


def _fold(
    weight: Tensor, bias: Tensor | None, statistics: list[Tensor | None], eps: float
) -> tuple[Tensor, Tensor]:
    mean, var, scale, shift = statistics
    assert mean is not None and var is not None
    folded = nn.utils.fuse_conv_bn_weights(weight, bias, mean, var, eps, scale, shift)
    return folded[0].detach(), folded[1].detach()
