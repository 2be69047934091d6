"""Reads a model by running it once: for forwards that torch.fx cannot follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from senet.errors import SenetError
from senet.kernels.backends import kernels
from senet.kernels.explain import buffers_kept
from senet.surgery.flat_graph import FlatGraph, in_mode, is_layer, joins_maps, unchanged, without_unused
from senet.surgery.kinds_of_nodes import MOVES


def read_by_running(model: nn.Module, example_input: Any) -> FlatGraph:
    """Run ``model`` once in evaluation mode, without gradients, and note what runs; it stays as it is.

    Args:
        model: on any device, also the meta device.
        example_input: what it takes: a tensor, a tuple of arguments or a dictionary of named ones.

    Raises:
        SenetError: the model does not run on it.
    """
    flat = FlatGraph(model, example=example_input)
    recorder = _Recorder(flat)
    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(buffers_kept(model))
        stack.enter_context(in_mode(model, training=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(kernels("reference"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(redirect_stdout(StringIO()))
        stack.enter_context(recorder.hooks())
        recorder.begin(example_input)
        stack.enter_context(recorder)
        output = run(model, example_input)
    recorder.end(output)
    return flat


def read_by_trying(model: nn.Module) -> FlatGraph | None:
    """Read ``model`` by running it on random images of the first usual size that it takes, if there is one.

    The sizes of its maps are left out: they are not those of the user's images.
    """
    convolutions = [each for each in model.modules() if isinstance(each, _ConvNd)]
    channels = dict.fromkeys(
        each.in_channels for each in [*convolutions[:1], *convolutions] if each.groups == 1
    )
    generator = torch.Generator().manual_seed(0)
    for count in [*channels][:1] + [each for each in (3, 1) if each in [*channels][1:]]:
        like = next(each for each in convolutions if each.in_channels == count)
        for side in _SIDES:
            shape = (_IMAGES, count, *(side,) * len(like.kernel_size))
            image = torch.randn(shape, generator=generator).to(like.weight.device, like.weight.dtype)
            try:
                flat = read_by_running(model, image)
            except SenetError:
                continue
            flat.shapes = {node: size[:2] for node, size in flat.shapes.items()}
            return flat
    return None


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
            f"{type(model).__name__} cannot run on the example_input ({_described(example_input)}): "
            f"{type(error).__name__}: {first}"
        ) from error


def _arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_input, dict):
        return (), example_input
    return example_input if isinstance(example_input, tuple) else (example_input,), {}


def _described(example_input: Any) -> str:
    shapes = [tuple(each.shape) for each in tree_leaves(example_input) if isinstance(each, Tensor)]
    return f"of shape {', '.join(map(str, shapes))}" if shapes else type(example_input).__name__


_IMAGES = 2
_SIDES = (224, 32, 64, 28, 96, 128, 256, 299, 384, 512)
_UNMOVED_NAMES = (
    *MOVES,
    "unsqueeze",
    "squeeze",
    "unflatten",
    "movedim",
    "moveaxis",
    "viewas",
    "reshapeas",
    "einsum",
)
_UNSEEN = "part of it computes outside PyTorch's own functions (scripted, compiled or custom code)"


class _Recorder(TorchFunctionMode):
    """Writes a graph of the layers and functions that run, told apart by the tensors they pass on."""

    def __init__(self, flat: FlatGraph) -> None:
        super().__init__()
        self.flat = flat
        self.graph = Graph()
        self.names = {module: name for name, module in flat.model.named_modules()}
        self.tensors: dict[int, Node] = {}
        self.values: dict[Node, Tensor] = {}
        self.constants = {id(each) for module in flat.model.modules() for each in _held(module)}
        self.maps: set[tuple[int, int]] = set()
        self.kept: list[Tensor] = []  # so that no other tensor gets the id of one of them
        self.within: list[nn.Module] = []
        self.layer: nn.Module | None = None

    def begin(self, example_input: Any) -> None:
        """Take what the model is given as the beginning of the graph."""
        for index, each in enumerate(tree_leaves(example_input)):
            if isinstance(each, Tensor):
                self._note(self.graph.placeholder(f"input_{index}"), each)
                self.maps.add((each.dim(), len(each) if each.dim() else 0))

    def end(self, output: Any) -> None:
        """End the graph with what the model returned, and hand it over."""
        self.graph.output(self._nodes(tree_leaves(output)))
        self.flat.nodes = list(self.graph.nodes)
        without_unused(self.flat)

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
        else:
            made = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
            self.constants.update(map(id, made))
            self.kept += made
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
            if is_layer(module) and module is not self.flat.model and not joins_maps(module, args):
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
        return tree_map(lambda each: self._node_of(each) if isinstance(each, Tensor) else each, values)

    def _node_of(self, tensor: Tensor) -> Node | None:
        node = self.tensors.get(id(tensor))
        is_map = tensor.dim() > 2 and (tensor.dim(), len(tensor)) in self.maps
        if node is None and is_map and id(tensor) not in self.constants:
            self.flat.unread.setdefault(self.names[self.within[-1]] if self.within else "", _UNSEEN)
        return node

    def _note_call(self, kind: str, target: Any, given: Any, output: Any) -> None:
        leaves = [each for each in tree_leaves(output) if isinstance(each, Tensor)]
        if kind == "call_function" and not leaves:
            return
        args, kwargs = given
        node = self.graph.create_node(kind, target, _plain(args), _plain(kwargs))
        self.flat.scopes[node] = self.names[self.within[-1]] if self.within else ""
        if len(leaves) == 1 and leaves[0] is output:
            self._note(self._unmoved(node, output), output)
            return
        for index, each in enumerate(leaves):
            part = self.graph.call_function(_part, (node, index))
            self.flat.scopes[part] = self.flat.scopes[node]
            self._note(part, each)

    def _note(self, node: Node, tensor: Tensor) -> None:
        self.tensors[id(tensor)] = node
        self.values.setdefault(node, tensor)
        self.kept.append(tensor)
        self.flat.shapes[node] = tuple(tensor.shape)
        self.flat.scopes.setdefault(node, "")

    def _unmoved(self, node: Node, output: Tensor) -> Node:
        """Return what made the map that ``node`` returns unchanged, as a reshape there and back does."""
        source = node
        while _is_move(source) and source.all_input_nodes:
            source = source.all_input_nodes[0]
            if source in self.values and _is_same(self.values[source], output):
                return source
        return node


def _is_move(node: Node) -> bool:
    name = str(getattr(node.target, "__name__", "")).replace("_", "").lower()
    return node.op == "call_function" and name in _UNMOVED_NAMES


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two maps are equal, and of so many values that this is no coincidence."""
    if one.shape != other.shape or one.is_meta or not torch.equal(one, other):
        return False
    return (one.data_ptr(), one.stride()) == (other.data_ptr(), other.stride()) or (
        4 * len(torch.unique(one)) > one.numel()
    )


def _held(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a module has, in whatever way."""
    for held in (module._parameters, module._buffers, vars(module)):
        yield from (each for each in held.values() if isinstance(each, Tensor))


def _part(values: Any, index: int) -> Any:
    return values[index]


_part.__name__ = "getitem"


def _plain(values: Any) -> Any:
    """Leave out what a graph cannot hold, such as modules and functions."""
    plain = (Node, int, float, bool, str, type(None), torch.dtype, torch.device, torch.memory_format)
    return tree_map(lambda each: each if isinstance(each, plain) else None, values)
