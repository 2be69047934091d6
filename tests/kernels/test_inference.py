"""Whole tails in one call of compiled code: what `tests/blocks/test_tail.py` does not see."""

import copy

import pytest
import torch
from torch import nn

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import tail
from senet.kernels import numba_passes, numba_task, thread_pool
from senet.kernels.backends import kernels
from senet.kernels.excitation import ACTIVATIONS, GATES

SHAPES = [(2, 12, 7, 5), (1, 40, 9, 9)]


def tensors(shape):
    torch.manual_seed(0)
    bn = nn.BatchNorm2d(shape[1]).eval()
    for each in (bn.weight, bn.running_var):
        nn.init.uniform_(each, 0.5, 1.5)
    for each in (bn.bias, bn.running_mean):
        nn.init.uniform_(each, -0.5, 0.5)
    se = SqueezeExcitation(shape[1], 4, bias=False)
    for parameter in se.parameters():
        nn.init.normal_(parameter)
    return torch.randn(shape), bn, se, torch.randn(shape)


def run(y, bn, se, x, mode="always", relu_first=False):
    with torch.no_grad(), kernels(mode):
        return tail(y, bn, nn.ReLU(), se=se, shortcut=None if relu_first else x, relu_first=relu_first)


def assert_close(ours, exact):
    assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("relu_first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_inputs_of_every_layout_give_the_same(shape, relu_first):
    y, bn, se, x = tensors(shape)
    expected = run(y, bn, se, x, "reference", relu_first)
    wide = torch.zeros(shape[0], shape[1] * 2, *shape[2:])
    gaps = wide[:, ::2]
    gaps.copy_(y)
    for given in (y, y.to(memory_format=torch.channels_last), gaps):
        for shortcut in (x, x.to(memory_format=torch.channels_last)):
            out = run(given, bn, se, shortcut, relu_first=relu_first)
            assert out.stride() == torch.empty_like(given).stride()
            assert_close(out, expected)


def test_many_images_are_left_to_matrix_products(monkeypatch):
    y, bn, se, x = tensors(SHAPES[0])
    expected = run(y, bn, se, x)
    asked = []
    inner = numba_passes.infer

    def infer(*given):
        asked.append(inner(*given))
        return asked[-1]

    monkeypatch.setattr(numba_passes, "infer", infer)
    products = len(y) * se.fc1.weight.numel()
    monkeypatch.setattr(numba_passes, "MOST_PRODUCTS", products)
    assert_close(run(y, bn, se, x), expected)
    assert asked[0] is not None
    monkeypatch.setattr(numba_passes, "MOST_PRODUCTS", products - 1)
    assert_close(run(y, bn, se, x), expected)
    assert asked[1] is None


@pytest.mark.parametrize("relu_first", [False, True])
def test_any_number_of_threads_gives_the_same_bits(relu_first):
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(run(*tensors(SHAPES[1]), relu_first=relu_first))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_without_openmp_the_calling_thread_does_all(monkeypatch):
    expected = run(*tensors(SHAPES[0]))
    monkeypatch.setattr(numba_task, "pool_address", lambda: 0)
    numba_passes._inference.cache_clear()
    try:
        assert torch.equal(run(*tensors(SHAPES[0])), expected)
    finally:
        numba_passes._inference.cache_clear()
    assert thread_pool.pool_address() != 0


def test_layers_of_another_type_and_order_are_converted():
    y, bn, se, x = tensors(SHAPES[0])
    expected = run(y, bn, se, x)
    other = copy.deepcopy(se)
    other.fc1.weight = nn.Parameter(se.fc1.weight.detach().t().contiguous().t())
    assert not other.fc1.weight.is_contiguous()
    assert torch.equal(run(y, bn, other, x), expected)
    assert_close(run(y, bn, se.double(), x), expected)


def test_a_block_without_batchnorm_after_one_with():
    y, bn, se, x = tensors(SHAPES[0])
    run(y, bn, se, x)
    with kernels("reference"), torch.no_grad():
        expected = torch.relu(se(y) + x)
    assert_close(run(y, None, se, x), expected)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gates_and_activations_far_from_zero(activation, gate):
    y, bn, _, x = tensors(SHAPES[0])
    se = SqueezeExcitation(y.shape[1], 1, gate=gate, activation=activation)
    with torch.no_grad():
        nn.init.eye_(se.fc1.weight)
        nn.init.eye_(se.fc2.weight)
        se.fc1.bias.copy_(torch.linspace(-6, 6, 12))
        se.fc2.bias.copy_(torch.linspace(6, -12, 12))
    assert_close(run(y, bn, se, x), run(y, bn, se, x, "reference"))


def test_statistics_of_a_batch_are_taken_without_gradients_too():
    y, bn, se, x = tensors(SHAPES[0])
    bn.train()
    twin = copy.deepcopy(bn)
    assert_close(run(y, bn, se, x), run(y, twin, se, x, "reference"))
    for key, value in twin.state_dict().items():
        assert torch.allclose(bn.state_dict()[key], value, rtol=1e-5)


def test_what_is_known_of_a_batchnorm_is_made_anew_when_it_changes():
    y, bn, se, x = tensors(SHAPES[0])
    run(y, bn, se, x)

    def replaced(layer):
        layer.weight.data = layer.weight.data * 2

    for change in (
        lambda layer: layer.running_mean.add_(1),
        lambda layer: layer.load_state_dict({**layer.state_dict(), "bias": torch.ones(12)}),
        lambda layer: setattr(layer, "eps", 0.5),
        replaced,
        lambda layer: setattr(layer, "running_var", layer.running_var * 3),
    ):
        change(bn)
        assert_close(run(y, bn, se, x), run(y, bn, se, x, "reference"))
