"""Finds the units of a network by how its maps meet: sums, concatenations, or neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from senet.surgery.flat_graph import FlatGraph
from senet.surgery.insertion_report import ALREADY
from senet.surgery.kinds_of_nodes import Kinds
from senet.surgery.regions import Region, Regions
from senet.text import counted

Shape = Literal["residual", "concatenated", "inception", "convolution", "no sum", "named"]
_LONG = "a long skip connection: its branch upsamples"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part of a network that may get SE.

    Attributes:
        name: of the module whose forward runs it; empty for the model itself.
        shape: how its maps meet. ``"concatenated"`` stands for a branch whose output is put beside its
            input, ``"inception"`` for branches side by side.
        kind: what it is called, such as ``bottleneck``.
        end: the node that SE weighs by the paper's rule.
        join: the sum or concatenation, or ``None``.
        branch: the nodes of the branch that ends with `end`.
        shortcut: the nodes of the other side of a sum, none where that is the identity.
        fork: the node that branch and shortcut start from, or ``None``.
        reason: why it gets no SE, or empty.
    """

    name: str
    shape: Shape
    kind: str
    end: Node
    join: Node | None = None
    branch: tuple[Node, ...] = ()
    shortcut: tuple[Node, ...] = ()
    fork: Node | None = None
    reason: str = ""


class UnitFinder:
    """Finds the units of a network.

    Args:
        flat: its graph.
    """

    def __init__(self, flat: FlatGraph) -> None:
        self.flat = flat
        self.kinds = Kinds(flat)
        self.regions = Regions(flat.nodes, self.kinds.sources)

    def units(self) -> list[Unit]:
        """Return the units in the order in which they run, those that get no SE with the reason."""
        sums = list(self._sums())
        residual = [(unit, region) for unit, region in sums if not unit.reason]
        inside = {node for _, region in residual for node in region.nodes}
        found = [self._checked(unit, region, residual) for unit, region in sums if region.join not in inside]
        found += [self._checked(unit, region, residual) for unit, region in residual if region.join in inside]
        found += self._concats(residual)
        if not any(unit.reason != _LONG for unit in found):
            joined = list(self._joined_otherwise())
            # What looks like a plain network may have its sums in a part that could not be read.
            found += joined if joined or self.flat.unread else self._convolutions()
        found += self._without_sum(found)
        return sorted(_once(found), key=lambda unit: self.regions.order[unit.end])

    def has_se(self, nodes: Iterable[Node]) -> bool:
        """Whether some channels are weighed among ``nodes``."""
        return any(self._weighs(node) for node in nodes)

    def _weighs(self, node: Node) -> bool:
        if self.kinds.excites(node):
            return True
        layer = self.flat.layer(node)
        if layer is not None and sounds_like_se(layer):
            return True
        if not self.kinds.is_product(node):
            return False
        region = self.regions.region(node, self.kinds.sources(node))
        return region is not None and any(map(self.kinds.is_global_pool, region.nodes))

    def _sums(self) -> Iterator[tuple[Unit, Region]]:
        for node in self.flat.nodes:
            if not self.kinds.is_sum(node):
                continue
            region = self.regions.region(node, self.kinds.sources(node))
            unit = None if region is None else self._of_sum(region)
            if region is not None and unit is not None:
                yield unit, region

    def _of_sum(self, region: Region) -> Unit | None:
        """Return the unit that ends in a sum, or ``None`` where no branch with a convolution does."""
        kinds = self.kinds
        works = {operand: self._work(side) for operand, side in region.sides.items()}
        end = max(works, key=lambda each: works[each])
        branch = region.sides[end]
        other = next((each for each in region.sides if each is not end), end)
        shortcut = region.sides[other]
        if not any(map(kinds.is_convolution, branch)) or any(map(kinds.is_split, shortcut)):
            return None
        reason = ""
        if any(map(kinds.is_upsampling, region.nodes)):
            reason = _LONG
        elif works[other] == works[end]:
            reason = (
                f"both inputs of its sum come from {counted(works[end], 'layer')}: it is not "
                "clear which "
                "is the shortcut"
            )
        return Unit(
            name=self.flat.scopes[region.join],
            shape="residual",
            kind=self._kind(region, branch),
            end=end,
            join=region.join,
            branch=branch,
            shortcut=shortcut,
            fork=region.fork,
            reason=reason,
        )

    def _checked(self, unit: Unit, region: Region, residual: list[tuple[Unit, Region]]) -> Unit:
        if unit.reason:
            return unit
        if any(other.join in region.nodes for other, _ in residual if other.join is not None):
            return _refused(unit, "a long skip connection: its branch consists of whole units")
        return self._unless_has_se(unit, region.nodes)

    def _unless_has_se(self, unit: Unit, nodes: Iterable[Node]) -> Unit:
        behind = [user for each in (unit.end, unit.join) if each is not None for user in self._next(each)]
        return _refused(unit, ALREADY) if self.has_se((*nodes, *behind)) else unit

    def _next(self, node: Node) -> Iterator[Node]:
        """Yield what takes the output of ``node``, also by way of a ReLU."""
        for user in self.kinds.users(node):
            yield user
            if self.kinds.is_activation(user) or self.kinds.is_passed(user):
                yield from self._next(user)

    def _concats(self, residual: list[tuple[Unit, Region]]) -> list[Unit]:
        inside = {node for _, region in residual for node in region.nodes}
        joins = {region.join for _, region in residual}
        regions = []
        for node in self.flat.nodes:
            if self.kinds.is_concat(node) and node not in inside:
                region = self.regions.region(node, dict.fromkeys(self.kinds.sources(node)))
                if region is not None and not joins & region.nodes:
                    regions.append(region)
        found: list[Unit] = []
        outer: set[Node] = set()
        for region in reversed(regions):
            if region.join not in outer:
                units = list(self._of_concat(region))
                found += units
                if any(unit.shape == "inception" for unit in units):
                    outer |= region.nodes
        return found

    def _of_concat(self, region: Region) -> Iterator[Unit]:
        sides, fork = region.sides, region.fork
        working = [operand for operand, side in sides.items() if self._work(side)]
        follow_each_other = any(
            one is fork or any(one in side for other, side in sides.items() if other is not one)
            for one in sides
        )
        if not any(self.kinds.is_convolution(node) for node in region.nodes):
            return
        if any(map(self.kinds.is_upsampling, region.nodes)):
            yield self._unit(region, region.join, "concatenated", "", _LONG)
        elif follow_each_other or (len(sides) == 2 and len(working) == 1):
            for operand in working:
                yield self._unit(region, operand, "concatenated", "concatenated branch")
        elif len(working) > 1:
            yield self._unit(region, region.join, "inception", "inception")

    def _unit(self, region: Region, end: Node, shape: Shape, kind: str, reason: str = "") -> Unit:
        branch = region.sides.get(end, ())
        unit = Unit(
            name=self.flat.scopes[end if shape == "concatenated" and not reason else region.join],
            shape=shape,
            kind=kind or shape,
            end=end,
            join=region.join,
            branch=branch,
            fork=region.fork,
            reason=reason,
        )
        if reason:
            return unit
        # In a dense block the layers before belong to other units.
        nodes = [node for node in branch if self.flat.scopes[node] == unit.name] or list(branch)
        return self._unless_has_se(unit, region.nodes if shape == "inception" else nodes)

    def _joined_otherwise(self) -> Iterator[Unit]:
        """Yield a unit for each function in which maps meet that is neither a sum nor a concatenation."""
        known = (self.kinds.is_sum, self.kinds.is_concat, self.kinds.is_product)
        for node in self.flat.nodes:
            sources = dict.fromkeys(self.kinds.sources(node))
            if len(sources) < 2 or node.op == "output" or any(each(node) for each in known):
                continue
            region = self.regions.region(node, sources)
            if region is not None and any(map(self.kinds.is_convolution, region.nodes)):
                reason = f"its branches meet in {self.kinds.name(node)}, which is not a known sum"
                yield Unit(name=self.flat.scopes[node], shape="no sum", kind="unit", end=node, reason=reason)

    def _convolutions(self) -> Iterator[Unit]:
        """Yield a unit for each convolution of a network that has neither sums nor concatenations."""
        for node in self.flat.nodes:
            if not self.kinds.is_convolution(node):
                continue
            end, reason = self._non_linearity(node)
            layer = self.flat.layer(node)
            if isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels:
                reason = "a depthwise convolution: SE belongs after the pointwise one that follows"
            name = str(node.target) if layer is not None else self.flat.scopes[node]
            unit = Unit(name=name, shape="convolution", kind="convolution", end=end, reason=reason)
            yield unit if reason else self._unless_has_se(unit, (end,))

    def _non_linearity(self, node: Node) -> tuple[Node, str]:
        """Return the non-linearity behind a convolution, or its last layer and why there is none."""
        while True:
            users = self.kinds.users(node)
            follower = users[0] if len(users) == 1 else None
            if follower is not None and self.kinds.is_activation(follower):
                return follower, ""
            if follower is None or not (self.kinds.is_norm(follower) or self.kinds.is_passed(follower)):
                return node, "no non-linearity follows it"
            node = follower

    def _without_sum(self, units: list[Unit]) -> Iterator[Unit]:
        """Yield the modules of the classes that make up the units with a sum, but have none."""
        like_these = [unit for unit in units if unit.shape == "residual" and unit.name]
        kinds = {type(self.flat.model.get_submodule(unit.name)): unit for unit in like_these}
        ends = {name: node for node, names in self.flat.outputs.items() for name in names}
        known = {unit.name for unit in units}
        for name, module in self.flat.model.named_modules():
            like = kinds.get(type(module))
            if like is None or name in known or name not in ends or isinstance(module, nn.Sequential):
                continue
            nodes = [each for each in self.flat.nodes if _is_within(self.flat.scopes.get(each, ""), name)]
            reason = ALREADY if self.has_se(nodes) else "no sum: nothing is added to its output"
            yield Unit(name=name, shape="no sum", kind=like.kind, end=ends[name], reason=reason)

    def _work(self, nodes: Iterable[Node]) -> int:
        return sum(map(self.kinds.work, nodes))

    def _kind(self, region: Region, branch: tuple[Node, ...]) -> str:
        """Return what a residual unit is called."""
        layers = [self.flat.layer(node) for node in self.main_path(branch) if self.kinds.is_convolution(node)]
        convolutions = [each for each in layers if isinstance(each, _ConvNd)]
        depthwise = [each for each in convolutions if 1 < each.groups == each.in_channels]
        if depthwise and any(isinstance(self.flat.layer(node), nn.Linear) for node in branch):
            return "ConvNeXt"
        if depthwise:
            widens = depthwise[0].in_channels > convolutions[0].in_channels
            return "inverted residual" if widens else "depthwise bottleneck"
        name = {1: "single", 2: "basic", 3: "bottleneck"}.get(len(layers), f"{len(layers)} convolutions")
        if any(each.groups > 1 for each in convolutions):
            name = f"grouped {name}"
        computing = (node for node in branch if self.kinds.work(node) or self.kinds.is_norm(node))
        first = next(computing, branch[0])
        shares = self.flat.scopes[region.fork] == self.flat.scopes[region.join]
        normalised = self.kinds.is_norm(first) or (shares and self._is_prepared(region.fork))
        return f"pre-activation {name}" if normalised else name

    def _is_prepared(self, node: Node) -> bool:
        return self.kinds.is_activation(node) or self.kinds.is_norm(node)

    def main_path(self, branch: tuple[Node, ...]) -> list[Node]:
        """Return the nodes of a branch without those that run on pooled maps, as the layers of SE do."""
        pooled: set[Node] = set()
        for node in branch:
            behind = any(each in pooled for each in self.kinds.sources(node))
            if self.kinds.is_global_pool(node) or (behind and not self.kinds.is_product(node)):
                pooled.add(node)
        return [node for node in branch if node not in pooled]


def _refused(unit: Unit, reason: str) -> Unit:
    return Unit(**{**vars(unit), "reason": reason})


def _once(units: Iterable[Unit]) -> list[Unit]:
    """Leave out what was found again: the layers of a dense block take part in every later concatenation."""
    return list({(unit.end, unit.shape): unit for unit in reversed(list(units))}.values())


def _is_within(scope: str, name: str) -> bool:
    return scope == name or scope.startswith(f"{name}.")


def sounds_like_se(module: nn.Module) -> bool:
    """Whether the class name says that this is a kind of SE block, and not a network of such."""
    name = type(module).__name__
    norms = any(isinstance(each, nn.modules.batchnorm._NormBase) for each in module.modules())
    return bool(_SOUNDS_LIKE_SE.search(name)) and not norms


_SOUNDS_LIKE_SE = re.compile(r"SE(?![a-z])|[Ss]queeze|[Ee]xcit")
