"""The compiled passes on a CPU against the plain ones in float64."""

import itertools

import pytest
import torch

from senet.kernels import numba_passes, torch_passes
from senet.kernels.tables import Affine

# N = 1, C = 1, one pixel, sizes that fill no vector, more pixels than a chunk, tables, signals, volumes.
SHAPES = [
    (3, 7, 5, 3),
    (2, 64, 9, 9),
    (1, 1, 40, 40),
    (5, 16, 1, 1),
    (4, 33),
    (2, 8, 1100),
    (2, 5, 3, 4, 5),
    (1, 130, 12, 11),
    (2, 2048, 2, 1),
]
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
CASES = [(shape, last) for shape in SHAPES for last in ((False, True) if len(shape) in LAST else (False,))]
cases = pytest.mark.parametrize(("shape", "last"), CASES)


def maps(shape, last, seed=0, dtype=torch.float32):
    y = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    return y.to(memory_format=LAST[y.dim()]) if last else y


def table(size, seed):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def doubled(value):
    if isinstance(value, Affine):
        return Affine(*map(doubled, value))
    return value.double() if isinstance(value, torch.Tensor) else value


def assert_close(ours, exact, tolerance=1e-5):
    if exact is None:
        assert ours is None
        return
    assert (ours - exact).abs().max() <= tolerance * exact.abs().max().clamp_min(1)


@cases
@pytest.mark.parametrize("second", [True, False])
def test_moments(shape, last, second):
    y = maps(shape, last) + 3
    shift, first, squares = numba_passes.moments_pass(y, second=second)
    exact = torch_passes.moments_pass(y.double(), second=second)
    assert_close(shift, exact.shift)
    # What the rounded shift leaves out, the sums make up for.
    pixels = y[0, 0].numel()
    assert_close(shift + first / pixels, exact.shift + exact.first / pixels, 1e-7)
    assert (squares is not None) == second
    if squares is not None:
        assert_close(squares - first**2 / pixels, exact.second - exact.first**2 / pixels)


@cases
def test_relu_sums(shape, last):
    y, centre = maps(shape, last), table(shape[1], 1)
    affine = Affine(table(shape[1], 2), table(shape[1], 3))
    ours = numba_passes.relu_sums_pass(y, centre, affine)
    exact = torch_passes.relu_sums_pass(y.double(), centre.double(), doubled(affine))
    assert torch.equal(ours[0], exact[0].float())
    assert_close(ours[1], exact[1])


@cases
@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_apply(shape, last, add, relu, shared):
    y, x, centre = maps(shape, last), maps(shape, last, 1), table(shape[1], 2)
    size = shape[1:2] if shared else shape[:2]
    affine = Affine(table(size, 3), table(size, 4))
    ours = numba_passes.apply_pass(y, centre, affine, x if add else None, relu=relu)
    exact = torch_passes.apply_pass(
        y.double(), centre.double(), doubled(affine), x.double() if add else None, relu=relu
    )
    assert ours.stride() == y.stride()
    assert_close(ours, exact, 1e-6)


def masks(shape, last, shared):
    size = shape[1:2] if shared else shape[:2]
    return {
        "none": None,
        "output": torch.relu(maps(shape, last, 5)),
        "affine": Affine(table(size, 6), table(size, 7)),
    }


@cases
@pytest.mark.parametrize("kind", ["none", "output", "affine"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradient_sums(shape, last, kind, shared):
    grad, y, centre = maps(shape, last, 8), maps(shape, last), table(shape[1], 2)
    mask = masks(shape, last, shared)[kind]
    ours = numba_passes.gradient_sums_pass(grad, y, centre, mask)
    exact = torch_passes.gradient_sums_pass(grad.double(), y.double(), centre.double(), doubled(mask))
    for each, expected in zip(ours, exact, strict=True):
        assert_close(each, expected)


@cases
@pytest.mark.parametrize("kind", ["none", "output", "affine"])
def test_gradient_apply(shape, last, kind):
    grad, y, centre = maps(shape, last, 8), maps(shape, last), table(shape[1], 2)
    for shared, inside, of_batch, rest, shortcut in itertools.product((True, False), repeat=5):
        mask = masks(shape, last, shared)[kind]
        size = shape[1:2] if shared else shape[:2]
        given = (
            mask,
            table(size, 9),
            table(size, 10) if inside else None,
            table(shape[1], 11) if of_batch else None,
            table(size, 12) if rest else None,
        )
        ours = numba_passes.gradient_apply_pass(grad, y, centre, *given, with_shortcut=shortcut)
        exact = torch_passes.gradient_apply_pass(
            grad.double(), y.double(), centre.double(), *map(doubled, given), with_shortcut=shortcut
        )
        assert (ours[1] is not None) == shortcut
        for each, expected in zip(ours, exact, strict=True):
            assert each is None or each.stride() == y.stride()
            assert_close(each, expected, 1e-6)


@pytest.mark.parametrize("shape", [(2, 5, 6, 4), (1, 3, 50, 50)])
def test_inputs_of_every_layout_give_the_same(shape):
    grad, y, x, centre = maps(shape, False, 1), maps(shape, False), maps(shape, False, 2), table(shape[1], 3)
    affine = Affine(table(shape[1], 4), table(shape[1], 5))
    expected_sums = numba_passes.gradient_sums_pass(grad, y, centre, affine)
    expected = numba_passes.apply_pass(y, centre, affine, x, relu=True)
    wide = torch.zeros(shape[0], shape[1] * 2, *shape[2:])
    gaps = wide[:, ::2]
    gaps.copy_(y)
    turned = y.transpose(2, 3).contiguous().transpose(2, 3)
    for other in (gaps, turned, y.to(memory_format=torch.channels_last)):
        for mixed in (
            x,
            x.to(memory_format=torch.channels_last),
            x.transpose(2, 3).contiguous().transpose(2, 3),
        ):
            ours = numba_passes.apply_pass(other, centre, affine, mixed, relu=True)
            assert ours.stride() == torch.empty_like(other).stride()
            assert_close(ours, expected, 1e-6)
        for sums, exact in zip(
            numba_passes.gradient_sums_pass(grad, other, centre, affine), expected_sums, strict=True
        ):
            assert_close(sums, exact)
    spread = torch.ones(1).expand(shape)
    for sums, exact in zip(
        numba_passes.gradient_sums_pass(spread, y, centre, affine),
        numba_passes.gradient_sums_pass(torch.ones(shape), y, centre, affine),
        strict=True,
    ):
        assert torch.equal(sums, exact)


@pytest.mark.parametrize("last", [False, True])
def test_any_number_of_threads_gives_the_same_bits(last):
    shape = (3, 96, 17, 13)
    grad, y, x, centre = (*(maps(shape, last, seed) for seed in range(3)), table(96, 4))
    affine = Affine(table(shape[:2], 5), table(shape[:2], 6))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(
                [
                    *numba_passes.moments_pass(y, second=True),
                    numba_passes.relu_sums_pass(y, centre, Affine(centre, centre)),
                    numba_passes.apply_pass(y, centre, affine, x, relu=True),
                    *numba_passes.gradient_sums_pass(grad, y, centre, affine),
                    *numba_passes.gradient_apply_pass(
                        grad, y, centre, x, affine.scale, None, centre, affine.bias, with_shortcut=True
                    ),
                ]
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_a_number_stays_so(last, value):
    y, x, grad, centre = (
        maps((2, 8, 5, 5), last),
        maps((2, 8, 5, 5), last, 1),
        maps((2, 8, 5, 5), last, 2),
        table(8, 3),
    )
    for broken in (y, x, grad):
        broken[1, 2, 3, 1] = value
    affine = Affine(table(8, 4), table(8, 5))
    pairs = [
        (
            numba_passes.apply_pass(y, centre, affine, x, relu=True),
            torch_passes.apply_pass(y, centre, affine, x, relu=True),
        ),
    ]
    for mask in (None, x, affine):
        pairs += zip(
            (
                *numba_passes.gradient_sums_pass(grad, y, centre, mask),
                *numba_passes.gradient_apply_pass(
                    grad, y, centre, mask, centre, None, centre, None, with_shortcut=True
                ),
            ),
            (
                *torch_passes.gradient_sums_pass(grad, y, centre, mask),
                *torch_passes.gradient_apply_pass(
                    grad, y, centre, mask, centre, None, centre, None, with_shortcut=True
                ),
            ),
            strict=True,
        )
    pairs += zip(
        numba_passes.moments_pass(y, second=True), torch_passes.moments_pass(y, second=True), strict=True
    )
    pairs.append(
        (numba_passes.relu_sums_pass(y, centre, affine), torch_passes.relu_sums_pass(y, centre, affine))
    )
    for ours, expected in pairs:
        assert torch.allclose(ours.double(), expected.double(), rtol=1e-4, atol=1e-4, equal_nan=True)


def test_the_largest_tensors_ask_for_huge_pages(monkeypatch):
    asked = []
    monkeypatch.setattr(numba_passes, "_MADVISE", lambda *given: asked.append(given))
    y = torch.zeros(1, 8, 1024, 1024 + 1)
    assert (
        numba_passes.apply_pass(y, torch.zeros(8), Affine(torch.ones(8), torch.ones(8)), None, relu=False)
        .eq(1)
        .all()
    )
    ((start, size, advice),) = asked
    assert start % 4096 == 0
    assert size >= y.numel() * 4
    assert advice == 14
    numba_passes.apply_pass(
        y[:, :, :8], torch.zeros(8), Affine(torch.ones(8), torch.ones(8)), None, relu=False
    )
    assert len(asked) == 1


@pytest.mark.parametrize("last", [False, True])
def test_a_relu_stops_what_is_exactly_zero(last):
    shape = (2, 8, 5, 5)
    y, grad, centre = maps(shape, last), maps(shape, last, 1), table(8, 2)
    y[:, :, 2, 3] = centre
    affine = Affine(table(8, 3), torch.zeros(8))
    for mask in (affine, torch.relu(numba_passes.apply_pass(y, centre, affine, None, relu=False))):
        ours = (
            *numba_passes.gradient_sums_pass(grad, y, centre, mask),
            *numba_passes.gradient_apply_pass(
                grad, y, centre, mask, affine.scale, None, None, None, with_shortcut=True
            ),
        )
        exact = (
            *torch_passes.gradient_sums_pass(grad, y, centre, mask),
            *torch_passes.gradient_apply_pass(
                grad, y, centre, mask, affine.scale, None, None, None, with_shortcut=True
            ),
        )
        for one, other in zip(ours, exact, strict=True):
            assert_close(one, other)
        assert not ours[2][:, :, 2, 3].any()
        assert not ours[3][:, :, 2, 3].any()
    passed, _ = numba_passes.relu_sums_pass(y, centre, affine)
    assert torch.equal(passed, torch_passes.relu_sums_pass(y, centre, affine)[0])
