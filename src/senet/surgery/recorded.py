"""Reads a model by running it once: for forwards that torch.fx cannot follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.explain import buffers_kept
from senet.surgery.flat_graph import FlatGraph, is_layer, unchanged
from senet.surgery.trace import in_mode


def read_by_running(model: nn.Module, example_input: Any) -> FlatGraph:
    """Run ``model`` once in evaluation mode, without gradients, and note what runs; it stays as it is.

    Args:
        model: on any device, also the meta device.
        example_input: what it takes: a tensor, a tuple of arguments or a dictionary of named ones.

    Raises:
        SenetError: the model does not run on it.
    """
    flat = FlatGraph(model)
    recorder = _Recorder(flat)
    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(buffers_kept(model))
        stack.enter_context(in_mode(model, training=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(kernels("reference"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(recorder.hooks())
        recorder.begin(example_input)
        stack.enter_context(recorder)
        output = run(model, example_input)
    recorder.end(output)
    return flat


def run(model: nn.Module, example_input: Any) -> Any:
    """Return what ``model`` returns for a tensor, a tuple of arguments or a dictionary of named ones.

    Raises:
        SenetError: it does not run on it.
    """
    args, kwargs = _arguments(example_input)
    try:
        return model(*copy.copy(args), **kwargs)
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise SenetError(
            f"{type(model).__name__} does not run on the example_input "
            f"({_described(example_input)}): {type(error).__name__}: {first}"
        ) from error


def _arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_input, dict):
        return (), example_input
    return example_input if isinstance(example_input, tuple) else (example_input,), {}


def _described(example_input: Any) -> str:
    shapes = [tuple(each.shape) for each in tree_leaves(example_input) if isinstance(each, Tensor)]
    return f"of shape {', '.join(map(str, shapes))}" if shapes else type(example_input).__name__


class _Recorder(TorchFunctionMode):
    """Writes a graph of the layers and functions that run, told apart by the tensors they pass on."""

    def __init__(self, flat: FlatGraph) -> None:
        super().__init__()
        self.flat = flat
        self.graph = Graph()
        self.names = {module: name for name, module in flat.model.named_modules()}
        self.tensors: dict[int, Node] = {}
        self.kept: list[Tensor] = []  # so that no other tensor gets the id of one of them
        self.within: list[nn.Module] = []
        self.layer: nn.Module | None = None

    def begin(self, example_input: Any) -> None:
        """Take what the model is given as the beginning of the graph."""
        for index, each in enumerate(tree_leaves(example_input)):
            if isinstance(each, Tensor):
                self._note(self.graph.placeholder(f"input_{index}"), each)

    def end(self, output: Any) -> None:
        """End the graph with what the model returned, and hand it over."""
        self.graph.output([self.tensors.get(id(each)) for each in tree_leaves(output)])
        self.flat.nodes = list(self.graph.nodes)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func``, and note it where it belongs to no layer."""
        kwargs = kwargs or {}
        if self.layer is not None:
            return func(*args, **kwargs)
        given = self._nodes((args, kwargs))
        output = func(*args, **kwargs)
        if any(isinstance(each, Node) for each in tree_leaves(given)):
            self._note_call("call_function", func, given, output)
        return output

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """See each module begin and end while the context lasts."""
        handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if module not in self.names:
            return
        if self.layer is None:
            self.within.append(module)
            if is_layer(module) and module is not self.flat.model:
                self.layer = module
        elif module is self.layer._modules.get("se"):
            # A block attached in front of a layer runs when the layer has begun.
            self.within.append(module)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self.within or module is not self.within[-1]:
            return
        self.within.pop()
        name = self.names[module]
        if self.layer is None:
            node = self.tensors.get(id(output))
            given = {self.tensors.get(id(each)) for each in tree_leaves(args)}
            if name and node is not None and node not in given:
                self.flat.outputs.setdefault(node, []).append(name)
            return
        if module is self.layer:
            self.layer = None
        self._note_call("call_module", name, (self._nodes(args), {}), output)

    def _nodes(self, values: Any) -> Any:
        return tree_map(lambda each: self.tensors.get(id(each)) if isinstance(each, Tensor) else each, values)

    def _note_call(self, kind: str, target: Any, given: Any, output: Any) -> None:
        leaves = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
        if kind == "call_function" and not leaves:
            return
        args, kwargs = given
        node = self.graph.create_node(kind, target, _plain(args), _plain(kwargs))
        self.flat.scopes[node] = self.names[self.within[-1]] if self.within else ""
        if len(leaves) == 1 and leaves[0] is output:
            self._note(node, output)
            return
        for index, each in enumerate(leaves):
            part = self.graph.call_function(_part, (node, index))
            self.flat.scopes[part] = self.flat.scopes[node]
            self._note(part, each)

    def _note(self, node: Node, tensor: Tensor) -> None:
        self.tensors[id(tensor)] = node
        self.kept.append(tensor)
        self.flat.shapes[node] = tuple(tensor.shape)
        self.flat.scopes.setdefault(node, "")


def _part(values: Any, index: int) -> Any:
    return values[index]


_part.__name__ = "getitem"


def _plain(values: Any) -> Any:
    """Leave out what a graph cannot hold, such as modules and functions."""
    plain = (Node, int, float, bool, str, type(None), torch.dtype, torch.device, torch.memory_format)
    return tree_map(lambda each: each if isinstance(each, plain) else None, values)
