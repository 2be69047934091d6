"""Goes through a model block by block, plans which of its places run fused, and says why others do not."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.fx import Graph
from torch.nn.modules.batchnorm import _BatchNorm

from senet.blocks.attached import NAME, position_of
from senet.blocks.cost import CostedModule
from senet.blocks.squeeze_excitation import has_forward_of_its_own
from senet.surgery.conditions import children_of, joined
from senet.surgery.fused_block import unfuse, versions_of, why_not
from senet.surgery.inline import Inliner
from senet.surgery.known_layers import known_layers
from senet.surgery.patterns import Place
from senet.surgery.report import AccelerationRow
from senet.surgery.trace import Traced, trace
from senet.surgery.unseen import Untraceable
from senet.surgery.versions import Plan, plan


class Survey:
    """What there is to fuse in a model, which stays as it is.

    Attributes:
        layers: its BatchNorms and SE blocks, with their names.
        plans: for the blocks that have places.
        inlined: the modules that are written into the forward of each of these blocks.
        fused_before: the layers that run fused already.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules())
        self.names = {module: name for name, module in self.modules.items()}
        self.known = known_layers(model)
        self.layers = {
            module: name
            for name, module in self.modules.items()
            if isinstance(module, _BatchNorm) or module in self.known.se or module in self.known.refused
        }
        self.fused_before = set(self._fused_layers())
        self.readings: dict[nn.Module, Traced | str] = {}
        self.plans: dict[nn.Module, Plan] = {}
        self.inlined: dict[nn.Module, frozenset[str]] = {}
        inliner = Inliner(self.known, self._graph)
        inside: set[nn.Module] = set()
        for block in self.modules.values():
            if block not in inside and self._graph(block) is not None:
                self.inlined[block] = inliner.inlined(block)
                self._plan(block)
                inside |= {block.get_submodule(name) for name in self.inlined[block]}

    def rows(self) -> tuple[AccelerationRow, ...]:
        """Return a row for each place, in the order of the model's layers."""
        rows: dict[nn.Module, AccelerationRow] = {}
        for name, block in self.modules.items():
            for place in self.plans[block].places if block in self.plans else ():
                called = [str(node.target) for node in place.steps.values() if node.op == "call_module"]
                hosts = [each for each in called if position_of(block.get_submodule(each))]
                called += [joined(each, NAME) for each in dict.fromkeys(hosts)]
                row = _row(name, called, place)
                for each in called:
                    rows.setdefault(block.get_submodule(each), row)
        for layer, name in self.layers.items():
            if layer not in rows and layer not in self.fused_before:
                block_name, _, own = name.rpartition(".")
                step = "bn" if isinstance(layer, _BatchNorm) else "se"
                rows[layer] = AccelerationRow(
                    block=block_name, layers=own, steps=step, taken=False, reason=self._why_unseen(layer)
                )
        return tuple(dict.fromkeys(rows[layer] for layer in self.layers if layer in rows))

    def _fused_layers(self) -> Iterator[nn.Module]:
        """Yield the layers that run fused, and unfuse the blocks that have changed since they were."""
        for module in self.modules.values():
            versions = versions_of(module)
            if any(version.conditions.hold(module) for version in versions):
                yield from (module.get_submodule(name) for version in versions for name in version.layers)
            elif versions:
                unfuse(module)
        for layer in self.layers:
            if any(isinstance(module, CostedModule) for module in self._around(layer)):
                yield layer

    def _around(self, module: nn.Module) -> Iterator[nn.Module]:
        """Yield ``module`` and the modules around it, from the inside."""
        name = self.names[module]
        while name:
            yield self.modules[name]
            name = name.rpartition(".")[0]
        yield self.modules[""]

    def _graph(self, module: nn.Module) -> Graph | None:
        """Return the graph of a block, or ``None`` where there is nothing to fuse or to read."""
        if module not in self.readings:
            self.readings[module] = self._read(module)
        reading = self.readings[module]
        return None if isinstance(reading, str) else reading.graph

    def _read(self, module: nn.Module) -> Traced | str:
        if not self._may_be_block(module):
            return ""
        reason = "its forward was replaced" if has_forward_of_its_own(module) else why_not(module)
        if reason:
            return reason
        try:
            return trace(module)
        except Untraceable as error:
            return str(error)

    def _may_be_block(self, module: nn.Module) -> bool:
        """Whether ``module`` has a forward of its own making that may call layers to fuse."""
        return (
            bool(children_of(module))
            and type(module).forward is not nn.Module.forward
            and any(each in self.layers for each in module.modules() if each is not module)
            and not versions_of(module)
            and not any(
                isinstance(each, _BatchNorm | CostedModule)
                or each in self.known.se
                or each in self.known.refused
                for each in self._around(module)
            )
        )

    def _plan(self, block: nn.Module) -> None:
        inlined = self.inlined[block]
        first = None if inlined else self.readings[block]
        assert not isinstance(first, str)
        try:
            self.plans[block] = plan(block, inlined, self.known, first)
        except Untraceable as error:
            self.readings[block] = str(error)

    def _why_unseen(self, layer: nn.Module) -> str:
        """Return why no graph shows ``layer``."""
        if layer in self.known.refused:
            return self.known.refused[layer]
        for module in self._around(layer):
            reason = self.readings.get(module)
            if isinstance(reason, str) and reason:
                return f"{type(module).__name__}: {reason}"
        return "no traceable forward calls it"


def _row(block: str, layers: list[str], place: Place) -> AccelerationRow:
    reason = place.stop if place.is_cut or not place.is_worth_it else ""
    if not place.is_worth_it and not reason:
        reason = "nothing to fuse after it"
    return AccelerationRow(
        block=block,
        layers=", ".join(dict.fromkeys(layers)),
        steps=str(place),
        taken=place.is_worth_it,
        reason=reason,
    )
