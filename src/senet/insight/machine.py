"""What a measurement ran on: hardware, threads and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from senet.insight.results_timing import Machine
from senet.text import counted

CPU_PACKAGES = ("torch", "numba", "timm")
CUDA_PACKAGES = ("torch", "triton", "timm")


def this_machine(device: torch.device, packages: Sequence[str] | None = None) -> Machine:
    """Return what runs on ``device`` now.

    Args:
        device: what is measured on.
        packages: whose versions matter; by default those of the kernels and of timm, if they are installed.
    """
    on_cuda = device.type == "cuda"
    if packages is None:
        packages = CUDA_PACKAGES if on_cuda else CPU_PACKAGES
    found = {name: _version(name) for name in packages}
    return Machine(
        hardware=torch.cuda.get_device_name(device) if on_cuda else _processor(),
        threads=torch.get_num_threads(),
        versions=", ".join(f"{name} {number}" for name, number in found.items() if number),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _version(package: str) -> str:
    if package == "torch":  # its own word tells the build apart, which the installer's does not
        return str(torch.__version__)
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return for example ``"Intel Xeon, 8 cores"``."""
    name = platform.processor() or platform.machine()
    # Linux tells the name only there.
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0].partition(":")[2].strip() if names else name
    return f"{name}, {counted(os.cpu_count() or 1, 'core')}"
