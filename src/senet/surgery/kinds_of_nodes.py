"""Says of a node in a flat graph what it computes, how many channels it has and how coarse its maps are."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from senet.blocks.attached import attached_block
from senet.blocks.cost import CostedModule
from senet.surgery.flat_graph import FlatGraph

_SUMS = ("add", "iadd", "radd", "sub", "isub", "rsub", "subtract", "lerp")
_QUERIES = ("size", "dim", "getattr", "numel", "ndimension", "is_contiguous", "stride", "len")
_PASSED = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)  # fmt: skip
_PASSED_NAMES = re.compile(r"DropPath|StochasticDepth|DropBlock|DropConnect|FakeQuantize|Observer")
_PASSED_FUNCTIONS = (
    "dropout", "dropout2d", "dropout3d", "droppath", "stochasticdepth", "contiguous", "clone",
)  # fmt: skip
_ACTIVATIONS = (
    "relu", "relu6", "gelu", "silu", "hardswish", "elu", "leakyrelu", "prelu", "mish", "selu", "celu",
    "softplus", "tanh", "sigmoid", "swish", "rrelu", "hardtanh",
)  # fmt: skip
_UPSAMPLING = re.compile(r"interpolate|upsample|pixelshuffle|maxunpool|convtranspose|unfold")
_POOLS = re.compile(r"(max|avg|lp)pool")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_CHANNELS = ("out_channels", "num_features", "num_channels", "out_features")
"""Attributes in which layers keep how many channels they return."""
MOVES = ("view", "reshape", "transpose", "permute", "contiguous", "flatten", "channelshuffle", "swapaxes")


class Kinds:
    """Answers questions on the nodes of one graph.

    Args:
        flat: the graph.
    """

    def __init__(self, flat: FlatGraph) -> None:
        self.flat = flat
        self.maps: set[Node] = set()
        for node in flat.nodes:
            if self._is_map(node):
                self.maps.add(node)
        self._strides: dict[Node, float | None] = {}
        self._channels: dict[Node, int | None] = {}

    def _is_map(self, node: Node) -> bool:
        if node.op == "placeholder":
            return True
        is_query = node.op in ("get_attr", "output") or self.name(node) in _QUERIES
        return not is_query and any(each in self.maps for each in node.all_input_nodes)

    def name(self, node: Node) -> str:
        """Return the name of a layer's class or of a function, in lower case and without underscores."""
        layer = self.flat.layer(node)
        if layer is not None:
            return type(layer).__name__.lower()
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        return str(target).partition(".")[0].replace("_", "").lower()

    def sources(self, node: Node) -> list[Node]:
        """Return the maps that ``node`` takes."""
        return [each for each in node.all_input_nodes if each in self.maps]

    def users(self, node: Node) -> list[Node]:
        """Return what takes the map ``node``, the end of the model included."""
        return [each for each in node.users if each in self.maps or each.op == "output"]

    def is_sum(self, node: Node) -> bool:
        """Whether ``node`` adds two maps, or subtracts or mixes them."""
        return self.name(node) in _SUMS and len(self.sources(node)) == 2

    def is_concat(self, node: Node) -> bool:
        """Whether ``node`` puts the channels of several maps together."""
        if self.name(node) not in ("cat", "concat", "concatenate") or len(self.sources(node)) < 2:
            return False
        return self._argument(node, 1, "dim", 0) in (1, -2, -3, -4)

    def is_product(self, node: Node) -> bool:
        """Whether ``node`` multiplies two maps."""
        return self.name(node) in ("mul", "imul", "rmul", "multiply") and len(self.sources(node)) == 2

    def is_scale(self, node: Node) -> bool:
        """Whether ``node`` multiplies a map with parameters or a number."""
        names = ("mul", "imul", "rmul", "multiply", "layerscale", "layerscale2d")
        return self.name(node) in names and len(self.sources(node)) == 1

    def is_passed(self, node: Node) -> bool:
        """Whether ``node`` keeps what it takes, but for what it drops in training."""
        layer = self.flat.layer(node)
        if layer is not None:
            return type(layer) in _PASSED or bool(_PASSED_NAMES.search(type(layer).__name__))
        return self.name(node) in _PASSED_FUNCTIONS

    def is_convolution(self, node: Node) -> bool:
        """Whether ``node`` is a convolution, but for those that make maps larger."""
        layer = self.flat.layer(node)
        if layer is not None:
            return isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)
        return self.name(node) in _CONVOLUTIONS

    def is_norm(self, node: Node) -> bool:
        """Whether ``node`` normalises."""
        layer = self.flat.layer(node)
        if isinstance(layer, _NormBase | nn.GroupNorm | nn.LayerNorm):
            return True
        return "norm" in self.name(node)

    def is_relu(self, node: Node) -> bool:
        """Whether ``node`` is a ReLU, which may run twice without changing anything."""
        layer = self.flat.layer(node)
        return type(layer) is nn.ReLU if layer is not None else self.name(node) == "relu"

    def is_activation(self, node: Node) -> bool:
        """Whether ``node`` is a non-linearity."""
        layer = self.flat.layer(node)
        if layer is not None and type(layer).__module__ == "torch.nn.modules.activation":
            return True
        return self.name(node) in _ACTIVATIONS

    def is_upsampling(self, node: Node) -> bool:
        """Whether ``node`` makes maps larger."""
        return bool(_UPSAMPLING.search(self.name(node)))

    def is_split(self, node: Node) -> bool:
        """Whether ``node`` takes a part of the channels."""
        return self.name(node) in ("getitem", "chunk", "split", "narrow", "select", "tensorsplit", "unbind")

    def is_move(self, node: Node) -> bool:
        """Whether ``node`` gives maps another shape or order."""
        return self.name(node) in MOVES

    def is_global_pool(self, node: Node) -> bool:
        """Whether ``node`` describes each map by a number or a few."""
        name = self.name(node)
        return "adaptive" in name or name in ("mean", "amax", "globalpool", "avgpoolglobal")

    def excites(self, node: Node) -> bool:
        """Whether ``node`` is one of senet's blocks that weigh channels."""
        layer = self.flat.layer(node)
        return isinstance(layer, CostedModule)

    def work(self, node: Node) -> int:
        """Return how many convolutions and fully connected layers run in ``node``."""
        layer = self.flat.layer(node)
        if layer is None:
            return int(self.name(node) in (*_CONVOLUTIONS, "linear"))
        if isinstance(layer, CostedModule):
            return 0
        block = attached_block(layer)
        own = set() if block is None else set(block.modules())
        return sum(isinstance(each, _ConvNd | nn.Linear) and each not in own for each in layer.modules())

    def dimensions(self, node: Node) -> int:
        """Return how many spatial dimensions the maps have, told by the convolutions in front."""
        seen, waiting = {node}, [node]
        while waiting:
            each = waiting.pop(0)
            layer = self.flat.layer(each)
            if isinstance(layer, _ConvNd):
                return len(layer.kernel_size)
            fresh = [source for source in self.sources(each) if source not in seen]
            seen.update(fresh)
            waiting += fresh
        return 2

    def channels(self, node: Node) -> int | None:
        """Return how many channels ``node`` has, or ``None`` where nothing tells it."""
        if node in self.flat.shapes:
            return self.flat.shapes[node][1] if len(self.flat.shapes[node]) > 1 else None
        if node not in self._channels:
            self._channels[node] = self._told_channels(node)
        return self._channels[node]

    def _told_channels(self, node: Node) -> int | None:
        layer, sources = self.flat.layer(node), self.sources(node)
        told = (getattr(layer, each, None) for each in _CHANNELS)
        count = next((each for each in told if isinstance(each, int)), None)
        if count is not None or not sources or (layer is not None and self.work(node)):
            return count
        if self.name(node) == "getitem":
            return self._sliced(self.channels(sources[0]), node.args[1])
        if self.is_concat(node):
            counts = [self.channels(each) for each in sources]
            return None if None in counts else sum(each for each in counts if each is not None)
        return None if self._changes_channels(node) else self.channels(sources[0])

    def _changes_channels(self, node: Node) -> bool:
        name = self.name(node)
        moved = self.is_move(node) and name not in ("permute", "transpose", "contiguous")
        return name in _CONVOLUTIONS or name == "linear" or self.is_split(node) or moved

    def _sliced(self, channels: int | None, index: Any) -> int | None:
        """Return how many of the channels an index such as ``[:, :16]`` takes."""
        if channels is None or not isinstance(index, tuple) or len(index) < 2 or index[0] != slice(None):
            return None
        bounds = (index[1].start, index[1].stop) if isinstance(index[1], slice) else ("", "")
        known = all(each is None or isinstance(each, int) for each in bounds)
        return len(range(*index[1].indices(channels))) if known else None

    def stride(self, node: Node) -> float | None:
        """Return how many pixels of the input one of ``node`` is apart from the next, if that is known."""
        if node not in self._strides:
            sources = self.sources(node)
            before = self.stride(sources[0]) if sources else 1.0
            own = self._own_stride(node)
            self._strides[node] = None if before is None or own is None else before * own
        return self._strides[node]

    def _own_stride(self, node: Node) -> float | None:
        layer, name = self.flat.layer(node), self.name(node)
        if isinstance(layer, _ConvTransposeNd):
            return 1 / float(layer.stride[0])
        if isinstance(layer, _ConvNd):
            return float(layer.stride[0])
        if "adaptive" in name or self.is_upsampling(node):
            return None
        if not _POOLS.search(name):
            return 1.0
        if layer is not None:
            return _first(getattr(layer, "stride", None) or getattr(layer, "kernel_size", None))
        kernel = self._argument(node, 1, "kernel_size", None)
        return _first(self._argument(node, 2, "stride", None) or kernel)

    def _argument(self, node: Node, position: int, name: str, default: Any) -> Any:
        if len(node.args) > position:
            return node.args[position]
        return node.kwargs.get(name, default)


def _first(setting: Any) -> float | None:
    if isinstance(setting, tuple | list) and setting:
        setting = setting[0]
    return float(setting) if isinstance(setting, int) else None
