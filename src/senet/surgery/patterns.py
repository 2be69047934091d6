"""Finds the tails in the graph of a block: what stands between a convolution and the next one."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.fx import Graph, Node
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from senet.blocks.attached import attached_block, position_of
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import NORM_FORWARDS
from senet.surgery.foreign_se import sounds_like_se
from senet.surgery.known_layers import KnownLayers

_SUMS = (operator.add, operator.iadd, torch.add)
_RELUS = (functional.relu, functional.relu_, torch.relu, torch.relu_)
_FOLLOWS = {"bn": ("relu", "se", "add"), "se": ("add", "relu"), "add": ("relu",), "relu": ()}
"""What may stand behind each step; SE behind a ReLU is a case of its own."""


@dataclass
class Place:
    """A tail in a graph, or a BatchNorm or SE block that is none.

    Attributes:
        nodes: from the BatchNorm or the SE block on, with what is looked through.
        steps: the node of each step, in order.
        stop: why the tail ends here, where something says so.
        is_cut: whether it could have been expected to go on.
    """

    nodes: list[Node] = field(default_factory=list)
    steps: dict[str, Node] = field(default_factory=dict)
    stop: str = ""
    is_cut: bool = False

    @property
    def y(self) -> Node:
        """What the tail takes."""
        y = self.nodes[0].args[0]
        assert isinstance(y, Node)
        return y

    @property
    def shortcut(self) -> Node | None:
        """What the sum adds, if there is one."""
        add = self.steps.get("add")
        if add is None:
            return None
        shortcut = _other_operand(add, self.nodes[self.nodes.index(add) - 1])
        assert isinstance(shortcut, Node)
        return shortcut

    @property
    def relu_first(self) -> bool:
        """Whether a ReLU stands before SE."""
        order = list(self.steps)
        return "relu" in order and order[-1] == "se"

    @property
    def is_worth_it(self) -> bool:
        """Whether there is anything to fuse: a BatchNorm alone is one operator already."""
        return list(self.steps) != ["bn"]

    def __str__(self) -> str:
        return " ".join(self.steps)


def find_places(graph: Graph, block: nn.Module, known: KnownLayers) -> list[Place]:
    """Return a place for each BatchNorm and each SE block that ``graph`` calls.

    Args:
        graph: of ``block``.
        block: of which the modules are.
        known: the layers among them that are not PyTorch's.
    """
    kinds = {node: step_of(node, block, known) for node in graph.nodes}
    taken: set[Node] = set()

    def tail_from(start: Node) -> Place:
        place = Place([start], {kinds[start]: start})
        if has_relu(start, block, known):
            place.steps["relu"] = start
        _add_attached(place, start, block)
        _complete(place, kinds, block, taken)
        return place

    # Where two branches meet in a sum, the longer tail takes it: the one with SE.
    starts = [node for kind in ("bn", "se") for node in graph.nodes if kinds[node] == kind]
    lengths = {node: len(tail_from(node).steps) for node in starts}
    places = []
    for node in sorted(starts, key=lambda node: (kinds[node] != "bn", -lengths[node])):
        if node not in taken:
            places.append(tail_from(node))
            taken.update(places[-1].nodes)
    return places


def called_by(node: Node, block: nn.Module) -> nn.Module | None:
    """Return the module in ``block`` that ``node`` calls, or ``None`` where it calls none."""
    return block.get_submodule(str(node.target)) if node.op == "call_module" else None


def _complete(place: Place, kinds: Mapping[Node, str], block: nn.Module, taken: set[Node]) -> None:
    """Let a tail of one layer go on as far as it can, without what other tails have taken."""
    start = place.nodes[0]
    if len(start.args) != 1 or start.kwargs or not isinstance(start.args[0], Node):
        place.stop = "it takes more than one input"
        return
    passed: list[Node] = []
    while True:
        last = passed[-1] if passed else place.nodes[-1]
        if len(last.users) != 1:
            _end(place, last, kinds)
            return
        follower = next(iter(last.users))
        kind = kinds[follower]
        if kind == "identity":
            passed.append(follower)
            continue
        if kind not in _followers(place):
            place.stop, place.is_cut = _why_no_more(follower, block)
            return
        if follower in taken:
            place.stop = "the sum runs with the other branch"
            return
        unfit = _unfit(place, last, follower, kind) or _sits_behind_sum(place, follower, block)
        if unfit:
            place.stop, place.is_cut = unfit, True
            return
        place.nodes += [*passed, follower]
        place.steps[kind] = follower
        _add_attached(place, follower, block)
        passed = []


def _add_attached(place: Place, node: Node, block: nn.Module) -> None:
    """Add the SE block that sits on the layer that ``node`` calls: `senet.blocks.tail` finds it there."""
    module = called_by(node, block)
    steps = {"after": ("se",), "after relu": ("relu", "se")}
    if (
        module is not None
        and isinstance(attached_block(module), SqueezeExcitation)
        and "se" not in place.steps
    ):
        for step in steps.get(position_of(module) or "", ()):
            place.steps.setdefault(step, node)


def _sits_behind_sum(place: Place, follower: Node, block: nn.Module) -> str:
    """Return why the layer behind a sum is no part of the tail, a block on it coming last, or no reason."""
    module = called_by(follower, block)
    sits = module is not None and "add" in place.steps and position_of(module) is not None
    return "SE follows the sum" if sits else ""


def _end(place: Place, last: Node, kinds: Mapping[Node, str]) -> None:
    """Say why the tail ends with ``last``, which has no user or several."""
    users = [kinds[user] for user in last.users]
    if users:
        place.stop = "its output is used more than once"
        place.is_cut = any(kind in _followers(place) for kind in users)


def _followers(place: Place) -> tuple[str, ...]:
    order = tuple(place.steps)
    return ("se",) if order == ("bn", "relu") else () if place.relu_first else _FOLLOWS[order[-1]]


def has_relu(bn: Node, block: nn.Module, known: KnownLayers) -> bool:
    """Whether the BatchNorm that ``bn`` calls goes on with a ReLU itself."""
    module = called_by(bn, block)
    return module is not None and module in known.norms and bool(known.norms[module].relu)


def step_of(node: Node, block: nn.Module, known: KnownLayers) -> str:
    """Return which step of a tail ``node`` of the graph of ``block`` is, ``"identity"``, or an empty text."""
    module = called_by(node, block)
    if isinstance(module, _BatchNorm):
        return "bn" if type(module).forward in NORM_FORWARDS or module in known.norms else ""
    if module is not None:
        return (
            "se" if module in known.se else {nn.ReLU: "relu", nn.Identity: "identity"}.get(type(module), "")
        )
    if node.target in _SUMS or (node.op == "call_method" and node.target in ("add", "add_")):
        return "add" if len(node.args) == 2 and not node.kwargs else ""
    if node.target in _RELUS or (node.op == "call_method" and node.target in ("relu", "relu_")):
        return "relu" if len(node.args) == 1 else ""
    return ""


def _unfit(place: Place, last: Node, follower: Node, kind: str) -> str:
    """Return why ``follower``, of a fitting kind, cannot be part of the tail, or an empty text."""
    if kind == "add":
        if not isinstance(_other_operand(follower, last), Node):
            return "the sum has no second branch"
        if is_in_place(follower) and follower.args[0] is not last:
            return "the sum is written into the shortcut"
    elif follower.args[0] is not last or (kind == "se" and follower.kwargs):
        return "the layer after it uses more than its output"
    watched = {place.y, place.shortcut} - {None}
    node = last.next
    while node is not follower:
        if watched & set(node.all_input_nodes):
            return "its input is also used before the fused layers end"
        node = node.next
    return ""


def is_in_place(add: Node) -> bool:
    """Whether a sum is written into its first operand."""
    return add.target in (operator.iadd, "add_")


def _other_operand(add: Node, known: Node) -> object:
    first, second = add.args
    if first is known:
        return None if second is known else second
    return first


def _why_no_more(follower: Node, block: nn.Module) -> tuple[str, bool]:
    """Return what ends the tail, and whether it could have been expected to go on."""
    if follower.op == "output":
        return "", False
    module = called_by(follower, block)
    if module is None:
        name = follower.target if isinstance(follower.target, str) else follower.target.__name__
        return f"{name} follows it", False
    name = type(module).__name__
    if name.startswith(("DropPath", "StochasticDepth")):
        return f"stochastic depth ({name}) follows it", True
    return f"{name} follows it", sounds_like_se(module)
