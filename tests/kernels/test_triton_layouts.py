"""Gaps in memory, parts and tiles of the Triton backend's maps, and places far into them."""

import itertools
import math

import pytest
import torch

from senet.kernels import torch_passes as truth
from senet.kernels.layout import Layout, layout_of
from senet.kernels.tables import Affine
from tests.kernels.triton_backend import DEVICE
from tests.kernels.triton_maps import (
    LAYOUTS,
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

kernels = passes.triton_kernels
tl = kernels.tl

# NumPy, in which the interpreter computes, warns of NaN.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")]


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
