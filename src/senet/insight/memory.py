"""How much tensor memory a piece of work needs at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory_bytes(work: Callable[[], object], held: Iterable[Tensor], device: torch.device) -> int:
    """Return the most bytes of tensors alive at one moment while ``work`` runs.

    On CUDA this is the allocator's own count, without what others hold there. On a CPU every tensor
    that an operator returns is counted from then until it is freed; scratch memory inside an
    operator is not seen.

    Args:
        work: for example one training step; run once, after one run to warm up.
        held: tensors that exist before and after, such as parameters.
        device: where ``work`` runs.
    """
    work()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}
    return sum(storages.values()) + (_grown_on_cuda(work, device) if device.type == "cuda" else _grown(work))


def _grown_on_cuda(work: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before: int = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - before


def _grown(work: Callable[[], object]) -> int:
    live = _LiveStorages()
    with live:
        work()
    return live.peak


class _LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages of all tensors that operators return, until each is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage(), inputs)
        self.peak = max(self.peak, self.live)
        return result

    def _count(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        key = storage._cdata
        # An operator that works in place returns a storage that may have existed all along.
        if key in self._seen or key in inputs:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.live += size
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size
