"""Trainings that a test runs with one process, and under torchrun with several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet.networks.zoo import create_network
from senet.training.execution import Execution
from senet.training.images import prepare_images
from senet.training.loop import train
from senet.training.processes import ALONE, Processes, join_processes
from senet.training.progress import Silent
from tests.small import small_network, small_recipe, small_source

# Recipes whose loss must not depend on the number of processes.
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate": 2},
    "clip": {"clip_norm": 0.1, "ema_decay": 0.9},
    "freeze": {"freeze_norm_epochs": 1},
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "class_weights": ("a=3",), "label_smoothing": 0.1},
    "repeated": {"repeats": 2, "sampling": "balanced", "randaugment": 3, "accumulate": 2},
}


class Losses(Silent):
    """Keeps the mean loss of the epoch after every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        self.seen.append(loss)


def no_dropout(network: nn.Module) -> nn.Module:
    """Dropout draws other masks in other processes."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def train_there(
    folder: Path,
    network: nn.Module,
    processes: Processes = ALONE,
    execution: Execution | None = None,
    **changes: Any,
) -> list[float]:
    """Train on the small images, of which every process loads its part."""
    recipe = small_recipe(**{"batch_size": 16, "epochs": 2, **changes})
    images = prepare_images(
        small_source(),
        small_source(200, seed=1),  # four batches
        recipe,
        channels=1,
        mean=(0.4,),
        std=(0.2,),
        seed=0,
        workers=0,
        process=processes.number,
        processes=processes.count,
    )
    losses = Losses()
    train(
        network,
        images,
        recipe,
        seed=0,
        folder=folder,
        device=torch.device("cpu"),
        progress=losses,
        execution=execution,
        processes=processes,
    )
    return losses.seen


def network_with_se() -> nn.Module:
    """Return a network of senet's, whose BatchNorm and SE run fused."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return create_network("se_resnet8", num_classes=3, in_channels=1)


def all_of_them(folder: Path, processes: Processes) -> dict[str, list[float]]:
    """Run every scenario and return its losses."""
    losses = {}
    for name, changes in RECIPES.items():
        network = no_dropout(small_network())
        losses[name] = train_there(folder / name, network, processes, sync_norm=True, **changes)
    losses["se"] = train_there(folder / "se", network_with_se(), processes, sync_norm=True)
    # One process cannot share its weights out; the numbers must be the same.
    execution = Execution(shard=processes.count > 1)
    changes = {"sync_norm": True, "ema_decay": 0.9, "clip_norm": 0.05}
    losses["sharded"] = train_there(folder / "sharded", network_with_se(), processes, execution, **changes)
    changes["precision"] = "bf16"
    losses["half"] = train_there(folder / "half", network_with_se(), processes, execution, **changes)
    # A parameter that no loss depends on.
    unused = no_dropout(small_network())
    unused.register_parameter("unused", nn.Parameter(torch.ones(2)))
    losses["unused"] = train_there(folder / "unused", unused, processes, sync_norm=True)
    return losses


def what_differs(folder: Path, processes: Processes) -> dict[str, Any]:
    """Return what is each process's own, of every process: what dropout draws, and BatchNorm's statistics."""
    drawn: list[float] = []
    frozen: list[torch.Tensor] = []

    def draw(module: nn.Module, _: object) -> None:
        if module.training:
            drawn.append(torch.rand(()).item())
            frozen.append(network[1].running_mean.clone())

    network = small_network()
    network.register_forward_pre_hook(draw)
    changes = {"accumulate": 2, "freeze_norm_epochs": 1, "ema_decay": 0.9}
    train_there(folder / "own", network, processes, **changes)
    found = {"drawn": drawn, "frozen": frozen[-1:], "statistics": list(network[1].buffers())}
    return {name: processes.gather(value) for name, value in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_processes(60) as joined:
        found: dict[str, Any] = dict(all_of_them(Path(sys.argv[1]), joined))
        found["own"] = what_differs(Path(sys.argv[1]), joined)
        # What each process holds for the number of the first.
        found["first"] = joined.gather(float(joined.from_first(joined.number)))
        if joined.first:
            torch.save(found, Path(sys.argv[1]) / "losses.pt")
