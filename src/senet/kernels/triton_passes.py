"""The passes on a CUDA device, compiled by Triton at their first use and kept on disk.

The functions are those of `senet.kernels.torch_passes`, for float32, float16 and bfloat16 maps with float32
tables, and for float64 maps with float64 ones. Maps are (N, C, *spatial) in channels_last or contiguous;
those in any other order are copied. Results are the same bits at each call: what is summed in which order
depends on the shape and type of the maps alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from senet.kernels import tables, triton_kernels
from senet.kernels.layout import Layout, dense, laid_out
from senet.kernels.tables import Affine, Moments, table_dtype
from senet.kernels.torch_passes import SHIFT_PIXELS

algebra = tables
"""What comes between the passes."""
infer = None
"""No whole tails in one call."""
WARPS = 4
"""Of a program, 32 threads each."""
READS = 4
"""Of 16 bytes by each thread from a tile of a map, all of them under way at once."""
WIDTH = {True: 64, False: 256}
"""Values of a tile that lie beside each other, by ``Layout.last``.

In channels_last programs next to each other read what lies side by side, and few channels leave the
tables to be read once for many pixels. A contiguous map is best read in long stretches.
"""
PROGRAMS = 1024
"""Programs that keep a GPU busy: about two rounds of what the 132 processors of an H100 run at once."""


class _Tiling(NamedTuple):
    """What kernels are compiled for: how tiles lie in memory, and their size."""

    LAST: bool
    C_UNIT: int
    M_UNIT: int
    BLOCK_PIXELS: int
    BLOCK_C: int


def moments_pass(y: Tensor, *, second: bool) -> Moments:
    """As `torch_passes.moments_pass`."""
    y, layout = dense(y)
    dtype = table_dtype(y.dtype)
    shift = y.new_empty(layout.N, layout.C, dtype=dtype)
    # Not more rows than pixels: few pixels mean tiles of many channels.
    flags = {"SECOND": second, "HEAD_PIXELS": min(SHIFT_PIXELS, _power(layout.M))}
    sums = _sum(triton_kernels.moments, 1 + second, dtype, layout, [y, shift], **flags)
    return Moments(shift, sums[0], sums[1] if second else None)


def relu_sums_pass(y: Tensor, centre: Tensor, affine: Affine) -> Tensor:
    """As `torch_passes.relu_sums_pass`."""
    y, layout = dense(y)
    given = [y, centre.contiguous(), *_table(affine.scale), *_table(affine.bias)]
    return _sum(triton_kernels.relu_sums, 2, centre.dtype, layout, given)


def apply_pass(y: Tensor, centre: Tensor, affine: Affine, shortcut: Tensor | None, *, relu: bool) -> Tensor:
    """As `torch_passes.apply_pass`."""
    given, (y, layout) = y, dense(y)
    out = torch.empty_like(y)
    if shortcut is not None:
        shortcut = laid_out(shortcut, y)
    tables = [centre.contiguous(), *_table(affine.scale), *_table(affine.bias)]
    flags = {"ADD": shortcut is not None, "RELU": relu}
    _write(triton_kernels.apply, layout, [y, shortcut, *tables, out], **flags)
    return _as_given(out, y, given)


def gradient_sums_pass(
    grad: Tensor, y: Tensor, centre: Tensor, mask: Tensor | Affine | None
) -> tuple[Tensor, Tensor]:
    """As `torch_passes.gradient_sums_pass`."""
    y, layout = dense(y)
    kind, output, tables = _mask(mask, y)
    given = [laid_out(grad, y), y, output, centre.contiguous(), *tables]
    sums = _sum(triton_kernels.gradient_sums, 2, centre.dtype, layout, given, MASK=kind)
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
    given, (y, layout) = y, dense(y)
    dy, dx = torch.empty_like(y), torch.empty_like(y) if with_shortcut else None
    kind, output, tables = _mask(mask, y)
    tables = [centre.contiguous(), *tables, *_table(P), *_table(T), *_table(Q), *_table(R)]
    there = {"HAS_T": T is not None, "HAS_Q": Q is not None, "HAS_R": R is not None}
    flags = {"MASK": kind, "SHORTCUT": with_shortcut, **there}
    maps = [laid_out(grad, y), y, output]
    _write(triton_kernels.gradient_apply, layout, [*maps, *tables, dy, dx], **flags)
    return _as_given(dy, y, given), None if dx is None else _as_given(dx, y, given)


def _sum(
    kernel: Any, count: int, dtype: torch.dtype, layout: Layout, given: list[Any], **flags: Any
) -> Tensor:
    """Return the ``count`` sums over each map that a kernel takes, (count, N, C)."""
    N, C, M, _ = layout
    tiling = _tiling(layout, given[0])
    parts, tiles = _parts(layout, tiling)
    sums = torch.empty(count, parts, N, C, dtype=dtype, device=given[0].device)
    programs = parts * N * _blocks(C, tiling.BLOCK_C)
    _launch(kernel, programs, [*given, sums, N, C, M, parts, tiles], flags, tiling)
    return sums.sum(1) if parts > 1 else sums[:, 0]


def _write(kernel: Any, layout: Layout, given: list[Any], **flags: Any) -> None:
    """Run a kernel that writes maps."""
    N, C, M, _ = layout
    tiling = _tiling(layout, given[0])
    programs = N * _blocks(M, tiling.BLOCK_PIXELS) * _blocks(C, tiling.BLOCK_C)
    _launch(kernel, programs, [*given, C, M], flags, tiling)


def _launch(kernel: Any, programs: int, given: list[Any], flags: dict[str, Any], tiling: _Tiling) -> None:
    # Triton runs on the current device, which need not be that of the maps.
    with torch.cuda.device_of(given[0]):  # type: ignore[no-untyped-call]
        kernel[(programs,)](*given, **flags, **tiling._asdict(), num_warps=WARPS, enable_fp_fusion=True)


def _tiling(layout: Layout, y: Tensor) -> _Tiling:
    """Choose tiles of READS, WIDTH wide or what there is of it, and wider where there are few rows."""
    _, C, M, last = layout
    long, rows = (C, M) if last else (M, C)
    # Where 16 bytes do not divide what lies beside each other, reads are shorter, and there may be more.
    unit = math.gcd(long, 16 // y.element_size())
    size = 32 * WARPS * max(READS * unit, 2 * READS)
    height = min(_power(rows), size // min(_power(long), WIDTH[last]))
    width = min(_power(long), size // height)
    return _Tiling(last, unit, 1, height, width) if last else _Tiling(last, 1, unit, width, height)


def _parts(layout: Layout, tiling: _Tiling) -> tuple[int, int]:
    """Return among how many programs the pixels of an image are shared, and how many tiles each gets."""
    tiles = max(1, _blocks(layout.M, tiling.BLOCK_PIXELS))
    programs = max(1, layout.N * _blocks(layout.C, tiling.BLOCK_C))
    each = _blocks(tiles, min(tiles, _blocks(PROGRAMS, programs)))
    return _blocks(tiles, each), each


def _blocks(size: int, block: int) -> int:
    """Return how many blocks cover ``size``."""
    return -(-size // block)


def _power(size: int) -> int:
    """Return the next power of two: Triton's tiles know no other sizes."""
    return 1 << (size - 1).bit_length()


def _table(table: Tensor | None) -> tuple[Tensor | None, int]:
    """Return a table, and how many rows an image's is from the next one's: 1 for (N, C), 0 for (C,)."""
    if table is None:
        return None, 0
    return table.contiguous(), table.dim() - 1


def _mask(mask: Tensor | Affine | None, y: Tensor) -> tuple[str, Tensor | None, list[Any]]:
    """Return the kind of mask, the output, and `_table` of both tables; missing ones are None."""
    if isinstance(mask, Affine):
        return "affine", None, [*_table(mask.scale), *_table(mask.bias)]
    if mask is None:
        return "none", None, [None, 0, None, 0]
    return "output", laid_out(mask, y), [None, 0, None, 0]


def _as_given(result: Tensor, y: Tensor, given: Tensor) -> Tensor:
    """Return a result of ``y`` in the memory order of ``given``, of which ``y`` may be a dense copy."""
    return result if y is given else torch.empty_like(given).copy_(result)
