"""Every pass of the Triton backend, in every shape, type, layout and kind of mask."""

import itertools

import pytest
import torch

from senet.kernels.tables import Affine
from tests.kernels.triton_maps import (
    DTYPES,
    LAYOUTS,
    SHAPES,
    affine,
    check,
    check_all_passes,
    check_moments,
    exact,
    gaussian,
    maps,
    passes,
    table,
)

# NumPy, in which the interpreter computes, warns of NaN.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_in_both_layouts(shape, layout):
    check_all_passes(maps(shape, layout=layout))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_every_type(dtype, layout):
    check_all_passes(maps((2, 7, 20, 23), dtype, layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_values_to_float32_precision(layout):
    y, grad = (gaussian((2, 7, 20, 23), layout=layout, seed=i) for i in range(2))
    centre, P, Q, R = (gaussian((7,), seed=i) for i in range(4))
    check_moments(y * 3 + 5)
    arguments = (y, centre, Affine(P, Q), grad)
    out = passes.apply_pass(*arguments, relu=True)
    assert torch.allclose(out.double(), exact("apply_pass", *arguments, relu=True), rtol=1e-6, atol=2e-6)
    sums = passes.gradient_sums_pass(grad, y, centre, out)
    d = (y.double() - centre.double().view(-1, 1, 1)).abs()
    sizes = (grad.abs().sum((2, 3)), (grad.abs() * d).sum((2, 3)))
    for result, expected, size in zip(
        sums, exact("gradient_sums_pass", grad, y, centre, out), sizes, strict=True
    ):
        assert ((result - expected).abs() <= 1e-6 * size).all()
    arguments = (grad, y, centre, out, P, None, Q, R)
    dy, _ = passes.gradient_apply_pass(*arguments, with_shortcut=False)
    expected, _ = exact("gradient_apply_pass", *arguments, with_shortcut=False)
    assert torch.allclose(dy.double(), expected, rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mask", ["none", "output", "affine", "affine of images"])
def test_gradients_with_every_flag(mask, layout):
    N, C = 2, 3
    y, grad, out = (maps((N, C, 3, 2), layout=layout, seed=i) for i in range(3))
    centre = table(C)
    cut = {
        "none": None,
        "output": out,
        "affine": affine(C, seed=1),
        "affine of images": affine(N, C, seed=1),
    }[mask]
    for result, expected in zip(
        passes.gradient_sums_pass(grad, y, centre, cut),
        exact("gradient_sums_pass", grad, y, centre, cut),
        strict=True,
    ):
        check(result, expected)
    Ts, Qs, Rs = ([None, table(C, seed=i), table(N, C, seed=i)] for i in (3, 4, 5))
    for number, (T, Q, R) in enumerate(itertools.product(Ts, Qs[:2], Rs)):
        P = table(C, seed=2) if number % 2 else table(N, C, seed=2)
        with_shortcut = number % 4 < 2
        arguments = (grad, y, centre, cut, P, T, Q, R)
        dy, dx = passes.gradient_apply_pass(*arguments, with_shortcut=with_shortcut)
        expected_dy, expected_dx = exact("gradient_apply_pass", *arguments, with_shortcut=with_shortcut)
        check(dy, expected_dy, y)
        assert (dx is not None) == with_shortcut
        if with_shortcut:
            check(dx, expected_dx, y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("add", [True, False])
def test_apply_and_relu_sums_with_every_flag(add, relu, layout):
    N, C = 2, 3
    y, shortcut = (maps((N, C, 3, 2), layout=layout, seed=i) for i in range(2))
    for of_images in itertools.product([True, False], repeat=2):
        scale, bias = (table(*([N, C] if each else [C]), seed=i) for i, each in enumerate(of_images))
        arguments = (y, table(C, seed=2), Affine(scale, bias))
        result = passes.apply_pass(*arguments, shortcut if add else None, relu=relu)
        check(result, exact("apply_pass", *arguments, shortcut if add else None, relu=relu), y)
        if add and relu:
            check(passes.relu_sums_pass(*arguments), exact("relu_sums_pass", *arguments))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_without_the_second(layout):
    check_moments(maps((2, 7, 5, 3), layout=layout), second=False)


def test_shortcut_of_another_type_and_gradients_of_another_layout():
    y = maps((2, 7, 5, 3), torch.float16, "channels_last")
    grad, shortcut, out = (maps(y.shape, torch.float32, "contiguous", seed=i) for i in (1, 2, 3))
    cut = affine(7)
    arguments = (y, table(7), cut, shortcut)
    check(passes.apply_pass(*arguments, relu=True), exact("apply_pass", *arguments, relu=True), y)
    arguments = (grad, y, table(7), out)
    for result, expected in zip(
        passes.gradient_sums_pass(*arguments), exact("gradient_sums_pass", *arguments), strict=True
    ):
        check(result, expected)
    arguments = (*arguments, table(7, seed=1), None, None, None)
    check(
        passes.gradient_apply_pass(*arguments, with_shortcut=False)[0],
        exact("gradient_apply_pass", *arguments, with_shortcut=False)[0],
        y,
    )
