"""The passes on a CPU, compiled by Numba at their first use and kept on disk. No C++ compiler is needed.

The functions are those of `senet.kernels.torch_passes`, for float32 and float64 maps.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache, lru_cache, partial
from types import ModuleType

import torch
from torch import Tensor

from senet.kernels import numba_channels_last, numba_contiguous, numba_tables
from senet.kernels.excitation import Excitation
from senet.kernels.fused import BatchNorm
from senet.kernels.layout import Layout, dense, laid_out
from senet.kernels.numba_excitation import MOST_PRODUCTS, excitation_calls
from senet.kernels.numba_tables import running_statistics_call, squeeze_call
from senet.kernels.numba_task import DTYPES, Call, Program, compiled, place, run
from senet.kernels.steps import Steps
from senet.kernels.tables import Affine, Moments

algebra = numba_tables
"""What comes between the passes."""
_PIECE = 1 << 16
"""Values in a piece of work of a pass that sums nothing."""
_PAGED = 1 << 22
"""Bytes from which a tensor's memory is likely to come fresh from the system."""


def moments_pass(y: Tensor, *, second: bool) -> Moments:
    """As `torch_passes.moments_pass`; the squares are summed in any case, by the one loop there is."""
    y, layout = dense(y)
    shift, *sums = y.new_empty(3, layout.N, layout.C).unbind()
    loop = _loop(layout.last, y.dtype, "moments")
    pieces, sizes = _blocks(layout)
    run(loop, pieces, [*sizes, y, shift, *sums])
    return Moments(shift, sums[0], sums[1] if second else None)


def relu_sums_pass(y: Tensor, centre: Tensor, affine: Affine) -> Tensor:
    """As `torch_passes.relu_sums_pass`."""
    y, layout = dense(y)
    sums = torch.empty(2, layout.N, layout.C, dtype=y.dtype)
    pieces, sizes = _blocks(layout)
    C = [] if layout.last else [layout.C]
    loop = _loop(layout.last, y.dtype, "relu_sums")
    run(loop, pieces, [*sizes, *C, y, centre, *affine, *sums])
    return sums


def apply_pass(y: Tensor, centre: Tensor, affine: Affine, shortcut: Tensor | None, *, relu: bool) -> Tensor:
    """As `torch_passes.apply_pass`."""
    given = y
    y, layout = dense(y)
    out = _new(y)
    add = shortcut is not None
    if shortcut is not None:
        shortcut = laid_out(shortcut, y)
    pieces, sizes = _rows(layout)
    loop = _loop(layout.last, y.dtype, "apply", add=add, relu=relu)
    run(loop, pieces, [*sizes, _step(affine.scale), y, centre, *affine, out, shortcut])
    return _in_order_of(given, y, out)


def gradient_sums_pass(
    grad: Tensor, y: Tensor, centre: Tensor, mask: Tensor | Affine | None
) -> tuple[Tensor, Tensor]:
    """As `torch_passes.gradient_sums_pass`."""
    y, layout = dense(y)
    grad = laid_out(grad, y)
    sums = torch.empty(2, layout.N, layout.C, dtype=y.dtype)
    kind, step, output, affine = _mask(mask, y)
    pieces, sizes = _blocks(layout)
    C = [] if layout.last else [layout.C]
    loop = _loop(layout.last, y.dtype, "gradient_sums", mask=kind)
    run(loop, pieces, [*sizes, *C, step, grad, y, centre, *sums, output, *affine])
    return sums[0], sums[1]


def gradient_apply_pass(
    grad: Tensor,
    y: Tensor,
    centre: Tensor,
    mask: Tensor | Affine | None,
    P: Tensor,
    T: Tensor | None,
    Q: Tensor | None,
    R: Tensor | None,
    *,
    with_shortcut: bool,
) -> tuple[Tensor, Tensor | None]:
    """As `torch_passes.gradient_apply_pass`."""
    given = y
    y, layout = dense(y)
    grad = laid_out(grad, y)
    dy, dx = _new(y), _new(y) if with_shortcut else None
    R = torch.zeros_like(centre) if R is None else R
    kind, step, output, affine = _mask(mask, y)
    flags = {"inside": T is not None, "of_batch": Q is not None, "shortcut": with_shortcut}
    loop = _loop(layout.last, y.dtype, "gradient_apply", mask=kind, **flags)
    pieces, sizes = _rows(layout)
    steps = [_step(P), _step(T), _step(R), step]
    run(loop, pieces, [*sizes, *steps, grad, y, centre, P, T, Q, R, output, *affine, dy, dx])
    return _in_order_of(given, y, dy), None if dx is None else _in_order_of(given, y, dx)


def infer(
    y: Tensor, shortcut: Tensor | None, batch_norm: BatchNorm, excitation: Excitation | None, steps: Steps
) -> Tensor | None:
    """Run a tail whose statistics are known as one call of compiled code, for which nobody needs gradients.

    On few images a tail is over in the time of a few operators, so nothing returns to Python between
    BatchNorm's parameters and the result. They are read at every call: PyTorch has no way to tell that
    memory has changed.

    Args:
        y: (N, C, *spatial).
        shortcut: added where ``steps.add`` says so.
        batch_norm: with running statistics; unused without ``steps.bn``.
        excitation: SE's layers; only with ``steps.se``.
        steps: of the tail.

    Returns:
        The output, or ``None`` where so many images are better served by PyTorch's matrix products.
    """
    given = y
    y, layout = dense(y)
    if shortcut is not None:
        shortcut = laid_out(shortcut, y)
    threads, eps = torch.get_num_threads(), batch_norm.eps
    norm = batch_norm.like(y)
    if excitation is None:
        out, space = _new(y), y.new_empty(6 * layout.C)
        _inference(layout, y.dtype, steps, eps, None, threads).run(y, shortcut, out, space, *norm)
        return _in_order_of(given, y, out)
    w1, b1, w2, b2, activation, gate = excitation.like(y)
    hidden = len(w1)
    if layout.N * layout.C * hidden > MOST_PRODUCTS:
        return None
    out = _new(y)
    space = y.new_empty(6 * layout.C + layout.N * (6 * layout.C + hidden))
    program = _inference(layout, y.dtype, steps, eps, (hidden, activation, gate), threads)
    program.run(y, shortcut, out, space, *norm, w1, b1, w2, b2)
    return _in_order_of(given, y, out)


@lru_cache(maxsize=1024)
def _inference(
    layout: Layout,
    dtype: torch.dtype,
    steps: Steps,
    eps: float,
    kind: tuple[int, str, str] | None,
    threads: int,
) -> Program:
    """Return what `infer` runs: the kind is the number of hidden units, the activation and the gate."""
    N, C, _, last = layout
    y, shortcut, out, table, *parameters = (partial(place, number) for number in range(12))
    norm, layers = [each() for each in parameters[:4]] if steps.bn else [0] * 4, parameters[4:]
    row = C * dtype.itemsize
    scale, bias, step = table(4 * row), table(5 * row), 0
    calls = [running_statistics_call(dtype, C, eps, norm, table())]
    if kind is not None:
        space = partial(_behind, table, 6 * row)
        z, scaled, hidden = (space(rows * N * row) for rows in (3, 4, 6))
        calls += _squeeze_calls(layout, dtype, y(), table(), space, steps)
        weights = [layer() for layer in layers]
        calls += excitation_calls(dtype, (N, C), kind, weights, (scale, bias), z, hidden, scaled)
        scale, bias, step = scaled, space(5 * N * row), C
    pieces, sizes = _rows(layout)
    loop = _loop(last, dtype, "apply", add=steps.add, relu=steps.relu or steps.relu_first)
    calls.append(Call(loop, pieces, [*sizes, step, y(), table(), scale, bias, out(), shortcut()]))
    return Program(calls)


def _behind(place: Callable[[int], int], begin: int, offset: int) -> int:
    return place(begin + offset)


def _squeeze_calls(
    layout: Layout, dtype: torch.dtype, y: int, table: int, space: Callable[[int], int], steps: Steps
) -> list[Call]:
    """Return the calls that leave the squeeze of maps in row 3 of a ``space`` of (N, C) tables."""
    row = layout.C * dtype.itemsize
    first, second, total, z = (space(rows * layout.N * row) for rows in range(4))
    pieces, sizes = _blocks(layout)
    if steps.relu_first:
        columns = [] if layout.last else [layout.C]
        loop = _loop(layout.last, dtype, "relu_sums")
        given = [*sizes, *columns, y, table, table + 4 * row, table + 5 * row, first, second]
        squeeze = squeeze_call(layout, dtype, (0, 0), table, first, second, z)
    else:
        loop = _loop(layout.last, dtype, "moments")
        # The squares, which nobody needs, are where the squeeze puts its sums.
        given = [*sizes, y, first, second, total]
        squeeze = squeeze_call(layout, dtype, (first, second), table, 0, total, z)
    return [Call(loop, pieces, given), squeeze]


@cache
def _loop(last: bool, dtype: torch.dtype, name: str, **flags: bool | str) -> int:
    loops: ModuleType = numba_channels_last if last else numba_contiguous
    return compiled(getattr(loops, name)(DTYPES[dtype], **flags))


def _blocks(layout: Layout) -> tuple[int, list[int]]:
    """Return the pieces of a pass that sums, and the sizes its loop wants."""
    N, C, M, last = layout
    if not last:
        rows = max(1, _PIECE // M)
        return -(-N * C // rows), [N * C, M, rows]
    # With few images, their channels are shared out as well: at least 4 pieces for each thread.
    wanted = -(-4 * torch.get_num_threads() // N)
    block = C if N % torch.get_num_threads() == 0 else max(32, -(-C // wanted))
    return N * -(-C // block), [C, M, block]


def _rows(layout: Layout) -> tuple[int, list[int]]:
    """Return the pieces of a pass that sums nothing, and the sizes its loop wants."""
    N, C, M, last = layout
    rows = max(1, _PIECE // (C if last else M))
    if last:
        return N * -(-M // rows), [C, M, rows]
    return -(-N * C // rows), [N * C, M, rows, C]


def _step(table: Tensor | None) -> int:
    """Return how far an image's row of a table is from the next one's: 0 if all share one, (C,)."""
    return 0 if table is None or table.dim() == 1 else table.shape[1]


def _mask(
    mask: Tensor | Affine | None, y: Tensor
) -> tuple[str, int, Tensor | None, tuple[Tensor | None, Tensor | None]]:
    """Return the kind of mask, the step of its tables, the output and the tables, missing ones as None.

    No mask is one that lets everything through: loops for it would only have to be compiled as well.
    """
    if mask is None:
        zeros, ones = torch.zeros(y.shape[1], dtype=y.dtype), torch.ones(y.shape[1], dtype=y.dtype)
        mask = Affine(zeros, ones)
    if isinstance(mask, Affine):
        return "affine", _step(mask.scale), None, mask
    return "output", 0, laid_out(mask, y), (None, None)


def _in_order_of(given: Tensor, y: Tensor, result: Tensor) -> Tensor:
    """Return ``result``, computed from the dense ``y``, in the order of the values of the input."""
    return result if y is given else torch.empty_like(given).copy_(result)


def _new(like: Tensor) -> Tensor:
    """Return a new tensor, in huge pages where the system has them.

    Memory fresh from the system arrives page by page at its first use, which takes longer than the pass
    that fills it; huge pages are 512 times fewer.
    """
    new = torch.empty_like(like)
    size = math.prod(new.shape) * new.element_size()
    if size >= _PAGED and _MADVISE is not None:
        page = new.data_ptr() // _PAGE * _PAGE
        _MADVISE(page, new.data_ptr() + size - page, 14)  # MADV_HUGEPAGE
    return new


def _madvise() -> Callable[[int, int, int], int] | None:
    try:
        advise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):  # not a Unix
        return None
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return advise


_MADVISE = _madvise()
_PAGE = 4096
