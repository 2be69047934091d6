"""A model as one flat graph of layers and functions, to look for the places where SE belongs.

It is only looked at: whatever it leaves out cannot change what the model computes. So modules whose forward
torch.fx cannot follow stay closed, and what is inside of them is read part by part.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node, Proxy, Tracer
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from senet.blocks.attached import attached_block, position_of
from senet.blocks.cost import CostedModule
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.surgery.type_questions import answered

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class FlatGraph:
    """What runs in a model, layer by layer.

    Attributes:
        model: whose layers they are.
        nodes: in the order in which they run; ``call_module`` names a layer of `model`.
        outputs: the modules, from the inside, that return what a node returns.
        scopes: the module whose forward contains a node.
        unread: modules whose forward could not be read, and why.
        shapes: of what a node returns, where the model was run.
        example: what it was run on.
    """

    model: nn.Module
    nodes: list[Node] = field(default_factory=list)
    outputs: dict[Node, list[str]] = field(default_factory=dict)
    scopes: dict[Node, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    shapes: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    example: Any = None

    def layer(self, node: Node) -> nn.Module | None:
        """Return the layer that ``node`` calls, or ``None`` where it is a function."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else None

    def calls(self, name: str) -> int:
        """Return how often the layer ``name`` is called."""
        return sum(node.op == "call_module" and node.target == name for node in self.nodes)


def is_layer(module: nn.Module) -> bool:
    """Whether ``module`` counts as one layer, whatever is inside, such as parametrisations or observers."""
    if isinstance(module, _ConvNd | _NormBase | nn.Linear | nn.LayerNorm | nn.GroupNorm | SqueezeExcitation):
        return True
    if isinstance(module, CostedModule) and module.__module__.startswith("senet.blocks.relatives"):
        return True
    if type(module).__module__.startswith("torch.nn") and not isinstance(module, _CONTAINERS):
        return True
    own = attached_block(module)
    return all(child is own for child in module.children()) and not isinstance(module, _CONTAINERS)


def joins_maps(module: nn.Module, inputs: Iterable[object]) -> bool:
    """Whether ``module`` is a sum or the like, without parameters, of several of these ``inputs``."""
    maps = sum(isinstance(each, Tensor | Proxy) for each in inputs)
    own = type(module).__module__.partition(".")[0] not in ("torch", "senet")
    return maps > 1 and own and not module._parameters and not module._buffers


def without_unused(flat: FlatGraph) -> FlatGraph:
    """Leave out functions whose results go nowhere, such as a check for NaN, but those that work in place."""
    for node in reversed(flat.nodes):
        if node.op in ("call_function", "call_method") and not node.users and not _is_in_place(node):
            node.graph.erase_node(node)
            flat.nodes.remove(node)
            flat.outputs.pop(node, None)
    return flat


_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


def _is_in_place(node: Node) -> bool:
    name = node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", ""))
    plain = name.strip("_")
    return (
        "out" in node.kwargs
        or (name.endswith("_") and not name.endswith("__"))
        or plain in ("setitem", "set")
        or (plain.startswith("i") and plain[1:] in _OPERATORS)
    )


def read_by_tracing(model: nn.Module) -> FlatGraph:
    """Read ``model`` in evaluation mode with torch.fx; it stays as it is and nothing is computed."""
    flat = FlatGraph(model)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(StringIO()))
        stack.enter_context(unchanged(model))
        stack.enter_context(in_mode(model, training=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(answered(_Map, lambda _: Tensor))
        _read(model, "", flat)
    return without_unused(flat)


def _read(module: nn.Module, name: str, flat: FlatGraph) -> None:
    """Read ``module``, and where its own forward cannot be read its children one by one."""
    if is_layer(module) and name:
        return
    opened = type(module).forward is not nn.Module.forward and not isinstance(module, nn.ModuleList)
    if opened:
        reader = _Reader(flat, name)
        try:
            flat.nodes += reader.trace(module).nodes
        except Exception as error:  # noqa: BLE001 - any forward may do anything with stand-ins
            flat.unread[name] = place_of(error)
        else:
            module_names = [each for each in flat.unread if each not in reader.known]
            for each in module_names:
                _read_children(flat.model.get_submodule(each), each, flat)
            return
    _read_children(module, name, flat)


def _read_children(module: nn.Module, name: str, flat: FlatGraph) -> None:
    for child_name, child in module.named_children():
        _read(child, joined(name, child_name), flat)


class _Reader(Tracer):
    """Goes into all modules but layers; closes those that it cannot follow."""

    def __init__(self, flat: FlatGraph, prefix: str) -> None:
        super().__init__()
        self.flat = flat
        self.within = prefix
        self.known = set(flat.unread)
        self.inside = [prefix]

    def proxy(self, node: Node) -> Proxy:
        return _Map(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> Node:
        node = super().create_node(*args, **kwargs)
        if node.op in ("call_module", "get_attr"):
            node.target = str(node.target)
        self.flat.scopes[node] = self.inside[-1]
        return node

    def path_of_module(self, mod: nn.Module) -> str:
        return super().path_of_module(mod)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: object = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        names = required_arguments(root_fn)
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in names)]

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        name = joined(self.within, self.path_of_module(m))
        if is_layer(m) and not joins_maps(m, (*args, *kwargs.values())):
            return self._call_layer(m, name, args, kwargs)
        last = next(iter(reversed(self.graph.nodes)))
        self.inside.append(name)
        try:
            output = forward(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - any forward may do anything with stand-ins
            self.flat.unread[name] = place_of(error)
            self._erase_behind(last)
            return self._proxy_of(name, args, kwargs)
        finally:
            self.inside.pop()
        given = {each.node for each in args if type(each) is _Map}
        if type(output) is _Map and output.node not in given:
            self.flat.outputs.setdefault(output.node, []).append(name)
        return output

    def _call_layer(self, m: nn.Module, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note the call, and that of a block attached to the layer: its hooks do not run here."""
        position = position_of(m)
        if position == "before":
            args = (self._proxy_of(f"{name}.se", args[:1], {}), *args[1:])
        output = self._proxy_of(name, args, kwargs)
        if position == "after relu":
            output = self.create_proxy("call_function", torch.relu, (output,), {})
        if position in ("after", "after relu"):
            output = self._proxy_of(f"{name}.se", (output,), {})
        return output

    def _proxy_of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Proxy:
        return self.create_proxy("call_module", name, args, kwargs)

    def _erase_behind(self, last: Node) -> None:
        nodes = list(self.graph.nodes)
        for node in reversed(nodes[nodes.index(last) + 1 :]):
            node.users.clear()
            self.graph.erase_node(node)


class _Map(Proxy):
    """A stand-in that says it is a tensor."""


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put back what forwards keep in attributes, such as the last features: it would be a stand-in."""
    kept = [(module, dict(vars(module)), _contents(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes, contents in kept:
            vars(module).clear()
            vars(module).update(attributes)
            for value, content in contents:
                value.clear()
                (value.extend if isinstance(value, list) else value.update)(content)


def _contents(attributes: dict[str, Any]) -> list[tuple[Any, Any]]:
    plain = (each for each in attributes.values() if type(each) in (list, dict, set))
    return [(each, each.copy()) for each in plain]


def joined(*names: str) -> str:
    """Return the qualified name of what has these names from the outside to the inside; they may be empty."""
    return ".".join(name for name in names if name)


@contextmanager
def in_mode(block: nn.Module, training: bool) -> Iterator[None]:
    """Set the mode of ``block`` and all in it, and afterwards the mode that each had."""
    before = [(module, module.training) for module in block.modules()]
    for module, _ in before:
        module.training = training
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def required_arguments(forward: Callable[..., Any]) -> list[str]:
    """Return the names of the positional arguments without a default, but for ``self``."""
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is each.empty]


def place_of(error: Exception) -> str:
    """Return what a forward did not do with stand-ins, and in which line."""
    told = str(error).strip().splitlines()
    text = told[0] if told else type(error).__name__
    if isinstance(error, torch.fx.proxy.TraceError) and "control flow" in text:
        text = "a branch depends on tensor values"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and not frame.filename.startswith(_HERE)
    ]
    where = f" (line {frames[-1].lineno} of {frames[-1].filename.rpartition('/')[2]})" if frames else ""
    return f"{text}{where}"


_HERE = __file__.rpartition("/")[0]
