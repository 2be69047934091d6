"""Finds the modules that end in a BatchNorm, for whose tails the block around them has the other half.

In ``relu(se(body(x)) + x)`` the BatchNorm is the last layer of ``body``. Such a module is written into the
forward around it, so that BatchNorm, SE, sum and ReLU stand in one graph.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.fx import Graph, Node

from senet.blocks.attached import attached
from senet.surgery.conditions import is_touched, joined
from senet.surgery.known_layers import KnownLayers
from senet.surgery.patterns import called_by, has_relu, step_of


class Inliner:
    """Says for each block which modules in it are written into its forward.

    Args:
        known: the layers of the model that are not PyTorch's.
        graph_of: returns the graph of a module, or ``None`` where it stays as it is.
    """

    def __init__(self, known: KnownLayers, graph_of: Callable[[nn.Module], Graph | None]) -> None:
        self.known = known
        self.graph_of = graph_of

    def inlined(self, block: nn.Module) -> frozenset[str]:
        """Return the modules to be written into the forward of ``block``, by their names in it."""
        graph = self.graph_of(block)
        names: set[str] = set()
        for node in () if graph is None else graph.nodes:
            for name, ending in self._other_halves(block, node):
                inner = self.inlined(block.get_submodule(name))
                names |= {name, *(joined(name, each) for each in (*ending, *inner))}
        return frozenset(names)

    def _other_halves(self, block: nn.Module, node: Node) -> list[tuple[str, tuple[str, ...]]]:
        """Return the module whose last BatchNorm belongs to the tail that goes on with ``node``, if any."""
        step = step_of(node, block, self.known)
        if step not in ("se", "add", "relu"):
            return []
        sources = [self._source(block, each) for each in node.args if isinstance(each, Node)]
        if step == "add" and any(self._takes_sum(block, source) for source in sources):
            return []
        found = []
        for source in sources:
            ending = self._ending(block, source)
            if ending is not None and len(source.users) == 1 and (not ending[1] or step == "se"):
                found.append((str(source.target), ending[0]))
        # A sum runs with one of its branches: with the one that ends in SE.
        found.sort(key=lambda each: any(attached(block.get_submodule(each[0]))))
        return found[-1:]

    def _ending(self, block: nn.Module, call: Node) -> tuple[tuple[str, ...], bool] | None:
        """Return what ``call`` calls if it ends in a BatchNorm.

        Returns:
            The modules in it that end in this BatchNorm too, from the outside, and whether a ReLU follows it.
        """
        module = called_by(call, block)
        if module is None or is_touched(module) or module in self.known.se:
            return None
        graph = self.graph_of(module)
        if graph is None or len(call.args) != 1 or call.kwargs:
            return None
        last = next(iter(reversed(graph.nodes))).args[0]
        if not isinstance(last, Node):
            return None
        last = self._source(module, last)
        behind = last.args[0] if step_of(last, module, self.known) == "relu" else None
        if isinstance(behind, Node):
            last = self._source(module, behind)
        if step_of(last, module, self.known) == "bn":
            modules: tuple[str, ...] = ()
            with_relu = has_relu(last, module, self.known)
        else:
            inner = self._ending(module, last)
            if inner is None:
                return None
            name, with_relu = str(last.target), inner[1]
            modules = (name, *(joined(name, each) for each in inner[0]))
        return None if behind is not None and with_relu else (modules, behind is not None or with_relu)

    def _source(self, block: nn.Module, node: Node) -> Node:
        """Return where ``node`` comes from, looking through identities."""
        while step_of(node, block, self.known) == "identity" and isinstance(node.args[0], Node):
            node = node.args[0]
        return node

    def _takes_sum(self, block: nn.Module, node: Node) -> bool:
        """Whether the tail that ``node`` belongs to goes on with a sum."""
        step = step_of(node, block, self.known)
        return step == "se" or (step == "bn" and not has_relu(node, block, self.known))
