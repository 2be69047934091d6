"""What lies between the node where a model forks and the one where its branches meet again."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch.fx import Node


@dataclass(frozen=True)
class Region:
    """The nodes between a fork and a join.

    Attributes:
        fork: the last node through which everything goes that meets in the join.
        join: a sum or a concatenation.
        sides: for each operand of the join what it alone needs from the fork on, in the order of the graph;
            empty where the operand is the fork itself.
    """

    fork: Node
    join: Node
    sides: Mapping[Node, tuple[Node, ...]]

    @property
    def nodes(self) -> frozenset[Node]:
        """All nodes in between."""
        return frozenset(node for side in self.sides.values() for node in side)


class Regions:
    """Finds forks.

    Args:
        nodes: of a graph, in order.
        sources: returns the maps that a node takes.
    """

    def __init__(self, nodes: Iterable[Node], sources: Callable[[Node], list[Node]]) -> None:
        self.order = {node: index for index, node in enumerate(nodes)}
        self.sources = sources

    def region(self, join: Node, operands: Iterable[Node]) -> Region | None:
        """Return what lies between ``operands`` of ``join`` and where they come from, if that is one node."""
        operands = list(operands)
        fork = self._fork(operands)
        if fork is None:
            return None
        return Region(fork, join, {each: self._side(each, fork) for each in operands})

    def _fork(self, operands: list[Node]) -> Node | None:
        """Go back from the latest node to the next until one is left."""
        waiting = [(-self.order[node], node) for node in set(operands)]
        heapq.heapify(waiting)
        seen = set(operands)
        while len(waiting) > 1:
            _, node = heapq.heappop(waiting)
            sources = self.sources(node)
            if not sources:
                return None
            for source in sources:
                if source not in seen:
                    seen.add(source)
                    heapq.heappush(waiting, (-self.order[source], source))
        return waiting[0][1]

    def _side(self, operand: Node, fork: Node) -> tuple[Node, ...]:
        found: set[Node] = set()
        waiting = [operand]
        while waiting:
            node = waiting.pop()
            if node is not fork and node not in found:
                found.add(node)
                waiting += self.sources(node)
        return tuple(sorted(found, key=self.order.__getitem__))
