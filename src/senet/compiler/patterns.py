"""Finds epilogues in a graph that Dynamo made: what stands between a convolution and the next one.

The graph holds PyTorch's functions as the model called them, whoever wrote it; parameters and buffers are
inputs of the graph. An epilogue is a chain of BatchNorm, SE, a sum and ReLU whose inner values go nowhere
else.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from senet.kernels.steps import Steps

_NN = torch._C._nn
_TARGETS: dict[str, tuple[Any, ...]] = {
    "bn": (functional.batch_norm,),
    "relu": (functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"),
    "add": (operator.add, operator.iadd, torch.add, "add", "add_"),
    "mul": (operator.mul, operator.imul, torch.mul, "mul", "mul_"),
    "silu": (functional.silu,),
    "gelu": (functional.gelu,),
    "hard_swish": (functional.hardswish,),
    "sigmoid": (functional.sigmoid, torch.sigmoid, torch.sigmoid_, "sigmoid", "sigmoid_"),
    "tanh": (functional.tanh, torch.tanh, torch.tanh_, "tanh", "tanh_"),
    "hard_sigmoid": (functional.hardsigmoid,),
    "linear": (functional.linear,),
    "conv": (torch.conv1d, torch.conv2d, torch.conv3d),
    "mean": (torch.mean, "mean"),
    "pool": (
        functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d,
        torch.adaptive_avg_pool1d, _NN.adaptive_avg_pool2d, _NN.adaptive_avg_pool3d,
    ),
    "view": (
        torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, operator.getitem,
        "view", "reshape", "flatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "contiguous",
    ),
    "expand": ("expand", "expand_as"),
    "cast": ("to", "float", "half", "bfloat16", "type", "type_as"),
}  # fmt: skip
_KINDS = {target: kind for kind, targets in _TARGETS.items() for target in targets}
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem)
_HARMLESS = (operator.setitem, torch._C._log_api_usage_once, torch._assert, torch._check)
_ACTIVATIONS = ("relu", "silu", "gelu", "hard_swish")
_GATES = ("sigmoid", "tanh", "relu", "hard_sigmoid")
_BN_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_BN_DEFAULTS = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}


@dataclass(frozen=True)
class Gates:
    """The branch of an SE block in a graph.

    Attributes:
        maps: what it squeezes and weighs.
        nodes: from the squeeze to the product with the maps, which is the last.
        layers: weight and bias of both fully connected layers (Eq. 3).
        activation: between the layers, as `SEConfig` names it.
        gate: behind them.
    """

    maps: Node
    nodes: tuple[Node, ...]
    layers: tuple[Node, Node | None, Node, Node | None]
    activation: str
    gate: str


@dataclass
class Epilogue:
    """A chain in a graph that one operator can run.

    Attributes:
        y: the value it starts from.
        names: of its steps in order.
        nodes: all that it replaces; the value of the last one is its result.
        bn: the arguments of BatchNorm by name.
        se: its SE block.
        shortcut: what its sum adds.
        stop: why it ends where it does, if it could have gone on.
    """

    y: Node
    names: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    bn: dict[str, Any] = field(default_factory=dict)
    se: Gates | None = None
    shortcut: Node | None = None
    stop: str = ""

    @property
    def bn_node(self) -> Node | None:
        """The call of BatchNorm."""
        return self.nodes[0] if self.bn else None

    @property
    def se_node(self) -> Node | None:
        """The product that ends SE."""
        return self.se.nodes[-1] if self.se else None

    @property
    def of_batch(self) -> bool:
        """Whether BatchNorm takes the statistics of the batch."""
        return bool(self.bn.get("training"))

    @property
    def steps(self) -> Steps:
        """The steps, as the operators take them."""
        return Steps.parse(" ".join(self.names))


def kind_of(node: Any) -> str:
    """Return the name in this file of what ``node`` computes, or an empty text."""
    called = isinstance(node, Node) and node.op in ("call_function", "call_method")
    return _KINDS.get(node.target, "") if called else ""


def value_of(node: Any) -> Any:
    """Return the fake tensor that Dynamo computed for ``node``."""
    return node.meta.get("example_value") if isinstance(node, Node) else None


def find_epilogues(graph: Graph) -> list[Epilogue]:
    """Return the epilogues of a graph in the order in which they end. No two share a node."""
    return _Search(graph).run()


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.nodes = list(graph.nodes)
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self.gates = {each.nodes[-1]: each for each in map(_gates, graph.nodes) if each is not None}
        self.writes = [
            (self.position[node], _memory(each)) for node in graph.nodes for each in _written_by(node)
        ]
        self.taken: set[Node] = set()

    def run(self) -> list[Epilogue]:
        starts = [_bn(node) for node in self.position if kind_of(node) == "bn"]
        starts += [_se(each) for each in self.gates.values() if not _writes(each.nodes[-1])]
        # Where two branches meet in a sum, the one with SE takes it; an SE block by itself comes last.
        starts.sort(key=lambda each: (each.se is not None, not self._leads_to_se(each)))
        found = []
        for each in starts:
            if _memory(each.y) is None:
                continue
            if self.taken.isdisjoint(each.nodes) and not self._is_disturbed(each, [], None):
                self._extend(each)
                self.taken.update(each.nodes)
                found.append(each)
        return sorted(found, key=lambda each: self.position[each.nodes[-1]])

    def _leads_to_se(self, start: Epilogue) -> bool:
        behind = {start.nodes[0], *(user for user in start.nodes[0].users if kind_of(user) == "relu")}
        return any(each.maps in behind for each in self.gates.values())

    def _extend(self, chain: Epilogue) -> None:
        """Let a chain go on as far as it can."""
        while True:
            step = self._next(chain)
            if step is None:
                return
            name, nodes, block, shortcut = step
            if not self.taken.isdisjoint(nodes):
                chain.stop = "the sum runs with the other branch"
                return
            if self._is_disturbed(chain, nodes, shortcut):
                chain.stop = "its input or the mode of PyTorch changes before it ends"
                return
            chain.names.append(name)
            chain.nodes += nodes
            chain.se, chain.shortcut = chain.se or block, chain.shortcut or shortcut

    def _next(self, chain: Epilogue) -> tuple[str, list[Node], Gates | None, Node | None] | None:
        """Return the step behind a chain: its name, its nodes, SE's branch and the shortcut."""
        names, last = chain.names, chain.nodes[-1]
        if names[-2:] == ["relu", "se"] or (names[-1] == "relu" and names != ["bn", "relu"]):
            return None
        blocks = [self.gates[user] for user in last.users if user in self.gates]
        if blocks and "se" not in names and "add" not in names:
            (block, *more) = blocks
            if not more and block.maps is last and set(last.users) <= set(block.nodes):
                return "se", list(block.nodes), block, None
        if len(last.users) != 1:
            chain.stop = "its output is used in several places"
            return None
        (user,) = last.users
        kind = kind_of(user)
        if kind == "relu" and names[-1] != "relu" and user.args[:1] == (last,):
            return "relu", [user], None, None
        if kind == "add" and "relu" not in names and "add" not in names:
            shortcut = _shortcut(user, last)
            if shortcut is not None:
                return "add", [user], None, shortcut
            into_other = _writes(user) and user.args[0] is not last
            chain.stop = (
                "the sum runs with the other branch"
                if into_other
                else "the sum adds no maps of the same shape and type"
            )
        return None

    def _is_disturbed(self, chain: Epilogue, more: list[Node], shortcut: Node | None) -> bool:
        """Whether a chain that goes on with ``more`` could not be run as one where it ends.

        It could not if others write to what it takes, see the statistics that it moves, or switch gradients
        or autocast on or off in between.
        """
        own = {self.position[node] for node in (*chain.nodes, *more)}
        first, last = min(own), max(own)
        between = [node for node in self.nodes[first:last] if self.position[node] not in own]
        moved = {_memory(each) for each in _written_by(chain.nodes[0])} if chain.bn else set()
        if any(_switches(node) or moved & {*map(_memory, node.all_input_nodes)} for node in between):
            return True
        since = {_memory(chain.y): first}
        for each, add in ((chain.shortcut, chain.nodes[-1]), (shortcut, more[0] if more else None)):
            if each is not None and add is not None:
                since.setdefault(_memory(each), self.position[add])
        for each in (*chain.bn.values(), *(chain.se.layers if chain.se else ())):
            if isinstance(each, Node):
                since.setdefault(_memory(each), max(first, self.position[each]))
        return any(since.get(to, at) < at < last and at not in own for at, to in self.writes)


def _bn(node: Node) -> Epilogue:
    given = _bn_arguments(node)
    return Epilogue(given["input"], ["bn"], [node], bn=given)


def _bn_arguments(node: Node) -> dict[str, Any]:
    return {**_BN_DEFAULTS, **dict(zip(_BN_ARGUMENTS, node.args, strict=False)), **node.kwargs}


def _se(block: Gates) -> Epilogue:
    return Epilogue(block.maps, ["se"], list(block.nodes), se=block)


def _shortcut(add: Node, last: Node) -> Node | None:
    """Return what ``add`` adds to ``last``: maps of the same shape, into which it does not write."""
    if len(add.args) != 2 or add.kwargs:
        return None
    first, second = add.args
    other = second if first is last else first
    ours, theirs = value_of(last), value_of(other)
    if other is last or not isinstance(other, Node) or (_writes(add) and first is not last):
        return None
    same = isinstance(theirs, Tensor) and (ours.shape, ours.dtype, ours.device) == (
        theirs.shape,
        theirs.dtype,
        theirs.device,
    )
    return other if same else None


def _gates(product: Node) -> Gates | None:
    """Return the SE block that ends with ``product``, if one does."""
    if kind_of(product) != "mul" or len(product.args) != 2 or product.kwargs:
        return None
    for maps, gates in (product.args, product.args[::-1]):
        if isinstance(maps, Node) and isinstance(gates, Node) and isinstance(value_of(maps), Tensor):
            if _writes(product) and maps is not product.args[0]:
                continue
            branch = list(_upwards(gates, maps))
            found = _read(branch[::-1], maps, product) if branch else None
            if found is not None:
                return found
    return None


def _upwards(node: Any, maps: Node) -> Iterator[Node]:
    """Yield the nodes from the gates up to the maps, each by the value that it works on, or none."""
    passed: list[Node] = []
    while node is not maps:
        if not kind_of(node) or len(passed) > 16:
            return
        passed.append(node)
        first = node.args[0] if node.args else None
        node = node.args[1] if kind_of(node) == "mul" and first == 2 else first
    yield from passed


def _read(branch: list[Node], maps: Node, product: Node) -> Gates | None:
    """Return the SE block whose branch goes from ``maps`` through these nodes to ``product``."""
    computing = [node for node in branch if kind_of(node) not in ("view", "cast", "expand")]
    kinds = [kind_of(node) for node in computing]
    gate = "double_sigmoid" if kinds[4:] == ["sigmoid", "mul"] and 2 in computing[-1].args else kinds[-1]
    doubled = gate == "double_sigmoid"
    if len(kinds) != 5 + doubled or kinds[2] not in _ACTIVATIONS or not (doubled or gate in _GATES):
        return None
    squeeze, first, activation, second = computing[:4]
    inner = {*branch, product}
    layers = (*_layer(first), *_layer(second))
    channels = value_of(maps).shape[1] if value_of(maps).dim() > 1 else 0
    if (
        not _squeezes(squeeze, maps)
        or not all(_keeps_order(node) for node in branch if kind_of(node) != "expand")
        or any(kind_of(node) == "expand" for node in branch[: branch.index(computing[4])])
        or any(not set(node.users) <= inner for node in branch)
        or activation.kwargs.get("approximate", "none") != "none"
        or None in (layers[0], layers[2])
        or value_of(layers[0]).shape[1] != channels
        or value_of(layers[2]).shape[0] != channels
        or not _weighs(product, branch[-1], maps)
    ):
        return None
    return Gates(maps, (*branch, product), layers, kinds[2], gate)


def _layer(node: Node) -> tuple[Any, Any]:
    """Return weight and bias of a fully connected layer, also as a convolution of one pixel."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    weight, bias = given.get("weight"), given.get("bias")
    value = value_of(weight)
    if not isinstance(value, Tensor) or kind_of(node) not in ("linear", "conv"):
        return None, None
    taken = value_of(given["input"])
    if kind_of(node) == "conv":
        sizes = (*value.shape[2:], *taken.shape[2:], *value_of(node).shape[2:])
        # With one dimension less, a convolution takes the images for channels.
        if any(size != 1 for size in sizes) or taken.dim() != value.dim() or given.get("groups", 1) != 1:
            return None, None
    elif value.dim() != 2:
        return None, None
    return weight, bias


def _squeezes(node: Node, maps: Node) -> bool:
    """Whether ``node`` takes the mean of each map."""
    taken, of = value_of(node.args[0]), value_of(maps)
    if not isinstance(taken, Tensor) or taken.dim() < 3 or taken.shape[:2] != of.shape[:2]:
        return False
    if kind_of(node) == "pool":
        return all(size == 1 for size in value_of(node).shape[2:])
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = given if isinstance(given, list | tuple) else (given,)
    if kind_of(node) != "mean" or not all(isinstance(each, int) for each in dims):
        return False
    return {each % taken.dim() for each in dims} == set(range(2, taken.dim()))


def _keeps_order(node: Node) -> bool:
    """Whether ``node``, if it is a view or a cast, hands all values on in their order and as fractions."""
    kind, value = kind_of(node), value_of(node)
    if kind not in ("view", "cast"):
        return True
    if kind == "cast":
        return bool(value.dtype.is_floating_point)
    taken = value_of(node.args[0])
    if node.target is operator.getitem:
        index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        if not all(each is None or each is ... or isinstance(each, slice | int) for each in index):
            return False
    return bool(value.dtype == taken.dtype and value.numel() == taken.numel())


def _weighs(product: Node, gates: Node, maps: Node) -> bool:
    """Whether ``product`` has one factor for each channel of each image."""
    factors, of = value_of(gates), value_of(maps)
    if kind_of(gates) == "expand":
        factors = value_of(gates.args[0])
    return (
        value_of(product).shape == of.shape
        and factors.dim() == of.dim()
        and factors.shape[:2] == of.shape[:2]
        and all(size == 1 for size in factors.shape[2:])
    )


def _memory(node: Node) -> Any:
    """Return what tells whose memory the value of ``node`` lies in; nothing within a torch.func transform."""
    value = value_of(node)
    if not isinstance(value, Tensor) or torch._C._functorch.is_functorch_wrapped_tensor(value):
        return None
    return value.untyped_storage()._cdata


def _writes(node: Node) -> bool:
    """Whether ``node`` writes its result into its first argument."""
    return bool(_written_by(node))


def _written_by(node: Node) -> list[Node]:
    """Return the nodes into whose values ``node`` writes."""
    if node.op not in ("call_function", "call_method"):
        return []
    if kind_of(node) == "bn":
        given = _bn_arguments(node)
        moved = (given["running_mean"], given["running_var"]) if given["training"] else ()
        return [each for each in moved if isinstance(each, Node)]
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = node.target in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))
    at = _place_of_inplace(node.target)
    positional = at is not None and node.args[at : at + 1] == (True,)
    in_place = in_place or positional or bool(node.kwargs.get("inplace"))
    first = node.args[:1] if in_place else ()
    return [each for each in tree_leaves((first, node.kwargs.get("out"))) if isinstance(each, Node)]


@cache
def _place_of_inplace(target: Any) -> int | None:
    """Return the position of the argument ``inplace`` of a function of PyTorch's, if it has one."""
    code = getattr(target, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    return names.index("inplace") if "inplace" in names else None


def _switches(node: Node) -> bool:
    """Whether ``node`` changes how later ones run: what switches gradients or autocast returns nothing."""
    return node.op == "call_function" and value_of(node) is None and node.target not in _HARMLESS
