"""How a compiled loop gets its arguments and its share of the work.

A loop is a C function of one argument: the address of whole numbers. The first is a counter from which each
thread draws its next piece of work, the second how many pieces there are; the rest are sizes and addresses of
tensors. Each value of a result is computed by one thread, in an order that does not depend on how many
there are, so results are the same bits on any number of threads.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from senet.kernels.thread_pool import pool_address, run_parallel

COUNTER, PIECES, GIVEN = 0, 1, 2
"""Places of the counter, of the number of pieces, and of the first argument that a loop was given."""
MAX_ARGUMENTS = 24

# Products may be fused with sums. NaN and infinity keep their meaning.
FAST_MATH = {"contract", "nsz", "arcp"}
DTYPES = {torch.float32: np.float32, torch.float64: np.float64}
_SIGNATURE = types.void(types.CPointer(types.int64))

Loop = Callable[[Any], None]


class Call(NamedTuple):
    """A loop at an address, the number of pieces of its work, and its arguments.

    Those are sizes, other numbers, which the loop gets by `number`, and tensors, of which it gets the
    address; 0 stands for a missing one. A call of one piece runs on the calling thread.
    """

    loop: int
    pieces: int
    arguments: Sequence[int | float | Tensor | None]


@intrinsic  # type: ignore[untyped-decorator]
def next_piece(_: Any, counter: Any) -> Any:
    """Draw the next piece of work: return the counter and add one to it, as one atomic step."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], context.get_constant(types.int64, 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic  # type: ignore[untyped-decorator]
def _value(_: Any, address: Any, index: Any, dtype: Any) -> Any:
    """Return a pointer to the value ``index`` of the tensor at ``address``."""
    kind = dtype.instance_type

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
        return builder.gep(pointer, [arguments[1]])

    return types.CPointer(kind)(address, index, dtype), generate


@intrinsic  # type: ignore[untyped-decorator]
def number(_: Any, bits: Any) -> Any:
    """Return the float64 that a place among the arguments holds."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@register_jitable  # type: ignore[untyped-decorator]
def part(address: Any, begin: Any, size: Any, dtype: Any) -> Any:
    """Return ``size`` values of the tensor at ``address``, from the value ``begin`` on."""
    return carray(_value(address, begin, dtype), size)


@register_jitable  # type: ignore[untyped-decorator]
def grid(address: Any, rows: Any, columns: Any, dtype: Any) -> Any:
    """Return the tensor at ``address`` as rows of so many columns."""
    return carray(_value(address, 0, dtype), (rows, columns))


def compiled(loop: Loop, *, reorder: bool = True) -> int:
    """Compile a loop, or take it from the cache on disk, and return its address.

    Where that cache cannot be used, as in many containers, it is compiled for this process alone.

    Args:
        loop: to compile.
        reorder: whether sums may be taken in another order, which is faster.
    """
    fast_math = FAST_MATH | {"reassoc"} if reorder else FAST_MATH
    compile_loop = partial(cfunc, _SIGNATURE, fastmath=fast_math, error_model="numpy")
    function = _cached(compile_loop, loop) or compile_loop()(loop)
    _kept.append(function)
    return int(function.address)


def _cached(compile_loop: Callable[..., Any], loop: Loop) -> Any:
    """Return the compiled loop from the cache on disk, kept there from now on, or ``None`` without one."""
    if _cache_errors:
        return None
    try:
        return compile_loop(cache=True)(loop)
    except Exception as error:  # noqa: BLE001 - what a cache holds may be damaged in any way
        _cache_errors.append(error)
        why = f" ({error})" if isinstance(error, OSError) else ""
        if os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first one says it
            warnings.warn(
                f"Numba's cache cannot be used{why}, so the CPU kernels are compiled again in every "
                "process, which takes a few seconds: set NUMBA_CACHE_DIR to a writable folder.",
                stacklevel=2,
            )
        return None


_cache_errors: list[Exception] = []
_kept: list[Any] = []


def run(loop: int, pieces: int, arguments: list[int | float | Tensor | None]) -> None:
    """Run the loop at address ``loop`` on all of PyTorch's threads; the arguments are those of `Call`."""
    packed = array("q", [0, pieces, *map(_word, arguments)])
    assert len(packed) <= MAX_ARGUMENTS
    run_parallel(loop, packed.buffer_info()[0], min(torch.get_num_threads(), pieces))


def place(tensor: int, offset: int = 0) -> int:
    """Return what stands in a `Program` for the address ``offset`` bytes into its tensor of this number."""
    return tensor + 1 << _ADDRESS_BITS | offset


class Program:
    """Loops that run one after another as one call of compiled code, time and again on other tensors.

    Args:
        calls: in order, with numbers alone as arguments: sizes, and `place` for each tensor.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        words: list[int | float] = [pool_address(), len(calls)]
        threads = torch.get_num_threads()
        for loop, pieces, arguments in calls:
            assert len(arguments) <= MAX_ARGUMENTS - GIVEN
            numbers = [each for each in arguments if isinstance(each, int | float)]
            assert len(numbers) == len(arguments), "a program has places in place of tensors"
            words += [loop, min(threads, pieces), 0, pieces, *numbers]
            words += [0] * (MAX_ARGUMENTS - GIVEN - len(arguments))
        packed = np.array([*map(_word, words)], dtype=np.int64)
        whole = np.array([isinstance(each, int) for each in words])
        self._tensors = np.where(whole, packed >> _ADDRESS_BITS, 0)
        self._offsets = np.where(whole, packed & ((1 << _ADDRESS_BITS) - 1), packed)
        self._start = _sequence()

    def run(self, *tensors: Tensor | None) -> None:
        """Run the loops on the tensors, in the order of their numbers; a missing one has the address 0."""
        addresses = [0, *[0 if tensor is None else tensor.data_ptr() for tensor in tensors]]
        packed = np.array(addresses, dtype=np.int64)[self._tensors]
        packed += self._offsets
        self._start(packed.ctypes.data)


_ADDRESS_BITS = 48
"""Of an address on the machines that run PyTorch."""
_CALL = 2 + MAX_ARGUMENTS
"""Words of a call in a program: a loop, its threads, and what it gets."""


@cache
def _sequence() -> Callable[[int], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(compiled(_sequence_loop))


def _sequence_loop(address: Any) -> None:
    given = carray(address, 2)
    for call in range(given[1]):
        words = part(_address_of(address), 2 + call * _CALL, _CALL, np.int64)
        arguments = _address_of(address) + 8 * (4 + call * _CALL)
        if given[0] == 0 or words[1] == 1:
            _start_alone(words[0], arguments)
        else:
            _start(given[0], words[0], arguments, words[1])


@intrinsic  # type: ignore[untyped-decorator]
def _address_of(_: Any, pointer: Any) -> Any:
    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return types.int64(types.CPointer(types.int64)), generate


@intrinsic  # type: ignore[untyped-decorator]
def _start(_: Any, pool: Any, loop: Any, given: Any, threads: Any) -> Any:
    """Call ``GOMP_parallel``, at the address ``pool``."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, word, word])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        loop, given = (builder.inttoptr(each, pointer) for each in arguments[1:3])
        builder.call(function, [loop, given, builder.trunc(arguments[3], word), ir.Constant(word, 0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _start_alone(_: Any, loop: Any, given: Any) -> Any:
    """Call a loop on this thread."""

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(arguments[1], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _word(argument: int | float | Tensor | None) -> int:
    if argument is None:
        return 0
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return argument if isinstance(argument, int) else int(np.float64(argument).view(np.int64))
