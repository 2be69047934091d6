"""The Triton backend against `torch_passes` in float64.

Most values here are eighths of small whole numbers, and most table entries quarters: all products and sums
of them are exact in float32, some cuts are exactly zero, and results must be equal, not close.
"""

import itertools
import json
import math
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from senet.kernels import torch_passes as truth
from senet.kernels.layout import Layout, layout_of
from senet.kernels.tables import Affine
from tests.kernels.triton_backend import DEVICE, ON_GPU, triton_passes

if find_spec("triton") is None:
    pytest.skip("Triton is not installed: it exists for Linux alone", allow_module_level=True)
passes = triton_passes()
kernels = passes.triton_kernels
tl = kernels.tl

# NumPy, in which the interpreter computes, warns of NaN.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")]

LAYOUTS = ["contiguous", "channels_last"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
# Names tell what is special; the numbers of pixels and channels are no multiples of any block.
SHAPES = {
    "odd": (2, 7, 5, 3),
    "blocks of pixels": (2, 7, 20, 23),
    "blocks of channels": (2, 70, 3, 3),
    "one channel": (2, 1, 9, 7),
    "one pixel": (3, 64, 1, 1),
    "one value": (1, 1, 1, 1),
    "one image, many channels": (1, 2048, 2, 2),
    "short reads": (1, 12, 6, 6),
    "table": (4, 9),
    "signal": (2, 3, 37),
    "volume": (2, 5, 3, 2, 4),
}


def maps(shape, dtype=torch.float32, layout="contiguous", seed=0):
    """Return eighths between -4 and 4."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-32, 33, shape, generator=generator) / 8
    return in_layout(values.to(DEVICE, dtype), layout)


def gaussian(shape, dtype=torch.float32, layout="contiguous", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return in_layout(torch.randn(shape, generator=generator).to(DEVICE, dtype), layout)


def in_layout(y, layout):
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(y.dim())
    return y.contiguous(memory_format=last) if layout == "channels_last" and last else y


def table(*shape, dtype=torch.float32, seed=0):
    """Return quarters between -2 and 2."""
    generator = torch.Generator().manual_seed(seed + 100)
    return (torch.randint(-8, 9, shape, generator=generator) / 4).to(DEVICE, dtype)


def affine(*shape, dtype=torch.float32, seed=0):
    return Affine(table(*shape, dtype=dtype, seed=seed), table(*shape, dtype=dtype, seed=seed + 1))


def table_type(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def exact(function, *arguments, **options):
    """Run the truth on the same values in float64."""

    def double(x):
        if isinstance(x, Affine):
            return Affine(*map(double, x))
        return x.double() if isinstance(x, torch.Tensor) else x

    return getattr(truth, function)(*map(double, arguments), **options)


def rounded(expected, dtype):
    """Return float64 values, exact in float32, as they are written in ``dtype``."""
    if dtype == torch.bfloat16 and not ON_GPU:
        # The interpreter cuts digits off where a GPU rounds: the compiled code says so, see below.
        return (expected.float().view(torch.int32) & ~0xFFFF).view(torch.float32).to(dtype)
    return expected.to(dtype)


def check(result, expected, like=None):
    """Compare maps, or tables, with exact values; maps have the type and strides of ``like``."""
    if like is not None:
        assert result.dtype == like.dtype
        assert result.stride() == torch.empty_like(like).stride()
        assert result.shape == like.shape
    assert torch.equal(
        result.nan_to_num(nan=12345.0), rounded(expected, result.dtype).nan_to_num(nan=12345.0)
    )
    assert torch.equal(result.isnan(), expected.isnan())


def check_moments(y, *, second=True, rtol=1e-5):
    """Check the shift, and the sums against exact ones around that same shift."""
    moments = passes.moments_pass(y, second=second)
    expected = exact("moments_pass", y, second=second)
    assert all(each.dtype == table_type(y.dtype) for each in moments if each is not None)
    head = y.double().reshape(*y.shape[:2], -1)[..., : truth.SHIFT_PIXELS].abs().mean(-1)
    assert ((moments.shift - expected.shift).abs() <= rtol * head).all()
    d = y.double().reshape(*y.shape[:2], -1) - moments.shift.double()[..., None]
    # d itself is rounded, by so much:
    spacing = torch.finfo(moments.shift.dtype).eps * (y.abs().amax().double() + moments.shift.abs().amax())
    error = (moments.first - d.sum(-1)).abs()
    assert (error <= rtol * d.abs().sum(-1) + spacing * d.shape[-1]).all()
    if second:
        error = (moments.second - d.square().sum(-1)).abs()
        assert (error <= rtol * d.square().sum(-1) + 2 * spacing * d.abs().sum(-1)).all()
    else:
        assert moments.second is None


def check_all_passes(y, seed=0):
    """Run each pass once on maps of the shape, type and layout of ``y``."""
    (N, C), dtype = y.shape[:2], table_type(y.dtype)
    layout = "channels_last" if y.dim() > 3 and y.stride(1) == 1 and not y.is_contiguous() else "contiguous"
    grad, shortcut = (maps(y.shape, y.dtype, layout, seed + i) for i in (1, 2))
    centre, Q = table(C, dtype=dtype, seed=3), table(C, dtype=dtype, seed=4)
    P, R = table(N, C, dtype=dtype, seed=5), table(N, C, dtype=dtype, seed=6)
    cut = affine(N, C, dtype=dtype, seed=7)
    check_moments(y)
    arguments = (y, centre, affine(C, dtype=dtype, seed=8))
    check(passes.relu_sums_pass(*arguments), exact("relu_sums_pass", *arguments))
    arguments = (y, centre, cut, shortcut)
    out = passes.apply_pass(*arguments, relu=True)
    check(out, exact("apply_pass", *arguments, relu=True), y)
    arguments = (grad, y, centre, out)
    for result, expected in zip(
        passes.gradient_sums_pass(*arguments), exact("gradient_sums_pass", *arguments), strict=True
    ):
        check(result, expected)
    arguments = (grad, y, centre, cut, P, None, Q, R)
    results = passes.gradient_apply_pass(*arguments, with_shortcut=True)
    expecteds = exact("gradient_apply_pass", *arguments, with_shortcut=True)
    for result, expected in zip(results, expecteds, strict=True):
        check(result, expected, y)


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


GAPS = {
    "every other channel": lambda: maps((2, 14, 5, 3))[:, ::2],
    "every other channel, channels_last": lambda: maps((2, 14, 5, 3), layout="channels_last")[:, ::2],
    "expanded": lambda: maps((2, 7, 1, 1)).expand(2, 7, 5, 3),
    "turned": lambda: maps((2, 7, 3, 5)).transpose(2, 3),
    "channels before images": lambda: maps((7, 2, 5, 3)).transpose(0, 1),
    "cropped": lambda: maps((2, 7, 6, 4))[..., 1:, 1:],
}


@pytest.mark.parametrize("gaps", GAPS.values(), ids=GAPS.keys())
def test_gaps_and_other_orders(gaps):
    y = gaps()
    assert layout_of(y) is None
    check_all_passes(y)
    like = maps((2, 7, 5, 3), layout="channels_last", seed=9)
    tables = table(14)[::2], affine(7, 2)
    cut = Affine(*(each.T for each in tables[1]))
    for first, other in ((like, y), (y, y)):
        arguments = (first, tables[0], cut, other)
        check(passes.apply_pass(*arguments, relu=False), exact("apply_pass", *arguments, relu=False), first)
        arguments = (other, first, tables[0], other)
        sums = passes.gradient_sums_pass(*arguments)
        check(torch.stack(sums), torch.stack(exact("gradient_sums_pass", *arguments)))
        arguments = (*arguments, tables[0], cut.scale, tables[0], cut.bias)
        results = passes.gradient_apply_pass(*arguments, with_shortcut=True)
        for result, expected in zip(
            results, exact("gradient_apply_pass", *arguments, with_shortcut=True), strict=True
        ):
            check(result, expected, first)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dense_maps_are_not_copied(layout, monkeypatch):
    seen = set()
    monkeypatch.setattr(
        passes,
        "_launch",
        lambda kernel, programs, given, *_: seen.update(x.data_ptr() for x in given if torch.is_tensor(x)),
    )
    y, grad, other = (maps((2, 7, 5, 3), layout=layout, seed=i) for i in range(3))
    centre, cut = table(7), affine(7)
    for run, given in (
        (lambda: passes.moments_pass(y, second=True), [y]),
        (lambda: passes.relu_sums_pass(y, centre, cut), [y, centre, *cut]),
        (lambda: passes.apply_pass(y, centre, cut, other, relu=True), [y, other, centre]),
        (lambda: passes.gradient_sums_pass(grad, y, centre, other), [grad, y, other, centre]),
        (
            lambda: passes.gradient_apply_pass(
                grad, y, centre, other, centre, None, centre, None, with_shortcut=True
            ),
            [grad, y, other, centre],
        ),
    ):
        seen.clear()
        run()
        assert {each.data_ptr() for each in given} <= seen


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("programs", [1, 4, 10**6])
def test_any_number_of_parts_gives_the_same_sums(programs, layout, monkeypatch):
    monkeypatch.setattr(passes, "PROGRAMS", programs)
    y = maps((2, 7, 24, 25), layout=layout)
    parts, tiles = passes._parts(layout_of(y), passes._tiling(layout_of(y), y))
    all_tiles = {"contiguous": 3, "channels_last": 5}[layout]
    if programs == 1:
        assert (parts, tiles) == (1, all_tiles)
    elif programs == 10**6:
        assert (parts, tiles) == (all_tiles, 1)
    else:
        assert parts > 1 and tiles > 1 and parts * tiles > all_tiles  # the last part has less to do
    check_moments(y)
    grad, centre, cut = maps(y.shape, layout=layout, seed=1), table(7), affine(2, 7)
    check(passes.relu_sums_pass(y, centre, cut), exact("relu_sums_pass", y, centre, cut))
    result = passes.gradient_sums_pass(grad, y, centre, cut)
    check(torch.stack(result), torch.stack(exact("gradient_sums_pass", grad, y, centre, cut)))


def test_tiles_fit_and_cover_all_pixels():
    for N, C, M, last, size in itertools.product(
        [1, 3, 256], [1, 3, 7, 24, 64, 70, 2048], [1, 2, 15, 49, 196, 3136, 112**2], [True, False], [2, 4, 8]
    ):
        layout = Layout(N, C, M, last)
        y = torch.empty(0, dtype={2: torch.float16, 4: torch.float32, 8: torch.float64}[size])
        tiling = passes._tiling(layout, y)
        values = tiling.BLOCK_PIXELS * tiling.BLOCK_C
        assert values <= 32 * passes.WARPS * max(16 * passes.READS // size, 8)
        assert min(truth.SHIFT_PIXELS, passes._power(M)) <= tiling.BLOCK_PIXELS
        for block in tiling[3:]:
            assert block > 0 and math.log2(block).is_integer()
        assert C % tiling.C_UNIT == 0 and M % tiling.M_UNIT == 0
        assert max(tiling.C_UNIT, tiling.M_UNIT) * size <= 16
        parts, tiles = passes._parts(layout, tiling)
        assert parts * tiles * tiling.BLOCK_PIXELS >= M > (parts - 1) * tiles * tiling.BLOCK_PIXELS
        programs = N * -(-C // tiling.BLOCK_C)
        assert parts == 1 or programs * parts <= 2 * passes.PROGRAMS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_twice(layout):
    y, grad, out = (gaussian((2, 7, 20, 23), layout=layout, seed=i) for i in range(3))
    centre, cut = table(7), affine(7)

    def run():
        sums = passes.gradient_sums_pass(grad, y, centre, out)
        dy, dx = passes.gradient_apply_pass(
            grad, y, centre, cut, sums[0], None, centre, sums[1], with_shortcut=True
        )
        applied = passes.apply_pass(y, centre, cut, grad, relu=True)
        return [*passes.moments_pass(y, second=True), *sums, dy, dx, applied]

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


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


_share_of_sums, _share_of_writes, _tile = kernels._share_of_sums, kernels._share_of_writes, kernels._tile


@type(kernels._tile)
def _places(sums, writes, C, M, LAST: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr):
    c = tl.arange(0, BLOCK_C)[None, :]
    n, _, channel = _share_of_sums(C, 1, BLOCK_C)
    begin, offsets, inside = _tile(n, 0, channel, C, M, LAST, 1, BLOCK_C)
    tl.store(sums + n * C + c, begin + offsets, mask=inside)
    n, start, channel = _share_of_writes(C, M, LAST, BLOCK_PIXELS, BLOCK_C)
    begin, offsets, inside = _tile(n, start, channel, C, M, LAST, 1, BLOCK_C)
    tl.store(writes + tl.program_id(0) * C + c, begin + offsets, mask=inside)


@pytest.mark.parametrize("last", [True, False])
def test_places_beyond_two_to_the_31(last):
    C, M = 16, 2**28
    sums, writes = (torch.zeros(2, C, dtype=torch.int64, device=DEVICE) for _ in range(2))
    _places[(2,)](sums, writes, C, M, LAST=last, BLOCK_PIXELS=M, BLOCK_C=C)
    image, channel = torch.arange(2, device=DEVICE)[:, None], torch.arange(C, device=DEVICE)
    expected = image * M * C + channel * (1 if last else M)
    assert torch.equal(sums, expected)
    assert torch.equal(writes, expected.flip(0))  # the last image first


def test_kernels_compile_for_hopper_without_a_gpu(tmp_path):
    command = [sys.executable, "-m", "tests.kernels.compile_triton", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    compiled = [json.loads(line) for line in run.stdout.splitlines()]
    assert {each["kernel"] for each in compiled} == {
        "moments", "relu_sums", "apply", "gradient_sums", "gradient_apply",
    }  # fmt: skip
    for each in compiled:
        assert each["cubin"] > 1000, each
        assert each["stack"] == 0, each  # no register was spilled
        assert each["registers"] <= 168, each  # at least three programs on a multiprocessor
        if each["constants"]["LAST"]:
            # Whatever is read or written for many channels goes by 16 bytes.
            assert all(".v4." in name or ".v2.b64" in name for name in each["reads"]), each
        if each["dtype"] == "torch.bfloat16" and each["kernel"].endswith("apply"):
            assert each["rounds"], each
