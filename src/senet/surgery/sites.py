"""Chooses among the units of a network those that get SE, and the module on which each block sits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from senet.blocks.se_config import Placement
from senet.errors import SenetError, nearest
from senet.surgery.flat_graph import FlatGraph
from senet.surgery.hosts import Host, HostFinder
from senet.surgery.insertion_report import ALREADY
from senet.surgery.units import Unit, UnitFinder
from senet.text import counted

_ELSEWHERE = "excluded by where="


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A unit with all that is known on the place of its block.

    Attributes:
        unit: what was found.
        host: of the block, or ``None`` where there is none.
        channels: that the block weighs; 0 where nothing tells them.
        dimensions: of the maps in space.
        size: of the maps in space, empty where it is not known.
        stage: numbered as in the paper, or ``None``.
        reason: why the unit gets no SE, or empty.
    """

    unit: Unit
    host: Host | None = None
    channels: int = 0
    dimensions: int = 2
    size: tuple[int, ...] = ()
    stage: int | None = None
    reason: str = ""

    @property
    def is_for_the_asking(self) -> bool:
        """Whether SE is left out by a rule only: who names the unit gets it."""
        asked = self.unit.shape in ("no sum", "convolution", "named")
        return not self.reason or (asked and self.reason == self.unit.reason != ALREADY)


class SiteFinder:
    """Finds the places for SE in a model.

    Args:
        flat: its graph.
        placement: as in `senet.SEConfig`.
    """

    def __init__(self, flat: FlatGraph, placement: Placement = "standard") -> None:
        self.flat = flat
        self.placement = placement
        self.finder = UnitFinder(flat)
        self.kinds = self.finder.kinds
        self.hosts = HostFinder(flat, self.kinds)
        units = self.finder.units()
        self.first_stage = self._first_stage(units)
        candidates = self._with_shared_hosts([self._candidate(unit) for unit in units])
        self.candidates = _told_apart(candidates)

    def chosen(self, stages: Sequence[int] | None, names: Sequence[str] | None) -> list[Candidate]:
        """Return all candidates, those without a reason being chosen.

        Args:
            stages: that get SE, or ``None`` for all.
            names: of units or modules, with ``*`` for any letters, or ``None`` for all units.

        Raises:
            SenetError: a stage or a name that the model does not have.
        """
        chosen = self.candidates if names is None else self._named(names)
        return chosen if stages is None else self._of_stages(chosen, stages)

    def _candidate(self, unit: Unit) -> Candidate:
        stage = self._stage(unit.end)
        if unit.reason == ALREADY:
            return Candidate(unit=unit, stage=stage, reason=ALREADY)
        host = self._host(unit)
        if isinstance(host, str):
            return Candidate(unit=unit, stage=stage, reason=unit.reason or host)
        channels = self.kinds.channels(host.node)
        untold = "" if channels else "its number of channels is unknown: give example_input"
        return Candidate(
            unit=unit,
            host=host,
            channels=channels or 0,
            dimensions=self.kinds.dimensions(host.node),
            size=self.flat.shapes.get(host.node, ())[2:],
            stage=stage,
            reason=unit.reason or untold,
        )

    def _host(self, unit: Unit) -> Host | str:
        """Return where the block of a unit sits, or why it has no place."""
        if self.placement == "standard" or unit.shape == "named":
            return self.hosts.behind(unit.end, used_once=unit.shape == "residual")
        if unit.shape not in ("residual", "concatenated"):
            return f"the placement {self.placement!r} only exists in units with a sum"
        places = {"pre": self._before_branch, "post": self._behind_sum, "identity": self._on_shortcut}
        return places.get(self.placement, self._behind_conv3x3)(unit)

    def _before_branch(self, unit: Unit) -> Host | str:
        first = [each for each in unit.branch if unit.fork in self.kinds.sources(each)]
        if len(first) != 1:
            return f"its branch begins with {counted(len(first), 'layer')}, not with one"
        return self.hosts.in_front_of(first[0])

    def _behind_sum(self, unit: Unit) -> Host | str:
        assert unit.join is not None
        users = self.kinds.users(unit.join)
        is_followed = len(users) == 1 and self.kinds.is_activation(users[0])
        return self.hosts.behind(users[0] if is_followed else unit.join)

    def _on_shortcut(self, unit: Unit) -> Host | str:
        if not unit.shortcut:
            return "its shortcut is the identity, which is not the output of a module that SE could follow"
        return self.hosts.behind(unit.shortcut[-1], used_once=True)

    def _behind_conv3x3(self, unit: Unit) -> Host | str:
        for node in self.finder.main_path(unit.branch):
            layer = self.flat.layer(node)
            if isinstance(layer, _ConvNd) and set(layer.kernel_size) == {3}:
                users = self.kinds.users(node)
                normalised = len(users) == 1 and self.kinds.is_norm(users[0])
                return self.hosts.behind(users[0] if normalised else node)
        return "it has no 3x3 convolution"

    def _with_shared_hosts(self, candidates: list[Candidate]) -> list[Candidate]:
        """Refuse modules that are called elsewhere too; one block serves a unit that runs several times."""
        nodes: dict[str, set[Node]] = {}
        for each in candidates:
            if each.host is not None and not each.reason:
                nodes.setdefault(each.host.name, set()).add(each.host.node)
        found: dict[str, Candidate] = {}
        for index, each in enumerate(candidates):
            key = f"{index}" if each.host is None or each.reason else f"host {each.host.name}"
            found.setdefault(key, self._unless_elsewhere(each, nodes))
        return list(found.values())

    def _unless_elsewhere(self, candidate: Candidate, nodes: dict[str, set[Node]]) -> Candidate:
        host = candidate.host
        if host is None or candidate.reason:
            return candidate
        places, calls = len(nodes.get(host.name, {host.node})), self._calls(host.name)
        if places == calls:
            return candidate
        reason = f"{host.name} is called {counted(calls, 'time')}, but SE belongs at {places} of these calls"
        return replace(candidate, reason=reason)

    def _calls(self, name: str) -> int:
        inner = sum(name in modules for modules in self.flat.outputs.values())
        return inner or self.flat.calls(name)

    def _named(self, names: Sequence[str]) -> list[Candidate]:
        """Return the candidates with all but the named ones left out, and modules that are no units."""
        taken: dict[int, Candidate] = {}
        extra: list[Candidate] = []
        for name in names:
            meant = [
                index for index, each in enumerate(self.candidates) if any(map(_matches(name), _names(each)))
            ]
            inside = [index for index, each in enumerate(self.candidates) if _is_in(each, name)]
            for index in inside:
                taken.setdefault(index, self.candidates[index])
            for index in meant:
                each = self.candidates[index]
                taken[index] = replace(each, reason="") if each.is_for_the_asking and each.host else each
            if not meant and not inside:
                extra.append(self._module(name))
        rest = [
            taken.get(index) or replace(each, reason=each.reason or _ELSEWHERE)
            for index, each in enumerate(self.candidates)
        ]
        return sorted([*rest, *extra], key=lambda each: self.finder.regions.order[each.unit.end])

    def _module(self, name: str) -> Candidate:
        """Return a place behind any module that the user names."""
        modules = dict(self.flat.model.named_modules())
        if not name or name not in modules:
            known = dict.fromkeys(each for candidate in self.candidates for each in _names(candidate))
            raise SenetError(
                f"where={name!r} matches nothing in this {type(self.flat.model).__name__}: give names of "
                f"its units or modules, with * as a wildcard.{nearest(name, [*known, *modules])}"
            )
        host = self.hosts.of_module(name)
        if isinstance(host, str):
            raise SenetError(f"where={name!r} has no place for SE: {host}.")
        unit = Unit(name=name, shape="named", kind="named", end=host.node)
        if self.finder.has_se([host.node, *self.kinds.users(host.node)]):
            unit = replace(unit, reason=ALREADY)
        return self._unless_elsewhere(replace(self._candidate(unit), host=host), {})

    def _of_stages(self, candidates: list[Candidate], stages: Sequence[int]) -> list[Candidate]:
        there = sorted({each.stage for each in self.candidates if each.stage is not None})
        for stage in stages:
            if stage not in there:
                listed = ", ".join(map(str, there)) or "none with a known number"
                raise SenetError(f"stages must be among the stages of this model, {listed}, not {stage}.")
        listed = ", ".join(map(str, stages))
        return [
            each
            if each.reason or each.stage in stages
            else replace(each, reason=f"stage {each.stage or 'unknown'} is not among the stages {listed}")
            for each in candidates
        ]

    def _stage(self, node: Node) -> int | None:
        level = self._level(node)
        return None if level is None else level + self.first_stage

    def _first_stage(self, units: Iterable[Unit]) -> int:
        """Return the number of a stage whose maps are as large as the image.

        The paper counts stages by the halvings of the maps: conv2_x has a quarter of the image's side. Where
        less is halved, as for CIFAR, the stem is still stage 1; in a plain network the first convolution is.
        """
        levels = [level for level in map(self._level, (unit.end for unit in units)) if level is not None]
        least = 1 if any(unit.shape == "convolution" for unit in units) else 2
        return max(0, least - min(levels, default=least))

    def _level(self, node: Node) -> int | None:
        """Return how often the maps have been halved."""
        stride = self.kinds.stride(node)
        return None if stride is None or stride <= 0 else round(math.log2(stride))


def _told_apart(candidates: list[Candidate]) -> list[Candidate]:
    """Name units by the host of their block where one forward runs several of them."""
    count = Counter(each.unit.name for each in candidates)
    return [
        each
        if each.host is None or count[each.unit.name] == 1
        else replace(each, unit=replace(each.unit, name=each.host.name))
        for each in candidates
    ]


def _names(candidate: Candidate) -> tuple[str, ...]:
    host = candidate.host
    return (candidate.unit.name,) if host is None else (candidate.unit.name, host.name)


def _is_in(candidate: Candidate, name: str) -> bool:
    """Whether a module is called ``name`` that the unit is a part of."""
    return candidate.unit.name.startswith(f"{name}.")


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda name: bool(name) and (name == pattern or fnmatchcase(name, pattern))
