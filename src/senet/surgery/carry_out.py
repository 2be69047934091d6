"""Puts new blocks on their hosts, and makes sure that the model runs them and nothing else has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from senet.blocks.attached import NAME, attach, detach
from senet.errors import SenetError
from senet.kernels.explain import buffers_kept
from senet.surgery.flat_graph import FlatGraph, in_mode, read_by_tracing, unchanged
from senet.surgery.hosts import Host
from senet.surgery.insertion_report import InsertionReport
from senet.surgery.kinds_of_nodes import Kinds
from senet.surgery.optimizer_groups import OptimizerGroups, told
from senet.surgery.recorded import read_by_running, run


class NewBlock(NamedTuple):
    """A block and the module that it will sit on."""

    host: Host
    block: nn.Module


def carry_out(
    flat: FlatGraph,
    places: Sequence[NewBlock],
    report: InsertionReport,
    groups: OptimizerGroups | None,
    example_input: Any,
) -> InsertionReport:
    """Attach the blocks and return the report with what came of it; leave the model alone if that fails.

    Args:
        flat: the model before.
        places: new blocks.
        report: the plan.
        groups: of the optimizer, if there is one.
        example_input: what the model takes, or ``None``.

    Raises:
        SenetError: the model does not run the blocks where they were to run.
    """
    model = flat.model
    before = None if example_input is None else _output(model, example_input)
    kinds = Kinds(flat)
    joining: list[tuple[Any, int]] = []
    for host, block in places:
        like = _weights_near(flat, kinds, host.node)
        block.to(device=like.device, dtype=like.dtype).train(model.get_submodule(host.name).training)
        if groups is not None:
            joining += groups.places(block, _nearby(flat, host, like))
    for host, block in places:
        attach(model.get_submodule(host.name), block, host.position)
    try:
        _require_run(flat, [host for host, _ in places])
        after = None if example_input is None else _output(model, example_input)
    except BaseException:
        for host, _ in places:
            detach(model.get_submodule(host.name))
        raise
    counts = None if groups is None else groups.add(joining)
    return replace(
        report,
        output_change=_difference(before, after),
        optimizer="" if counts is None else told(counts),
    )


def _weights_near(flat: FlatGraph, kinds: Kinds, node: Node) -> nn.Parameter:
    """Return the weights of the convolution or fully connected layer in front of ``node``."""
    waiting = [node]
    seen: set[Node] = set()
    while waiting:
        each = waiting.pop(0)
        seen.add(each)
        layer = flat.layer(each)
        if isinstance(layer, _ConvNd | nn.Linear):
            return next(iter(layer.parameters()))
        waiting += [source for source in kinds.sources(each) if source not in seen]
    return next(each for each in flat.model.parameters() if each.is_floating_point())


def _nearby(flat: FlatGraph, host: Host, like: nn.Parameter) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters around a host, the nearest ones first."""
    yield [like]
    name = host.name
    while True:
        yield list(flat.model.get_submodule(name).parameters())
        if not name:
            return
        name = name.rpartition(".")[0]


def _require_run(flat: FlatGraph, hosts: Sequence[Host]) -> None:
    """Raise `SenetError` unless each block runs as often as its host and all else runs as before."""
    ran_before = flat.example is not None
    again = read_by_running(flat.model, flat.example) if ran_before else read_by_tracing(flat.model)
    new = {f"{host.name}.{NAME}" for host in hosts}
    for host in hosts:
        expected = flat.calls(host.name) or sum(host.name in names for names in flat.outputs.values())
        ran = again.calls(f"{host.name}.{NAME}")
        if ran != expected:
            raise SenetError(
                f"{type(flat.model.get_submodule(host.name)).__name__} {host.name!r} calls its children "
                f"itself, so a block on it would run {ran} times instead of {expected}: leave it out with "
                "where=."
            )
    kept = [node.target for node in again.nodes if node.op == "call_module" and node.target not in new]
    if kept != [node.target for node in flat.nodes if node.op == "call_module"]:
        raise SenetError(
            f"{type(flat.model).__name__} runs different layers once SE is inserted, because its forward "
            "inspects its own modules: leave those units out with where=."
        )


def _output(model: nn.Module, example_input: Any) -> list[Tensor] | None:
    """Return the tensors that the model returns in evaluation mode, or ``None`` on the meta device."""
    with ExitStack() as stack:
        for each in (unchanged(model), in_mode(model, training=False), buffers_kept(model)):
            stack.enter_context(each)
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(torch.no_grad())
        torch.manual_seed(0)
        leaves = [each for each in tree_leaves(run(model, example_input)) if isinstance(each, Tensor)]
    return None if any(each.is_meta for each in leaves) else [each.detach().clone() for each in leaves]


def _difference(before: list[Tensor] | None, after: list[Tensor] | None) -> float | None:
    if before is None or after is None:
        return None
    changes = [(a.double() - b.double()).abs() for a, b in zip(before, after, strict=True) if a.numel()]
    return max((each.max().item() for each in changes), default=0.0)
