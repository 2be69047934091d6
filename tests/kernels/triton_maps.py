"""Maps and tables for the Triton backend, and what its passes make of them against `torch_passes` in float64.

Most values here are eighths of small whole numbers, and most table entries quarters: all products and sums
of them are exact in float32, some cuts are exactly zero, and results must be equal, not close.

Importing this skips the tests where Triton is not installed.
"""

from importlib.util import find_spec

import pytest
import torch

from senet.kernels import torch_passes as truth
from senet.kernels.tables import Affine
from tests.kernels.triton_backend import DEVICE, ON_GPU, triton_passes

if find_spec("triton") is None:
    pytest.skip("Triton is not installed: it exists for Linux alone", allow_module_level=True)
passes = triton_passes()

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
