"""NaN, infinity, rounding, overflow and empty maps in the Triton backend."""

import math

import pytest
import torch

from senet.kernels.tables import Affine
from tests.kernels.triton_backend import DEVICE
from tests.kernels.triton_maps import (
    LAYOUTS,
    affine,
    check,
    check_moments,
    exact,
    gaussian,
    in_layout,
    maps,
    passes,
    table,
)

# NumPy, in which the interpreter computes, warns of NaN.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nan_and_infinity_come_through(dtype, layout):
    C = 6
    y, grad, shortcut, out = (maps((2, C, 5, 7), dtype, layout, seed=i) for i in range(4))
    for at, value in enumerate([math.nan, math.inf, -math.inf]):
        y[0, at, 0, 1] = y[1, at, 4, 5] = value  # among the first pixels and behind them
        grad[0, at, 2, 2] = shortcut[0, 3 + at, 1, 1] = out[1, 3 + at, 3, 3] = value
    centre, scale, bias = table(C), table(C, seed=1), table(C, seed=2)
    scale[5] = 0  # times infinity
    moments, expected = passes.moments_pass(y, second=True), exact("moments_pass", y, second=True)
    for result, wanted in zip(moments, expected, strict=True):
        assert torch.equal(result.isnan(), wanted.isnan())
        assert torch.equal(result.isinf(), wanted.isinf())
    for relu in (True, False):
        arguments = (y, centre, Affine(scale, bias), shortcut)
        check(passes.apply_pass(*arguments, relu=relu), exact("apply_pass", *arguments, relu=relu), y)
    check(passes.relu_sums_pass(*arguments[:3]), exact("relu_sums_pass", *arguments[:3]))
    for mask in (None, out, Affine(scale, bias)):
        arguments = (grad, y, centre, mask)
        result = passes.gradient_sums_pass(*arguments)
        check(torch.stack(result), torch.stack(exact("gradient_sums_pass", *arguments)))
        arguments = (*arguments, scale, bias, centre, bias)
        results = passes.gradient_apply_pass(*arguments, with_shortcut=True)
        for result, expected in zip(
            results, exact("gradient_apply_pass", *arguments, with_shortcut=True), strict=True
        ):
            check(result, expected, y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_lies_outside_the_maps_adds_no_nan(layout):
    y, grad = maps((2, 3, 5, 5), layout=layout), maps((2, 3, 5, 5), layout=layout, seed=1).abs() + 1
    centre = torch.tensor([math.inf, -math.inf, 0.0], device=DEVICE)
    for mask in (None, y.abs() + 1):
        result = passes.gradient_sums_pass(grad, y, centre, mask)
        check(torch.stack(result), torch.stack(exact("gradient_sums_pass", grad, y, centre, mask)))
        assert not result[1].isnan().any()


def test_y_is_not_read_where_nothing_depends_on_it():
    y, grad, out = (maps((1, 3, 2, 2), seed=i) for i in range(3))
    P, R = table(3), table(3, seed=1)
    arguments = (grad, y, table(3), out, P, None, None, R)
    expected = passes.gradient_apply_pass(*arguments, with_shortcut=False)[0]
    arguments = (grad, torch.full_like(y, math.nan), *arguments[2:])
    assert torch.equal(passes.gradient_apply_pass(*arguments, with_shortcut=False)[0], expected)


def mean_and_variance(y):
    """Return those of each map from its moments."""
    shift, first, second = (each.double() for each in passes.moments_pass(y, second=True))
    mean = first / math.prod(y.shape[2:])
    return shift + mean, second / math.prod(y.shape[2:]) - mean**2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mean_far_from_zero_loses_no_digits(layout):
    y = gaussian((2, 7, 20, 23), layout=layout) + 1e4
    check_moments(y)
    mean, var = mean_and_variance(y)
    assert torch.allclose(mean, y.double().mean((2, 3)), rtol=1e-9)
    assert torch.allclose(var, y.double().var((2, 3), correction=0), rtol=1e-5)
    grad, centre = gaussian(y.shape, layout=layout, seed=1), mean[0].float()
    _, gd_sum = passes.gradient_sums_pass(grad, y, centre, None)
    _, expected = exact("gradient_sums_pass", grad, y, centre, None)
    assert ((gd_sum - expected).abs() <= 1e-6 * 460).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_huge_value_among_the_first_pixels(layout):
    y = gaussian((2, 7, 20, 23), layout=layout)
    y[0, 3, 0, 2] = 1e6
    check_moments(y)
    _, var = mean_and_variance(y)
    assert torch.allclose(var, y.double().var((2, 3), correction=0), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_constant_channels_have_no_variance(dtype):
    y = torch.full((2, 3, 7, 7), 1000.1, device=DEVICE).to(dtype)
    mean, var = mean_and_variance(y)
    assert (var.abs() <= 1e-9).all()
    assert torch.allclose(mean, y[..., 0, 0].double(), rtol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_large_half_precision_maps_do_not_overflow(layout, monkeypatch):
    monkeypatch.setattr(passes, "PROGRAMS", 1)  # a program sums many tiles
    y = in_layout(torch.full((1, 2, 112, 112), 6e4, dtype=torch.float16, device=DEVICE), layout)
    y[:, :, :, ::2] = -6e4
    assert torch.equal(passes.moments_pass(y, second=True).first.abs(), torch.zeros(1, 2, device=DEVICE))
    g_sum, gd_sum = passes.gradient_sums_pass(y, y.abs(), torch.zeros(2, device=DEVICE), y)
    value, pixels = 6e4, 112 * 56  # 60000 is a float16
    assert torch.allclose(g_sum, torch.full_like(g_sum, value * pixels), rtol=1e-5)
    assert torch.allclose(gd_sum, torch.full_like(gd_sum, value**2 * pixels), rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 0, 2, 2), (2, 3, 0, 2)])
def test_empty_maps(shape):
    y, C = maps(shape), shape[1]
    for result, expected in zip(
        passes.moments_pass(y, second=True), exact("moments_pass", y, second=True), strict=True
    ):
        check(result, expected)
    cut = affine(C)
    check(passes.apply_pass(y, table(C), cut, y, relu=True), y.double(), y)
    result = passes.gradient_sums_pass(y, y, table(C), cut)
    check(torch.stack(result), torch.stack(exact("gradient_sums_pass", y, y, table(C), cut)))
    assert passes.gradient_apply_pass(
        y, y, table(C), None, table(C), None, None, None, with_shortcut=False
    )[0].shape == shape  # fmt: skip
