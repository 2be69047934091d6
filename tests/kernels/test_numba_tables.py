"""The compiled algebra on tables against the one in PyTorch, in float64."""

import itertools

import numpy as np
import pytest
import torch

from senet.kernels import numba_tables, tables, torch_passes
from senet.kernels.tables import Moments

# One image, one channel, more channels than a piece of work has.
SIZES = [(3, 7), (1, 64), (4, 1), (2, 600)]
PIXELS = 35


def random(*size, seed):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(N, C, mean=0.0):
    y = random(N, C, PIXELS, seed=1) + random(C, seed=2)[:, None] + mean
    shift = y[..., :16].mean(-1)
    d = y - shift[..., None]
    return Moments(shift, d.sum(-1), d.square().sum(-1))


def converted(value, dtype):
    return None if value is None else value.to(dtype)


def assert_close(ours, exact, tolerance):
    assert (ours is None) == (exact is None)
    if ours is not None:
        assert ours.shape == exact.shape
        assert (ours - exact).abs().max() <= tolerance * exact.abs().max().clamp_min(1)


def statistics(module, moments, dtype, weight, bias, squeeze):
    given = Moments(*(each.to(dtype) for each in moments))
    weight, bias = converted(weight, dtype), converted(bias, dtype)
    return module.statistics(given, weight, bias, pixels=PIXELS, eps=1e-3, group="", squeeze=squeeze)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("affine", [True, False])
def test_statistics(size, affine):
    N, C = size
    moments = moments_of(N, C)
    weight, bias = (random(C, seed=3), random(C, seed=4)) if affine else (None, None)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        ours, squeezed = statistics(numba_tables, moments, dtype, weight, bias, True)
        exact, expected = statistics(tables, moments, torch.float64, weight, bias, True)
        for row in (0, 2, 3, 4, 5):  # the second is what rounding lost
            assert_close(ours[row].double() + (ours[1] if row == 0 else 0), exact[row], tolerance)
        assert_close(squeezed.z, expected.z, tolerance)
        assert_close(squeezed.sums, expected.sums, 10 * tolerance)
        alone, nothing = statistics(numba_tables, moments, dtype, weight, bias, False)
        assert nothing is None
        assert torch.equal(alone, ours)


def test_what_rounding_the_mean_loses_is_kept():
    moments = moments_of(3, 16, mean=1e4 / 3)
    # In float32 the shift itself is rounded; what is summed around the rounded one is exact here.
    shift = moments.shift.float()
    first = (moments.first + (moments.shift - shift.double()) * PIXELS).float()
    table, _ = numba_tables.statistics(
        Moments(shift, first, moments.second.float()),
        None,
        None,
        pixels=PIXELS,
        eps=0.0,
        group="",
        squeeze=False,
    )
    exact = (shift.double() + first.double() / PIXELS).mean(0)
    assert (table[0].double() + table[1].double() - exact).abs().max() < 1e-6
    assert (table[0].double() - exact).abs().max() > 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_squeeze_with_known_statistics(size):
    N, C = size
    moments, table = moments_of(N, C), random(6, C, seed=5)
    ours = numba_tables.squeeze_of(moments, table, pixels=PIXELS)
    exact = tables.squeeze_of(moments, table, pixels=PIXELS)
    for one, other in zip(ours, exact, strict=True):
        assert_close(one, other, 1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("se", ["", "se", "relu se"])
def test_gradients(size, se):
    N, C = size
    g_sum, gd_sum, s, d_z = (random(N, C, seed=seed) for seed in range(4))
    table = random(6, C, seed=6)
    sums = random({"se": 1, "relu se": 2}.get(se, 0), N, C, seed=7) if se else None
    for dtype, of_batch in itertools.product((torch.float64, torch.float32), (True, False)):
        given = [g_sum, gd_sum, table, sums, s if se else None, d_z if se else None]
        ours = numba_tables.gradients(
            *(converted(each, dtype) for each in given), pixels=PIXELS, of_batch=of_batch, group=""
        )
        exact = tables.gradients(*given, pixels=PIXELS, of_batch=of_batch, group="")
        for name, one, other in zip(exact._fields, ours, exact, strict=True):
            assert (one is None) == (other is None), name
            assert_close(one, other, 1e-13 if dtype == torch.float64 else 1e-5)


def test_a_change_of_a_formula_is_a_change_of_the_compiled_loops():
    # Numba's cache on disk compares the loop's own file and what its closure holds, nothing else.
    assert numba_tables._FORMULAS
    for build in numba_tables._LOOPS.values():
        assert numba_tables._FORMULAS in [cell.cell_contents for cell in build(float).__closure__]


@pytest.mark.parametrize("module", [tables, numba_tables])
def test_any_centre_gives_the_gradients_of_batchnorm(module):
    # The centre is the mean but for rounding; far from the mean it shows whether the offset is used right.
    y, weight, bias, grad = (
        random(4, 5, 30, seed=1),
        random(5, seed=2),
        random(5, seed=3),
        random(4, 5, 30, seed=4),
    )
    given = [each.requires_grad_() for each in (y, weight, bias)]
    torch.nn.functional.batch_norm(y, None, None, weight, bias, True, eps=1e-3).backward(grad)
    exact = [each.grad for each in given]
    y, weight, bias = (each.detach() for each in given)
    mean, var = y.mean((0, 2)), y.var((0, 2), unbiased=False)
    offset, rstd = random(5, seed=5), (var + 1e-3).rsqrt()
    a = rstd * weight
    table = torch.stack([mean - offset, offset, rstd, var, a, bias - offset * a])
    norm = tables.Norm.of(table)
    assert torch.allclose(
        torch_passes.apply_pass(y, norm.centre, norm.affine, None, relu=False),
        torch.nn.functional.batch_norm(y, None, None, weight, bias, True, eps=1e-3),
    )
    sums = torch_passes.gradient_sums_pass(grad, y, norm.centre, None)
    found = module.gradients(*sums, table, None, None, None, pixels=30, of_batch=True, group="")
    dy, _ = torch_passes.gradient_apply_pass(grad, y, norm.centre, None, *found[:4], with_shortcut=False)
    for ours, expected in zip((dy, found.weight, found.bias), exact, strict=True):
        assert_close(ours, expected, 1e-12)


def test_double_precision_keeps_what_its_rounding_loses_too():
    shift = random(16, seed=1) * 1e4 + random(3, 16, seed=3)
    first = random(3, 16, seed=2)
    moments = Moments(shift, first, first.square())
    table, _ = numba_tables.statistics(moments, None, None, pixels=PIXELS, eps=0.0, group="", squeeze=False)
    exact = (shift.numpy().astype(np.longdouble) + first.numpy().astype(np.longdouble) / PIXELS).mean(0)
    lost = exact - table[0].numpy()
    assert abs(lost - table[1].numpy()).max() < 0.5 * abs(lost).max()
