"""Compiles the Triton kernels for an H100 without one, as the launchers would, and tells what came out.

``python -m tests.kernels.compile_triton FOLDER`` keeps the cache in FOLDER and prints a line of JSON for
each kernel. The tests run it in a process of its own, where nothing is interpreted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from senet.kernels import triton_kernels, triton_passes
from senet.kernels.tables import Affine, table_dtype

KERNELS = ("moments", "relu_sums", "apply", "gradient_sums", "gradient_apply")
_CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Hopper:
    """What Triton wants to know about the GPU for which it compiles."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class Compiling:
    """A kernel that is compiled where it would be launched."""

    def __init__(self, kernel: Any, folder: Path) -> None:
        self.kernel, self.folder = kernel, folder
        self.seen: set[int] = set()

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *given, **constants: self.compile(grid, given, constants)

    def compile(self, grid: tuple[int, ...], given: tuple[Any, ...], constants: dict[str, Any]) -> None:
        compiled = self.kernel.warmup(*given, grid=grid, **constants)
        if id(compiled) in self.seen:
            return
        self.seen.add(id(compiled))
        file = self.folder / "kernel.cubin"
        file.write_bytes(compiled.asm["cubin"])
        used = subprocess.run(
            [_CUOBJDUMP, "-res-usage", file], capture_output=True, text=True, check=True
        ).stdout
        registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", used).groups())  # type: ignore[union-attr]
        ptx = compiled.asm["ptx"]
        result = {
            "kernel": self.kernel.__name__,
            "dtype": str(given[0].dtype),
            "constants": constants,
            "cubin": len(compiled.asm["cubin"]),
            "registers": registers,
            "stack": stack,
            "reads": sorted(set(re.findall(r"\bld\.global[.\w:]*", ptx))),
            "writes": sorted(set(re.findall(r"\bst\.global[.\w:]*", ptx))),
            "rounds": re.findall(r"\bcvt\.rn[.\w]*bf16\w*", ptx),
        }
        sys.stdout.write(json.dumps(result) + "\n")


def compile_all() -> None:
    """Call the launchers so that every kernel comes up in every type, layout and kind of mask."""
    for dtype, shape, last in (
        (torch.bfloat16, (2, 128, 14, 14), True),
        (torch.float32, (2, 128, 14, 14), True),
        (torch.float64, (2, 128, 14, 14), False),
        (torch.float16, (2, 33, 7, 7), False),  # nothing to read 16 bytes at once
    ):
        y = torch.empty(shape, dtype=dtype)
        y = y.contiguous(memory_format=torch.channels_last) if last else y
        N, C = shape[:2]
        tables = table_dtype(dtype)
        shared, own = torch.empty(C, dtype=tables), torch.empty(N, C, dtype=tables)
        whole = dtype == torch.bfloat16
        triton_passes.moments_pass(y, second=True)
        triton_passes.relu_sums_pass(y, shared, Affine(shared, shared))
        triton_passes.apply_pass(y, shared, Affine(own, own), y, relu=True)
        triton_passes.gradient_sums_pass(y, y, shared, y)
        triton_passes.gradient_apply_pass(y, y, shared, y, own, None, shared, own, with_shortcut=True)
        if whole:
            triton_passes.gradient_apply_pass(
                y, y, shared, Affine(own, own), own, own, shared, own, with_shortcut=False
            )
        if whole and last:
            triton_passes.moments_pass(y, second=False)
            triton_passes.apply_pass(y, shared, Affine(shared, shared), None, relu=False)
            triton_passes.gradient_sums_pass(y, y, shared, Affine(own, own))
            triton_passes.gradient_sums_pass(y, y, shared, None)
            triton_passes.gradient_apply_pass(y, y, shared, None, own, None, None, None, with_shortcut=False)
    # One pixel and many channels make the widest tiles.
    triton_passes.moments_pass(torch.empty(2, 4096, dtype=torch.bfloat16), second=True)


if __name__ == "__main__":
    os.environ["TRITON_CACHE_DIR"] = sys.argv[1]
    driver.set_active(Hopper())
    for name in KERNELS:
        setattr(triton_kernels, name, Compiling(getattr(triton_kernels, name), Path(sys.argv[1])))
    compile_all()
