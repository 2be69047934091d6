"""The backend of ``torch.compile(model, backend="senet")``.

Dynamo hands it a graph of PyTorch's functions. Each epilogue in it becomes one call of a fused operator; the
rest runs node by node as it stands, so nothing needs a C++ compiler.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.utils.checkpoint import checkpoint

from senet.compiler.freeze import Freezer, Frozen
from senet.compiler.patterns import Epilogue, find_epilogues, value_of
from senet.errors import SenetError
from senet.kernels.backends import mode as kernels_mode
from senet.kernels.dispatch import Choice, choose, overflowed, record, run, unreadable
from senet.kernels.excitation import Excitation
from senet.kernels.fused import NO_BATCH_NORM, BatchNorm
from senet.kernels.layout import layout_of
from senet.kernels.tables import Norm

_STATISTICS = ("running_mean", "running_var", "weight", "bias", "momentum", "eps")


class FusedEpilogue(nn.Module):
    """Runs an epilogue as one operator, or as its layers where no kernel computes what they do.

    Args:
        found: the epilogue.
        layers: its nodes as a module of their own, with the arguments of `forward`.
    """

    def __init__(self, found: Epilogue, layers: nn.Module) -> None:
        super().__init__()
        self.steps = found.steps
        self.of_batch = found.of_batch
        self.activation, self.gate = (found.se.activation, found.se.gate) if found.se else ("", "")
        self.layers = layers
        self.names = (layer_of(found.bn_node), layer_of(found.se_node))

    def forward(
        self,
        y: Tensor,
        shortcut: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        momentum: float | None,
        eps: float | None,
        w1: Tensor | None,
        b1: Tensor | None,
        w2: Tensor | None,
        b2: Tensor | None,
        *others: Any,
    ) -> Tensor:
        """Return what the nodes would: the shape, type and memory format of ``y``, (N, C, *spatial).

        Args:
            y: the output of a convolution.
            shortcut: added, in the shape of ``y``.
            mean: running mean, (C,); moved in training.
            var: running variance, (C,); moved in training.
            weight: of BatchNorm, (C,).
            bias: of BatchNorm, (C,).
            momentum: how far the running statistics move.
            eps: added to the variance.
            w1: weight of SE's first layer, (K, C), also as a convolution, (K, C, 1, 1).
            b1: its bias, (K,).
            w2: weight of the second one, (C, K) or (C, K, 1, 1).
            b2: its bias, (C,).
            others: sizes, and tensors with the sizes, that the views between the layers take.
        """
        choice = choose(y, shortcut, self.steps, gate=self.gate, of_batch=self.of_batch)
        fused = choice.is_fused and not unreadable(y, (mean, var, weight, bias, w1, b1, w2, b2))
        if fused:
            norm, excitation = NO_BATCH_NORM, None
            if self.steps.bn:
                known = (None, None) if self.of_batch else (mean, var)
                norm = BatchNorm(weight, bias, *known, self.of_batch, eps or 0.0)
            if self.steps.se:
                assert w1 is not None and w2 is not None
                excitation = Excitation(w1.flatten(1), b1, w2.flatten(1), b2, self.activation, self.gate)
            out, table = run(choice, y, shortcut, norm, excitation, self.steps)
            fused = not (self.of_batch and overflowed(choice, table))
        record(self.names, self.steps, y, choice if fused else Choice("reference", choice.reason))
        if not fused:
            inputs = (y, shortcut, mean, var, weight, bias, momentum, eps, w1, b1, w2, b2, *others)
            plain: Tensor = self.layers(*inputs)
            return plain
        if self.of_batch and table is not None:
            Norm.of(table).move(mean, var, momentum or 0.0)
        return out


def senet(
    graph: GraphModule, inputs: list[Any], *, options: dict[str, Any] | None = None, mode: str = "default"
) -> Callable[..., Any]:
    """Return what runs a graph of Dynamo's with its epilogues fused.

    Without ``freeze`` it keeps nothing that depends on the value of a parameter: whatever way one is changed,
    the next call uses it.

    Args:
        graph: the model's functions as nodes; parameters and buffers are inputs.
        inputs: examples of the inputs.
        options: ``freeze`` (False) for inference: parameters are taken as constants, and BatchNorms folded
            into convolutions. Where gradients are kept, nothing is frozen. A later change that PyTorch counts
            (an optimiser, ``load_state_dict``, ``copy_``) is refused at the next call; one that it does not
            count (``.data``, NumPy, shared memory) is not seen.
        mode: those of torch.compile are Inductor's; only ``"default"``.

    Raises:
        SenetError: an option or the mode is not known.
    """
    if mode != "default":
        raise SenetError(
            f"The mode {mode!r} is one of backend 'inductor': leave mode out with backend 'senet'."
        )
    unknown = sorted(set(options or {}) - {"freeze"})
    if unknown:
        raise SenetError(f"The option {unknown[0]!r} of backend 'senet' is not known: it takes 'freeze'.")
    return compiled(graph, inputs, freeze=bool((options or {}).get("freeze")))


Told = Callable[[Epilogue, str], None]
"""Is told of each epilogue, and why it was left, or an empty text."""


def compiled(
    graph: GraphModule, inputs: list[Any], *, freeze: bool = False, tell: Told = lambda found, why_not: None
) -> Callable[..., Any]:
    """Return what runs a graph as `senet` does, and tell of each epilogue."""
    if not freeze or torch.is_grad_enabled():
        _fuse(graph, tell)
        return graph.forward
    freezer = Freezer(graph, inputs)
    _fuse(graph, tell, freezer)
    return Frozen(graph.forward, freezer.constants)


def _fuse(module: GraphModule, tell: Told, freezer: Freezer | None = None) -> None:
    epilogues = find_epilogues(module.graph)
    reasons = [_why_not(each) for each in epilogues]
    for each, reason in zip(epilogues, reasons, strict=True):
        tell(each, reason)
    # From the end, so that what an epilogue takes is still the node that the search found.
    for index, each in enumerate(reversed(epilogues)):
        found = each if freezer is None else freezer.fold(each)
        if found is not None and not _why_not(found):
            _replace(module, found, f"epilogue_{index}")
    if freezer is not None:
        freezer.pack()
    for node in module.graph.nodes:
        if node.target is torch.ops.higher_order.tag_activation_checkpoint:
            node.target = _recomputed
    for child in module.children():
        if isinstance(child, GraphModule):
            _fuse(child, tell)
    module.graph.lint()
    module.recompile()


def _recomputed(body: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Run what a model checkpoints; it may write to its inputs, such as the counters of BatchNorm."""
    return checkpoint(partial(body, *inputs), **options)


def _why_not(found: Epilogue) -> str:
    """Return why an epilogue is left as it is, or an empty text."""
    y, shortcut = value_of(found.y), value_of(found.shortcut)
    gate = found.se.gate if found.se else ""
    if found.names == ["bn"]:
        return found.stop or "nothing to fuse after it"
    if found.steps.bn and layout_of(y) is None:
        # BatchNorm would give such maps the usual order in memory, for views behind it.
        return "its maps are neither contiguous nor channels_last"
    choice = choose(y, shortcut, found.steps, gate=gate, of_batch=found.of_batch)
    if choice.backend in ("numba", "triton") or kernels_mode() == "torch":
        return ""
    return choice.reason


def _replace(module: GraphModule, found: Epilogue, name: str) -> None:
    given = [found.y, found.shortcut, *(found.bn.get(each) for each in _STATISTICS)]
    given += found.se.layers if found.se else [None] * 4
    own = {*found.nodes, *given[2:]}
    given += dict.fromkeys(each for node in found.nodes for each in node.all_input_nodes if each not in own)
    module.add_module(name, FusedEpilogue(found, _layers(module, found, given)))
    last = found.nodes[-1]
    with module.graph.inserting_before(last):
        call = module.graph.call_module(name, tuple(given))
    call.meta = dict(last.meta)
    last.replace_all_uses_with(call)
    for node in reversed(found.nodes):
        module.graph.erase_node(node)


def layer_of(node: Node | None) -> str | None:
    """Return the name in the model of the layer that made ``node``, such as ``layer1.0.bn3``."""
    if node is None:
        return None
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return re.sub(r"^L\['\w+'\]\.?", "", str(stack[-1][0])) if stack else node.name


def _layers(module: GraphModule, found: Epilogue, given: list[Any]) -> GraphModule:
    """Return the nodes of an epilogue as a module that takes ``given``."""
    graph, copies = Graph(), dict[Node, Node]()
    for index, each in enumerate(given):
        placeholder = graph.placeholder(f"input_{index}")
        if isinstance(each, Node):
            copies.setdefault(each, placeholder)
    for node in found.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[found.nodes[-1]])
    return GraphModule(module, graph)
