"""Writes the graph of a block anew, with one call of `senet.blocks.tail` for each of its tails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node

from senet.blocks.tail import tail
from senet.surgery.foreign_norm import tail_with
from senet.surgery.known_layers import KnownLayers
from senet.surgery.patterns import Place, is_in_place

_RELU = nn.ReLU()


def plain_relu() -> nn.ReLU:
    """Return the layer that stands for a call of a ReLU function."""
    return _RELU


def in_type_of(out: Tensor, y: Tensor) -> Tensor:
    """Return ``out`` in the type of ``y``."""
    return out if out.dtype == y.dtype else out.to(y.dtype)


def rewritten(
    block: nn.Module, graph: Graph, places: list[Place], known: KnownLayers
) -> tuple[Callable[..., Any], str]:
    """Return the forward with its tails fused, as a function of the block and its arguments, and its code.

    Args:
        block: whose forward ``graph`` is.
        graph: changed.
        places: the tails in it.
        known: the layers of the block that are not PyTorch's.
    """
    for place in places:
        _replace(graph, block, place, known)
    graph.lint()
    module = GraphModule(block, graph)
    return type(module).forward, module.code


def _replace(graph: Graph, block: nn.Module, place: Place, known: KnownLayers) -> None:
    last = place.nodes[-1]
    steps = place.steps
    with graph.inserting_before(last):
        name = str(steps["bn"].target) if "bn" in steps else ""
        norm = known.norms.get(block.get_submodule(name))
        bn = graph.get_attr(name) if name else None
        relu = None
        if norm is not None and norm.relu:
            relu = graph.get_attr(f"{name}.{norm.relu}")
        elif "relu" in steps:
            relu = _relu(graph, steps["relu"], is_layer=steps["relu"] is not steps.get("bn"))
        options: dict[str, Any] = {}
        # Where SE sits on one of the other layers, the tail finds it there.
        if "se" in steps and steps["se"] not in (steps.get("bn"), steps.get("relu")):
            options["se"] = _se(graph, block, str(steps["se"].target), known)
        if "add" in steps:
            options["shortcut"] = place.shortcut
        if place.relu_first:
            options["relu_first"] = True
        function = tail if norm is None else tail_with(norm.forward)
        out = graph.call_function(function, (place.y, bn, relu), options)
        if "add" in steps and is_in_place(steps["add"]):
            # A sum in place keeps its type; with another type of shortcut, as under autocast, tail's may not.
            out = graph.call_function(in_type_of, (out, place.y))
    last.replace_all_uses_with(out)
    for node in reversed(place.nodes):
        graph.erase_node(node)


def _relu(graph: Graph, node: Node, *, is_layer: bool) -> Node:
    if node.op == "call_module" and is_layer:
        return graph.get_attr(str(node.target))
    return graph.call_function(plain_relu)


def _se(graph: Graph, block: nn.Module, name: str, known: KnownLayers) -> Node:
    module, layers = graph.get_attr(name), known.se[block.get_submodule(name)]
    return module if layers is None else graph.call_function(layers.view, (module,))
