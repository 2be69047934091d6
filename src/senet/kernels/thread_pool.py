"""Runs a compiled function on PyTorch's own threads.

A second pool of threads would compete with PyTorch's, which go on spinning for milliseconds after each
convolution. On Linux those are OpenMP's, and its library offers them to anybody (``GOMP_parallel``).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

Parallel = Callable[[int, int, int], None]
"""Runs the function at an address, given the address of its arguments, on so many threads."""


def run_parallel(function: int, arguments: int, threads: int) -> None:
    """Run the function at address ``function`` on ``threads`` threads at once, and wait for all of them.

    Each call gets the address ``arguments``; the function itself shares out the work. Without OpenMP it
    runs on the calling thread alone.
    """
    _pool()(function, arguments, threads)


@lru_cache(maxsize=1)
def has_pool() -> bool:
    """Whether PyTorch's threads were found."""
    return _openmp() is not None


@lru_cache(maxsize=1)
def pool_address() -> int:
    """Return the address of the function that runs another one on PyTorch's threads, or 0."""
    openmp = _openmp()
    return 0 if openmp is None else ctypes.cast(openmp.GOMP_parallel, ctypes.c_void_p).value or 0


@lru_cache(maxsize=1)
def _pool() -> Parallel:
    openmp = _openmp()
    if openmp is not None:
        start = openmp.GOMP_parallel
        start.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        start.restype = None
        return lambda function, arguments, threads: start(function, arguments, threads, 0)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    return lambda function, arguments, threads: kind(function)(arguments)


@lru_cache(maxsize=1)
def _openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that PyTorch has loaded, if its build has one that can be called."""
    folder = Path(torch.__file__).parent
    beside = sorted([*folder.glob("lib/libgomp*.so*"), *folder.parent.glob("torch.libs/libgomp*.so*")])
    for name in [*map(str, beside), "libgomp.so.1"]:
        try:
            library = ctypes.CDLL(name, mode=getattr(os, "RTLD_NOLOAD", 0))
        except OSError:
            continue
        if hasattr(library, "GOMP_parallel"):
            return library
    return None
