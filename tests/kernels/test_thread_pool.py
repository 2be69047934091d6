import ctypes
import threading

import pytest
import torch

from senet.kernels import thread_pool
from senet.kernels.thread_pool import has_pool, run_parallel

KIND = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def ran_on(threads):
    """Return what each call got and the threads that called."""
    seen = []
    waiting = threading.Barrier(threads) if threads > 1 else None

    def work(address):
        seen.append((address, threading.get_native_id()))
        if waiting is not None:
            waiting.wait(10)

    function = KIND(work)
    run_parallel(ctypes.cast(function, ctypes.c_void_p).value, 42, threads)
    return seen


@pytest.mark.skipif(not has_pool(), reason="this build of PyTorch has no OpenMP that can be called")
def test_runs_on_so_many_threads_at_once():
    torch.ones(1 << 20).add_(1)
    for threads in (1, 3):
        seen = ran_on(threads)
        assert [address for address, _ in seen] == [42] * threads
        assert len({thread for _, thread in seen}) == threads


def test_without_openmp_the_calling_thread_does_all(monkeypatch):
    monkeypatch.setattr(thread_pool, "_openmp", lambda: None)
    thread_pool._pool.cache_clear()
    try:
        assert ran_on(1) == [(42, threading.get_native_id())]
        run = torch.randn(2, 8, 5, 5)
        from senet.kernels import numba_passes, torch_passes

        ours = numba_passes.moments_pass(run, second=True)
        expected = torch_passes.moments_pass(run, second=True)
        assert torch.allclose(ours.first, expected.first, atol=1e-5)
    finally:
        thread_pool._pool.cache_clear()
