"""The parts of the algebra that need more than one process; `tests/blocks/test_tail.py` holds the rest."""

import copy
import subprocess
import sys

import pytest
import torch

from senet.networks import create_network

SCRIPT = """
import copy, sys
import torch, torch.distributed as dist
from torch import nn
from senet.kernels.explain import explain_kernels
from senet.networks import create_network
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
model = create_network("se_resnet8").double()
model.load_state_dict(torch.load(f"{folder}/model.pth"))
x, labels = torch.load(f"{folder}/images.pth")
half = slice(0, 4) if rank == 0 else slice(4, 8)
apart = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
nn.functional.cross_entropy(apart(x[half]), labels[half]).backward()
model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
scores = model(x[half])
nn.functional.cross_entropy(scores, labels[half]).backward()
for parameter in model.parameters():
    dist.all_reduce(parameter.grad)
    parameter.grad /= 2
torch.save(
    {
        "scores": scores.detach(),
        "gradients": {key: p.grad for key, p in model.named_parameters()},
        "state": model.state_dict(),
        "apart": {key: p.grad for key, p in apart.module.named_parameters()},
        "kernels": explain_kernels(model, x[half]).backends,
    },
    f"{folder}/result{rank}.pth",
)
dist.destroy_process_group()
"""


def gradients(model, x, labels):
    model = copy.deepcopy(model)
    torch.nn.functional.cross_entropy(model(x), labels).backward()
    return {key: parameter.grad for key, parameter in model.named_parameters()}


def assert_close(ours, exact):
    for key, value in exact.items():
        assert (ours[key] - value).abs().max() <= 1e-9 * value.abs().max(), key


@pytest.mark.slow
def test_two_processes_with_synchronised_statistics_are_one_with_all_images(tmp_path):
    torch.manual_seed(0)
    model = create_network("se_resnet8").double()
    x, labels = torch.randn(8, 3, 32, 32, dtype=torch.float64), torch.arange(8)
    x = x + torch.arange(8).reshape(8, 1, 1, 1)  # the halves have other means
    torch.save(model.state_dict(), tmp_path / "model.pth")
    torch.save((x, labels), tmp_path / "images.pth")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    results = [torch.load(tmp_path / f"result{rank}.pth", weights_only=False) for rank in range(2)]
    assert results[0]["kernels"].keys() == {"numba"}
    # DistributedDataParallel averages the gradients of the halves, each with statistics of its own.
    halves = [gradients(model, x[half], labels[half]) for half in (slice(0, 4), slice(4, 8))]
    averaged = {key: (value + halves[1][key]) / 2 for key, value in halves[0].items()}
    together = gradients(model, x, labels)
    scores = model(x)
    assert torch.allclose(torch.cat([each["scores"] for each in results]), scores, rtol=1e-10, atol=1e-10)
    for each in results:
        assert_close(each["apart"], averaged)
        assert_close(each["gradients"], together)
        for key, value in model.state_dict().items():
            assert torch.allclose(each["state"][key].double(), value.double(), rtol=1e-10), key
