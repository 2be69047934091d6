"""Gradient checkpointing under torch.compile; `test_contract.py` checks it on every network."""

import copy

import pytest
import torch

from senet.networks import create_network


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager"])
def test_compiled_training_has_the_same_gradients_and_statistics(backend):
    plain = create_network("se_resnet8")
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    compiled = torch.compile(saving, fullgraph=True, backend=backend)
    x = torch.randn(4, 3, 16, 16)
    for _ in range(2):
        plain(x).square().sum().backward()
        compiled(x).square().sum().backward()
    for (name, value), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.allclose(value, other), name
    for (name, parameter), twin in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.allclose(parameter.grad, twin.grad, rtol=1e-4, atol=1e-5), name


def test_less_is_kept_for_the_backward_pass():
    model = create_network("se_resnet20")
    x = torch.randn(4, 3, 32, 32)

    def kept():
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(x)
        return total

    everything = kept()
    model.set_grad_checkpointing()
    assert kept() < everything / 3
    model.set_grad_checkpointing(False)
    assert kept() == everything
