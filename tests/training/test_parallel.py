from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from senet.blocks.sync_norm import CpuSyncBatchNorm
from senet.training.execution import Execution
from senet.training.parallel import TrainableNetwork, parts_to_shard
from senet.training.processes import ALONE, Processes
from tests.small import small_network, small_recipe
from tests.training.several import network_with_se
from tests.training.threads import in_threads

CPU = torch.device("cpu")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_only_the_last_piece_exchanges_gradients(group: None) -> None:
    network = TrainableNetwork(small_network(), small_recipe(), Execution(), ALONE, CPU)
    shared = network.forward = DistributedDataParallel(network.model)
    with network.adding_up(last=False):
        assert not shared.require_backward_grad_sync
    with network.adding_up(last=True):
        assert shared.require_backward_grad_sync


def test_a_network_is_given_back_as_it_came() -> None:
    model = network_with_se()
    kinds = [type(each) for each in model.modules()]
    network = TrainableNetwork(
        model, small_recipe(sync_norm=True), Execution(recompute=True), Processes(count=2), CPU
    )
    assert any(isinstance(each, CpuSyncBatchNorm) for each in model.modules())
    assert model._recomputes
    network.release()
    assert not model._recomputes
    assert [type(each) for each in model.modules()] == kinds


def test_statistics_are_those_of_the_first_process() -> None:
    def work(processes: Processes) -> list[torch.Tensor]:
        network = TrainableNetwork(small_network(), small_recipe(), Execution(), processes, CPU)
        for buffer in network.model.buffers():
            buffer.fill_(processes.number + 5)
        network.copy_buffers_from_first()
        return list(network.model.buffers())

    for buffers in in_threads(2, work):
        assert len(buffers) == 3 and all(bool((each == 5).all()) for each in buffers)


def test_the_units_of_a_residual_network_are_shared_out_one_by_one() -> None:
    model = network_with_se()
    parts = parts_to_shard(model)
    assert len(parts) == 3 and len({type(each) for each in parts}) == 1
    inside = {id(each) for part in parts for each in part.parameters()}
    outside = [name for name, each in model.named_parameters() if id(each) not in inside]
    assert outside and all(
        not any(name.startswith(f"{at}.") for at, each in model.named_modules() if each in parts)
        for name in outside
    )
    assert parts_to_shard(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))) == []
