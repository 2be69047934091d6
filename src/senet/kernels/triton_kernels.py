"""The passes over the maps as Triton kernels; `senet.kernels.torch_passes` says what each computes.

A program works on tiles of BLOCK_PIXELS pixels and BLOCK_C channels of one image, of which it knows by LAST
how they lie in memory: all channels of a pixel beside each other (channels_last), or all pixels of a channel.
Values are computed in the type of the tables, whatever that of the maps. ``N`` images have ``C`` channels
and ``M`` pixels, multiples of C_UNIT and M_UNIT. A table's ``step`` is how many rows an image's is from the
next one's: 1 in an (N, C) table, 0 in a (C,) table.

Sums: a program adds up the tiles of one part of an image's pixels value by value, and then the pixels of
that one tile: short sums lose few digits. ``parts`` programs share an image's pixels where images and
channels alone are too few to fill a GPU; the launcher sums what they leave. Every sum has one order.

Writes: the programs go through the images backwards, so that the last ones read are still in the L2 cache.

``tl.maximum`` would drop a NaN, and so would ``where(value > 0, value, 0)``: a ReLU lets through all that is
not ``<= 0``.
"""

import triton
import triton.language as tl

# Numbers need no kernels of their own: the units tell what matters about them.
_SIZES = ["N", "C", "M", "parts", "tiles"]
_STEPS = ["scale_step", "bias_step", "P_step", "T_step", "Q_step", "R_step"]


@triton.jit(do_not_specialize=_SIZES)
def moments(
    y, shift, sums, N, C, M, parts, tiles,
    SECOND: tl.constexpr, HEAD_PIXELS: tl.constexpr,
    LAST: tl.constexpr, C_UNIT: tl.constexpr, M_UNIT: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write the mean of each map's first HEAD_PIXELS pixels as its shift, and the sums of ``y - shift``.

    ``shift`` is (N, C); ``sums`` is (1, parts, N, C), or with SECOND for the squares too, (2, parts, N, C).
    """
    dtype = shift.dtype.element_ty
    C, M = _whole(C, C_UNIT), _whole(M, M_UNIT)
    n, part, channel = _share_of_sums(C, parts, BLOCK_C)
    k = _head_sum(y, n, channel, C, M, dtype, LAST, HEAD_PIXELS, BLOCK_C) / tl.minimum(M, HEAD_PIXELS)
    # An infinite shift would make a sum of what is not a number out of an infinite one.
    k = tl.where(tl.abs(k) < float("inf"), k, 0)
    if part == 0:
        c = channel + tl.arange(0, BLOCK_C)
        tl.store(shift + n * C + c, k, mask=c < C)
    first = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    second = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    for tile in range(tiles):
        start = (part * tiles + tile) * BLOCK_PIXELS
        begin, offsets, inside = _tile(n, start, channel, C, M, LAST, BLOCK_PIXELS, BLOCK_C)
        values = tl.load(y + begin + offsets, mask=inside, other=0).to(dtype)
        d = tl.where(inside, values - k[None, :], 0)
        first += d
        if SECOND:
            second += d * d
    _store_sum(sums, 0, first, n, part, channel, N, C, parts, BLOCK_C)
    if SECOND:
        _store_sum(sums, 1, second, n, part, channel, N, C, parts, BLOCK_C)


@triton.jit(do_not_specialize=_SIZES + _STEPS)
def relu_sums(
    y, centre, scale, scale_step, bias, bias_step, sums,
    N, C, M, parts, tiles,
    LAST: tl.constexpr, C_UNIT: tl.constexpr, M_UNIT: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write how many pixels a ReLU lets through, and the sum of ``d`` over them, as (2, parts, N, C)."""
    dtype = centre.dtype.element_ty
    C, M = _whole(C, C_UNIT), _whole(M, M_UNIT)
    n, part, channel = _share_of_sums(C, parts, BLOCK_C)
    k = _row(centre, 0, n, channel, C, BLOCK_C)
    a = _row(scale, scale_step, n, channel, C, BLOCK_C)
    b = _row(bias, bias_step, n, channel, C, BLOCK_C)
    count = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    total = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    for tile in range(tiles):
        start = (part * tiles + tile) * BLOCK_PIXELS
        begin, offsets, inside = _tile(n, start, channel, C, M, LAST, BLOCK_PIXELS, BLOCK_C)
        d = tl.load(y + begin + offsets, mask=inside, other=0).to(dtype) - k
        passed = ~(a * d + b <= 0) & inside
        count += passed.to(dtype)
        total += tl.where(passed, d, 0)
    _store_sum(sums, 0, count, n, part, channel, N, C, parts, BLOCK_C)
    _store_sum(sums, 1, total, n, part, channel, N, C, parts, BLOCK_C)


@triton.jit(do_not_specialize=_SIZES + _STEPS)
def apply(
    y, shortcut, centre, scale, scale_step, bias, bias_step, out,
    C, M, ADD: tl.constexpr, RELU: tl.constexpr,
    LAST: tl.constexpr, C_UNIT: tl.constexpr, M_UNIT: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write ``scale d + bias``, plus the shortcut with ADD, through a ReLU with RELU."""
    dtype = centre.dtype.element_ty
    C, M = _whole(C, C_UNIT), _whole(M, M_UNIT)
    n, start, channel = _share_of_writes(C, M, LAST, BLOCK_PIXELS, BLOCK_C)
    begin, offsets, inside = _tile(n, start, channel, C, M, LAST, BLOCK_PIXELS, BLOCK_C)
    k = _row(centre, 0, n, channel, C, BLOCK_C)
    a = _row(scale, scale_step, n, channel, C, BLOCK_C)
    b = _row(bias, bias_step, n, channel, C, BLOCK_C)
    d = tl.load(y + begin + offsets, mask=inside, other=0).to(dtype) - k
    value = a * d + b
    if ADD:
        value += tl.load(shortcut + begin + offsets, mask=inside, other=0).to(dtype)
    if RELU:
        value = tl.where(value <= 0, 0, value)
    tl.store(out + begin + offsets, value, mask=inside)


@triton.jit(do_not_specialize=_SIZES + _STEPS)
def gradient_sums(
    grad, y, output,
    centre, scale, scale_step, bias, bias_step, sums,
    N, C, M, parts, tiles, MASK: tl.constexpr,
    LAST: tl.constexpr, C_UNIT: tl.constexpr, M_UNIT: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write the sums of the masked gradient ``g`` and of ``g d``, as (2, parts, N, C).

    MASK is "output" or "affine", with ``output`` or ``scale`` and ``bias`` given for it, or "none".
    """
    dtype = centre.dtype.element_ty
    C, M = _whole(C, C_UNIT), _whole(M, M_UNIT)
    n, part, channel = _share_of_sums(C, parts, BLOCK_C)
    k = _row(centre, 0, n, channel, C, BLOCK_C)
    if MASK == "affine":
        a = _row(scale, scale_step, n, channel, C, BLOCK_C)
        b = _row(bias, bias_step, n, channel, C, BLOCK_C)
    g_sum = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    gd_sum = tl.zeros([BLOCK_PIXELS, BLOCK_C], dtype=dtype)
    for tile in range(tiles):
        start = (part * tiles + tile) * BLOCK_PIXELS
        begin, offsets, inside = _tile(n, start, channel, C, M, LAST, BLOCK_PIXELS, BLOCK_C)
        g = tl.load(grad + begin + offsets, mask=inside, other=0).to(dtype)
        values = tl.load(y + begin + offsets, mask=inside, other=0).to(dtype)
        # Outside, 0 - centre could be infinite, and 0 times it a NaN.
        d = tl.where(inside, values - k, 0)
        if MASK == "affine":
            g = tl.where(a * d + b <= 0, 0, g)
        if MASK == "output":
            cut = tl.load(output + begin + offsets, mask=inside, other=0)
            g = tl.where(cut.to(dtype) <= 0, 0, g)
        g_sum += g
        gd_sum += g * d
    _store_sum(sums, 0, g_sum, n, part, channel, N, C, parts, BLOCK_C)
    _store_sum(sums, 1, gd_sum, n, part, channel, N, C, parts, BLOCK_C)


@triton.jit(do_not_specialize=_SIZES + _STEPS)
def gradient_apply(
    grad, y, output, centre, scale, scale_step, bias, bias_step,
    P, P_step, T, T_step, Q, Q_step, R, R_step, dy, dx,
    C, M, MASK: tl.constexpr,
    HAS_T: tl.constexpr, HAS_Q: tl.constexpr, HAS_R: tl.constexpr, SHORTCUT: tl.constexpr,
    LAST: tl.constexpr, C_UNIT: tl.constexpr, M_UNIT: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Write ``dy = mask (g P + T) + d Q + R``, and with SHORTCUT ``dx``, the masked ``g``.

    ``y`` is read only where the result depends on it; MASK is as for `gradient_sums`.
    """
    dtype = centre.dtype.element_ty
    C, M = _whole(C, C_UNIT), _whole(M, M_UNIT)
    n, start, channel = _share_of_writes(C, M, LAST, BLOCK_PIXELS, BLOCK_C)
    begin, offsets, inside = _tile(n, start, channel, C, M, LAST, BLOCK_PIXELS, BLOCK_C)
    g = tl.load(grad + begin + offsets, mask=inside, other=0).to(dtype)
    value = g * _row(P, P_step, n, channel, C, BLOCK_C)
    if HAS_T:
        value += _row(T, T_step, n, channel, C, BLOCK_C)
    if HAS_Q or MASK == "affine":
        d = tl.load(y + begin + offsets, mask=inside, other=0).to(dtype)
        d -= _row(centre, 0, n, channel, C, BLOCK_C)
    if MASK == "affine":
        a = _row(scale, scale_step, n, channel, C, BLOCK_C)
        stopped = a * d + _row(bias, bias_step, n, channel, C, BLOCK_C) <= 0
    if MASK == "output":
        stopped = tl.load(output + begin + offsets, mask=inside, other=0).to(dtype) <= 0
    if MASK != "none":
        value = tl.where(stopped, 0, value)
        g = tl.where(stopped, 0, g)
    if HAS_Q:
        value += d * _row(Q, Q_step, n, channel, C, BLOCK_C)
    if HAS_R:
        value += _row(R, R_step, n, channel, C, BLOCK_C)
    tl.store(dy + begin + offsets, value, mask=inside)
    if SHORTCUT:
        tl.store(dx + begin + offsets, g, mask=inside)


@triton.jit
def _whole(size, unit: tl.constexpr):
    """Return ``size``, which ``unit`` divides: now the compiler knows, and reads so many values at once."""
    return size // unit * unit


@triton.jit
def _head_sum(
    y, n, channel, C, M, dtype: tl.constexpr,
    LAST: tl.constexpr, HEAD_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Return the sum of the first HEAD_PIXELS pixels of a tile's maps, (BLOCK_C,)."""
    begin, offsets, inside = _tile(n, 0, channel, C, M, LAST, HEAD_PIXELS, BLOCK_C)
    return tl.sum(tl.load(y + begin + offsets, mask=inside, other=0).to(dtype), axis=0)


@triton.jit
def _share_of_sums(C, parts, BLOCK_C: tl.constexpr):
    """Return what this program sums: its image, its part of the pixels, and its first channel."""
    program = tl.program_id(0)
    blocks = tl.cdiv(C, BLOCK_C)
    n = program // (blocks * parts)
    return n.to(tl.int64), program // blocks % parts, program % blocks * BLOCK_C


@triton.jit
def _share_of_writes(C, M, LAST: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return the tile that this program writes, the last one first: its image, first pixel and channel.

    Tiles that lie beside each other are written one after the other.
    """
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    rows, columns = tl.cdiv(M, BLOCK_PIXELS), tl.cdiv(C, BLOCK_C)
    if LAST:
        row, column = program // columns % rows, program % columns
    else:
        row, column = program % rows, program // rows % columns
    n = program // (rows * columns)
    return n.to(tl.int64), row * BLOCK_PIXELS, column * BLOCK_C


@triton.jit
def _tile(
    n, start, channel, C, M, LAST: tl.constexpr, BLOCK_PIXELS: tl.constexpr, BLOCK_C: tl.constexpr
):  # fmt: skip
    """Return where a tile begins, how far its values are from there, and which of them exist.

    The last two are (BLOCK_PIXELS, BLOCK_C). Maps may have more than 2^31 values in all, and so may
    those of a few channels.
    """
    p = tl.arange(0, BLOCK_PIXELS)[:, None]
    c = tl.arange(0, BLOCK_C)[None, :]
    if LAST:
        begin = (n * M + start) * C + channel
        offsets = p * C + c
    else:
        begin = (n * C + channel) * M + start
        offsets = p + c.to(tl.int64) * M
    return begin, offsets, (start + p < M) & (channel + c < C)


@triton.jit
def _row(table, step, n, channel, C, BLOCK_C: tl.constexpr):
    """Return the values of a table for a tile of image ``n``, (1, BLOCK_C)."""
    c = channel + tl.arange(0, BLOCK_C)
    return tl.load(table + n * step * C + c, mask=c < C, other=0)[None, :]


@triton.jit
def _store_sum(
    sums, index: tl.constexpr, values,
    n, part, channel, N, C, parts, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sum a tile over its pixels into table ``index`` of ``sums``, (tables, parts, N, C)."""
    c = channel + tl.arange(0, BLOCK_C)
    row = ((index * parts + part) * N + n) * C
    tl.store(sums + row + c, tl.sum(values, axis=0), mask=c < C)
