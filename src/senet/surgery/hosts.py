"""Finds the module on which a block has to sit to weigh what a node of the graph returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.fx import Node

from senet.blocks.attached import NAME, Position, attached_block
from senet.surgery.flat_graph import FlatGraph
from senet.surgery.kinds_of_nodes import Kinds


@dataclass(frozen=True)
class Host:
    """A module on which a block sits.

    Attributes:
        name: of the module.
        position: of the block.
        node: whose output the block weighs; for ``"before"`` what the module takes.
    """

    name: str
    position: Position
    node: Node


class HostFinder:
    """Finds hosts in a model.

    Args:
        flat: its graph.
        kinds: what its nodes compute.
    """

    def __init__(self, flat: FlatGraph, kinds: Kinds) -> None:
        self.flat = flat
        self.kinds = kinds

    def behind(self, end: Node, *, used_once: bool = False) -> Host | str:
        """Return the host of a block that weighs ``end``, or why there is none.

        In front of dropout and stochastic depth, which may drop all channels, the block sees more.

        Args:
            end: a map.
            used_once: whether nothing but the join may take it.
        """
        chain = self._chain(end)
        if used_once and any(len(self.kinds.users(node)) > 1 for node in chain):
            return "the output of its branch is also used elsewhere"
        last = chain[-1]
        host = self._module_behind(last)
        if host is None and self.kinds.is_relu(last):
            return self._behind_relu(last)
        host = host or self._module_in_front(chain[:-1])
        if host is not None:
            return self._checked(host)
        return self.behind(self.kinds.sources(last)[0]) if self.kinds.is_scale(last) else self._nothing(last)

    def in_front_of(self, node: Node) -> Host | str:
        """Return the host of a block that weighs what the layer ``node`` takes, or why there is none."""
        if self.flat.layer(node) is None:
            return f"its branch begins with the function {self.kinds.name(node)}, not with a module"
        if not node.args or node.args[0] not in self.kinds.maps:
            return "its first layer takes its input as a keyword"
        return self._checked(Host(str(node.target), "before", node.args[0]))  # type: ignore[arg-type]

    def of_module(self, name: str) -> Host | str:
        """Return the host for a block behind a module that the user names."""
        for node in self.flat.nodes:
            if node.op == "call_module" and node.target == name:
                return self._checked(Host(name, "after", node))
        for node, modules in self.flat.outputs.items():
            if name in modules:
                return self.behind(node)
        return "tracing the model does not show a call to it"

    def _module_behind(self, node: Node) -> Host | None:
        """Return a module that returns ``node``, if there is one."""
        if self.flat.layer(node) is not None and not self._is_shared_activation(node):
            return Host(str(node.target), "after", node)
        modules = self.flat.outputs.get(self._shuffled(node), ())
        return next((Host(each, "after", node) for each in modules if self._may_host(each)), None)

    def _module_in_front(self, chain: list[Node]) -> Host | None:
        """Return a module that takes what comes out of the end of ``chain``, if there is one."""
        for node in chain:
            if self.flat.layer(node) is not None and node.args and self._is_used_once(node):
                return Host(str(node.target), "before", node.args[0])  # type: ignore[arg-type]
        return None

    def _chain(self, end: Node) -> list[Node]:
        """Return ``end`` and what is in front of it, back to the first node that computes something."""
        chain = [end]
        while self.kinds.is_passed(chain[-1]) and self.kinds.sources(chain[-1]):
            chain.append(self.kinds.sources(chain[-1])[0])
        return chain

    def _shuffled(self, node: Node) -> Node:
        """Return what a channel shuffle makes of a concatenation, whose order SE ignores, if any."""
        concat, moves = node, []
        if not self.kinds.is_concat(node):
            return node
        while len(self.kinds.users(node)) == 1 and self.kinds.is_move(self.kinds.users(node)[0]):
            node = self.kinds.users(node)[0]
            moves.append(self.kinds.name(node))
        steps = [each.replace("view", "reshape") for each in moves if each != "contiguous"]
        is_shuffle = steps in (["reshape", "transpose", "reshape"], ["channelshuffle"])
        return node if is_shuffle and self.flat.outputs.get(node) else concat

    def _behind_relu(self, relu: Node) -> Host | str:
        """Return the layer in front of a ReLU that no module of its own runs."""
        source = self._chain(self.kinds.sources(relu)[0])[-1]
        if self.flat.layer(source) is None:
            return self._nothing(relu)
        if len(self.kinds.users(source)) > 1:
            return "the input of its ReLU is also used elsewhere"
        return self._checked(Host(str(source.target), "after relu", relu))

    def _checked(self, host: Host) -> Host | str:
        module = self.flat.model.get_submodule(host.name)
        if hasattr(module, NAME) and attached_block(module) is None:
            return f"{host.name} already has an attribute {NAME!r}, which the block needs"
        if host.position != "before" and isinstance(module, nn.Linear | nn.Flatten):
            return f"the output of {host.name} does not have channels as its second dimension"
        return host

    def _may_host(self, name: str) -> bool:
        """Whether a module with children can take one more: those that run all their children cannot."""
        module = self.flat.model.get_submodule(name)
        containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        return bool(name) and not isinstance(module, containers)

    def _is_shared_activation(self, node: Node) -> bool:
        return self.kinds.is_activation(node) and self.flat.calls(str(node.target)) > 1

    def _is_used_once(self, node: Node) -> bool:
        return self.flat.calls(str(node.target)) == 1 and len(self.kinds.users(node)) == 1

    def _nothing(self, node: Node) -> str:
        name, scope = self.kinds.name(node), self.flat.scopes[node]
        layer = self.flat.layer(node)
        what = f"the function {name}" if layer is None else f"{node.target}, which is called several times"
        return (
            f"the input of SE would come from {what} in {scope or 'the model'}, which is not the output "
            "of a module: make it a module"
        )
