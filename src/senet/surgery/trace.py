"""Reads the forward of one block as a graph, and notes what that reading took for granted.

`torch.fx` runs the forward once, with stand-ins for its values. What does not go through them (branches on
attributes, random numbers, ``with torch.no_grad()``) would be lost or fixed for good without a word. So here
every attribute that the forward reads becomes a condition, and what cannot become one is refused.
"""

from __future__ import annotations

import inspect
import operator
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Proxy, Tracer
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from senet.surgery.attributes import Reads, watched
from senet.surgery.conditions import Conditions, Path, children_of, path_of
from senet.surgery.type_questions import answered
from senet.surgery.unseen import Untraceable, nothing_unseen

_OTHER_STATE = "part of its forward runs under torch.no_grad, autocast or a similar context"


@dataclass(frozen=True)
class Traced:
    """The forward of a block as a graph.

    Attributes:
        graph: its modules are the block's, by qualified name.
        arguments: the names of the arguments without a default; the others keep their default.
        types: for each argument the type that the forward was told it has, or ``None`` if it did not ask.
        conditions: what else the graph depends on.
    """

    graph: Graph
    arguments: tuple[str, ...]
    types: tuple[type | None, ...]
    conditions: Conditions

    @property
    def asks_for_mode(self) -> bool:
        """Whether the forward read the block's training mode."""
        return any(name == "training" for _, name, _ in self.conditions.values)

    @property
    def asks_for_types(self) -> bool:
        """Whether the forward asked which type an argument has."""
        return any(self.types)


def trace(
    block: nn.Module,
    *,
    inlined: frozenset[str] | None = frozenset(),
    training: bool = False,
    argument: type = Tensor,
) -> Traced:
    """Read the forward of ``block``, whose class has to be the one that it was built with.

    Args:
        block: it and its modules stay as they are.
        inlined: the modules in it that the graph shows from inside, by qualified name; the others are
            called. ``None`` shows all that have children from inside.
        training: the mode to read it in.
        argument: the type its arguments are taken to have, if it asks.

    Raises:
        Untraceable: with the reason.
    """
    opened = None if inlined is None else {block.get_submodule(name) for name in inlined}
    tracer = _Tracer(opened, argument)
    with ExitStack() as stack:
        stack.enter_context(in_mode(block, training))
        reads = stack.enter_context(watched(block))
        stack.enter_context(nothing_unseen())
        stack.enter_context(_NothingApart())
        stack.enter_context(answered(_StandIn, _StandIn.kind))
        graph = _run(tracer, block)
    return Traced(
        graph,
        tuple(tracer.asked),
        tuple(argument if asked else None for asked in tracer.asked.values()),
        _conditions(block, graph, reads, training),
    )


def _run(tracer: _Tracer, block: nn.Module) -> Graph:
    try:
        return tracer.trace(block)
    except Untraceable:
        raise
    except Exception as error:
        raise Untraceable(place_of(error)) from error


class _Tracer(Tracer):
    proxy_buffer_attributes = True

    def __init__(self, opened: set[nn.Module] | None, argument: type) -> None:
        super().__init__()
        self.opened = opened
        self.argument = argument
        self.asked: dict[str, bool] = {}
        self.state = _state()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not children_of(m) if self.opened is None else m not in self.opened

    def proxy(self, node: Node) -> Proxy:
        return _StandIn(node, self)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: object = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Give stand-ins for the arguments that have no default."""
        given: list[Any] = [self.root]
        for name in required_arguments(root_fn):
            self.asked[name] = False
            given.append(self.create_proxy("placeholder", name, (), {}))
        return root_fn, given

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> Node:
        if _state() != self.state:
            raise Untraceable(_OTHER_STATE)
        return super().create_node(kind, *args, **kwargs)

    def get_fresh_qualname(self, prefix: str) -> str:
        raise Untraceable("its forward uses a tensor that is neither a parameter nor a buffer")


_IN_PLACE = (
    "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor",
)  # fmt: skip


class _StandIn(Proxy):
    """Knows its type, and notes that it was asked; knows ``+=`` from ``+``."""

    tracer: _Tracer

    def kind(self) -> type:
        if self.node.op != "placeholder":
            raise Untraceable("its forward checks the type of an intermediate result")
        self.tracer.asked[str(self.node.target)] = True
        return self.tracer.argument


def _in_place(name: str) -> Callable[[_StandIn, Any], Proxy]:
    function = getattr(operator, name)
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in _IN_PLACE:
    setattr(_StandIn, f"__{_name}__", _in_place(_name))


class _NothingApart(TorchFunctionMode):
    """Refuses operations that have nothing to do with the forward's values: they would run only now."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(type(each) is _StandIn for each in tree_leaves((args, kwargs))):
            name = getattr(func, "__name__", str(func))
            if name == "_set_grad_enabled":
                raise Untraceable(_OTHER_STATE)
            raise Untraceable(f"its forward calls {name} without using any of its inputs")
        return func(*args, **kwargs)


def _state() -> tuple[bool, ...]:
    autocast = any(torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast


def required_arguments(forward: Callable[..., Any]) -> list[str]:
    """Return the names of the positional arguments without a default, but for ``self``."""
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is each.empty]


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


def _conditions(block: nn.Module, graph: Graph, reads: Reads, training: bool) -> Conditions:
    values = []
    for path, name, value in reads.values():
        values.append((path, name, training if name == "training" else value))
    through: set[Path] = {()}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            path = path_of(str(node.target))
            through |= {path[:end] for end in range(len(path))}
    modules = {path: block.get_submodule(".".join(path)) for path in sorted(through)}
    children = tuple((path, children_of(module)) for path, module in modules.items())
    return Conditions(tuple(values), children)


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
