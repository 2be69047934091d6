"""One training step and one inference call of a network, as they are measured."""

from __future__ import annotations

from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Precision = Literal["fp32", "bf16", "fp16"]


class NetworkStep:
    """A network, images for it, and an optimiser.

    Args:
        network: trained by `train`, so give a copy.
        images: (N, C, H, W), on the network's device.
        precision: ``"bf16"`` or ``"fp16"`` for autocast.
        momentum: of the optimiser.
    """

    def __init__(
        self, network: nn.Module, images: Tensor, *, precision: Precision = "fp32", momentum: float = 0.9
    ) -> None:
        self.network, self.images = network, images
        self.labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
        self.optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=momentum)
        half = torch.float16 if precision == "fp16" else torch.bfloat16
        self.autocast = torch.autocast(images.device.type, half, enabled=precision != "fp32")

    def train(self) -> None:
        """Run forward, backward and the optimiser once."""
        if not self.network.training:  # to tell every layer takes time, which is not the step's
            self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        with self.autocast:
            scores = self.network(self.images)
        functional.cross_entropy(scores.float(), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()

    @torch.inference_mode()
    def infer(self) -> None:
        """Run the network once in evaluation mode."""
        if self.network.training:
            self.network.eval()
        with self.autocast:
            self.network(self.images)

    def held(self) -> list[Tensor]:
        """Return the tensors that live through a step: images, weights, statistics, momentum."""
        self.train()
        self.optimiser.zero_grad(set_to_none=True)
        momentum = [
            value
            for state in self.optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        return [self.images, *chain(self.network.parameters(), self.network.buffers()), *momentum]
