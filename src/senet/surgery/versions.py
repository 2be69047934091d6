"""Plans for one block which of its places run fused, and writes the forwards that do it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.fx import Proxy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import _has_any_global_hook

from senet.surgery.conditions import Conditions, joined, path_of
from senet.surgery.known_layers import KnownLayers
from senet.surgery.patterns import Place, called_by, find_places
from senet.surgery.rewrite import rewritten
from senet.surgery.trace import Traced, trace
from senet.surgery.unseen import Untraceable


@dataclass(frozen=True)
class Version:
    """A forward that runs a block's tails fused, and when it computes what the block's own forward does.

    Attributes:
        arguments: the names of the arguments it takes.
        types: for each argument the type it has to have, or ``None`` for any.
        conditions: on the block.
        run: the forward, a function of the block and the arguments.
        identity: differs between versions that do something else.
        layers: the BatchNorms and SE blocks that it runs fused, by qualified name.
    """

    arguments: tuple[str, ...]
    types: tuple[type | None, ...]
    conditions: Conditions
    run: Callable[..., Any]
    identity: Hashable
    layers: frozenset[str]

    def fits(self, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Return whether it computes what the block's own forward does with these arguments."""
        if _is_read():
            return False
        given = dict(zip(self.arguments, args, strict=False), **kwargs)
        if len(args) + len(kwargs) != len(self.arguments) or len(given) != len(self.arguments):
            return False
        for name, wanted in zip(self.arguments, self.types, strict=True):
            value = given.get(name)
            if value is None or isinstance(value, Proxy) or not (wanted is None or isinstance(value, wanted)):
                return False
        return self.conditions.hold(block)


def _is_read() -> bool:
    """Whether somebody records the modules or operators of the network, who is to see each of them."""
    return (
        bool(_has_any_global_hook())  # type: ignore[no-untyped-call]
        or torch._C._get_tracing_state() is not None
        or torch.compiler.is_exporting()
    )


@dataclass(frozen=True)
class Plan:
    """The forwards that run a block's tails fused, and its places, taken and left."""

    versions: tuple[Version, ...]
    places: tuple[Place, ...]


def plan(
    block: nn.Module,
    inlined: frozenset[str],
    known: KnownLayers,
    first: Traced | None = None,
) -> Plan:
    """Find the tails of ``block`` and write forwards that run them fused.

    Args:
        block: of the class that it was built with; stays as it is.
        inlined: the modules in it whose forwards are written into its own.
        known: its layers that are not PyTorch's.
        first: its forward as `trace` reads it, if that was done already; its graph is changed.

    Raises:
        Untraceable: the forward cannot be read.
    """
    versions: list[Version] = []
    places: dict[str, Place] = {}
    for traced in _readings(block, inlined, first):
        found = {str(place.nodes[0].target): place for place in find_places(traced.graph, block, known)}
        _refuse_repeated(traced, block)
        for name, place in found.items():
            _note_difference(places.setdefault(name, place), place)
        taken = [place for place in found.values() if place.is_worth_it]
        if taken:
            versions.append(_version(block, traced, taken, inlined, known))
    return Plan(tuple(versions), tuple(places.values()))


def _note_difference(place: Place, again: Place) -> None:
    """Say so where another mode, or another type of argument, leads to another tail."""
    if str(place) != str(again):
        place.stop, place.is_cut = f"in training, or for a list, it is {again}", True


def _readings(block: nn.Module, inlined: frozenset[str], first: Traced | None) -> Iterator[Traced]:
    """Read the forward once, or for each training mode and type of argument that it asks for."""
    first = first or trace(block, inlined=inlined)
    yield first
    if first.asks_for_mode:
        yield trace(block, inlined=inlined, training=True)
    if not first.asks_for_types:
        return
    for training in (False, True) if first.asks_for_mode else (False,):
        try:
            yield trace(block, inlined=inlined, training=training, argument=list)
        except Untraceable:
            continue  # it takes no list


def _refuse_repeated(traced: Traced, block: nn.Module) -> None:
    """Raise `Untraceable` where a BatchNorm is called twice: the order of its updates is not to change."""
    called = [called_by(node, block) for node in traced.graph.nodes]
    norms = [module for module in called if isinstance(module, _BatchNorm)]
    if len(set(norms)) < len(norms):
        raise Untraceable("its forward calls a BatchNorm more than once")


def _version(
    block: nn.Module,
    traced: Traced,
    places: list[Place],
    inlined: frozenset[str],
    known: KnownLayers,
) -> Version:
    named = [
        str(place.steps[step].target) for place in places for step in ("bn", "se") if step in place.steps
    ]
    modules = {name: block.get_submodule(name) for name in named}
    se = {name: known.se[module] for name, module in modules.items() if module in known.se}
    norms = {name: known.norms[module] for name, module in modules.items() if module in known.norms}
    looked_through = {
        str(node.target)
        for place in places
        for node in place.nodes
        if node not in place.steps.values() and node.op == "call_module"
    }
    untouched = [(name, type(block.get_submodule(name))) for name in sorted(inlined | looked_through)]
    untouched += [(joined(name, each), kind) for name, norm in norms.items() for each, kind in norm.kinds]
    conditions = replace(
        traced.conditions,
        kinds=tuple((path_of(name), type(modules[name])) for name in se),
        untouched=tuple((path_of(name), kind) for name, kind in untouched),
    )
    run, code = rewritten(block, traced.graph, places, known)
    text = repr((traced.arguments, traced.types, conditions, code, se, norms))
    kinds = [*conditions.kinds, *conditions.untouched]
    kinds += [pair for layers in se.values() if layers is not None for pair in layers.conditions.untouched]
    identity = text, frozenset(kind for _, kind in kinds)
    return Version(traced.arguments, traced.types, conditions, run, identity, frozenset(named))
