"""Hands the parameters of new blocks to the optimizer that trains their surroundings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from senet.errors import SenetError
from senet.text import counted


class OptimizerGroups:
    """Finds for each new parameter the group of the parameters it works beside.

    Matrices, which weight decay is usually meant for, go where the weights of the convolution in front
    are; biases and other vectors where the vectors around them are, so that a group without weight decay
    stays the place of all vectors. Each unit is looked at by itself: a learning rate of its own is kept.

    Args:
        optimizer: of the model.
        model: before it gets new blocks.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module) -> None:
        if not isinstance(optimizer, Optimizer):
            raise SenetError(f"optimizer must be a torch.optim.Optimizer, not {type(optimizer).__name__}.")
        self.optimizer = optimizer
        self.groups = {
            id(parameter): index
            for index, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
        }
        if not any(id(each) in self.groups for each in model.parameters()):
            raise SenetError(
                "The optimizer has none of the model's parameters: build it from this model's parameters "
                "first."
            )
        self.everywhere = list(model.parameters())

    def places(self, block: nn.Module, nearby: Iterable[Iterable[nn.Parameter]]) -> list[tuple[Any, int]]:
        """Return each parameter of ``block`` with the index of its group.

        Args:
            block: new.
            nearby: parameters around it, the nearest ones first.
        """
        around = [list(each) for each in nearby] + [self.everywhere]
        return [(each, self._group(each.dim() > 1, around)) for each in block.parameters()]

    def add(self, places: Iterable[tuple[Any, int]]) -> Mapping[int, int]:
        """Put parameters into their groups and return how many each group has got."""
        counts: dict[int, int] = {}
        for parameter, index in places:
            self.optimizer.param_groups[index]["params"].append(parameter)
            counts[index] = counts.get(index, 0) + 1
        return counts

    def _group(self, is_matrix: bool, around: list[list[nn.Parameter]]) -> int:
        for alike in (True, False):
            for parameters in around:
                for each in parameters:
                    if id(each) in self.groups and (not alike or (each.dim() > 1) == is_matrix):
                        return self.groups[id(each)]
        raise AssertionError("the optimizer holds a parameter of the model")


def told(counts: Mapping[int, int]) -> str:
    """Return in words which groups got how many parameters."""
    listed = ", ".join(f"{count} to group {index}" for index, count in sorted(counts.items()))
    return f"Added to the optimizer: {counted(sum(counts.values()), 'tensor')}, {listed}."
