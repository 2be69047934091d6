"""How a compiled loop gets its arguments and its share of the work.

A loop is a C function of one argument: the address of whole numbers. The first is a counter from which each
thread draws its next piece of work, the second how many pieces there are; the rest are sizes and addresses of
tensors. Each value of a result is computed by one thread, in an order that does not depend on how many
there are, so results are the same bits on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from senet.kernels.thread_pool import run_parallel

COUNTER, PIECES, GIVEN = 0, 1, 2
"""Places of the counter, of the number of pieces, and of the first argument that a loop was given."""
MAX_ARGUMENTS = 24

# Products may be fused with sums. NaN and infinity keep their meaning.
FAST_MATH = {"contract", "nsz", "arcp"}
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
_SIGNATURE = types.void(types.CPointer(types.int64))

Loop = Callable[[Any], None]


@intrinsic  # type: ignore[untyped-decorator]
def next_piece(_: Any, counter: Any) -> Any:
    """Draw the next piece of work: return the counter and add one to it, as one atomic step."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], context.get_constant(types.int64, 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic  # type: ignore[untyped-decorator]
def _as_pointer(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def number(_: Any, bits: Any) -> Any:
    """Return the float64 that a place among the arguments holds."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@register_jitable  # type: ignore[untyped-decorator]
def part(address: Any, begin: Any, size: Any, dtype: Any) -> Any:
    """Return ``size`` values of the tensor at ``address``, from the value ``begin`` on."""
    return carray(_as_pointer(address), begin + size, dtype)[begin:]


def compiled(loop: Loop, *, reorder: bool = True) -> int:
    """Compile a loop, or take it from the cache on disk, and return its address.

    Args:
        loop: to compile.
        reorder: whether sums may be taken in another order, which is faster.
    """
    fast_math = FAST_MATH | {"reassoc"} if reorder else FAST_MATH
    function = cfunc(_SIGNATURE, cache=True, fastmath=fast_math, error_model="numpy")(loop)
    _kept.append(function)
    return int(function.address)


_kept: list[Any] = []


def run(loop: int, pieces: int, arguments: list[int | float | Tensor | None]) -> None:
    """Run the loop at address ``loop`` on all of PyTorch's threads.

    Args:
        loop: from `compiled`.
        pieces: how many pieces of work there are.
        arguments: sizes, other numbers, which the loop gets by `number`, and tensors, of which it gets the
            address; 0 stands for a missing one.
    """
    packed = np.array([0, pieces, *map(_word, arguments)], dtype=np.int64)
    assert len(packed) <= MAX_ARGUMENTS
    run_parallel(loop, packed.ctypes.data, min(torch.get_num_threads(), pieces))


def _word(argument: int | float | Tensor | None) -> int:
    if argument is None:
        return 0
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return argument if isinstance(argument, int) else int(np.float64(argument).view(np.int64))
