from __future__ import annotations

from datetime import UTC, datetime

import torch

from senet.insight.machine import this_machine


def test_a_machine_tells_what_decides_a_result() -> None:
    machine = this_machine(torch.device("cpu"), ("torch", "numpy", "no-such-package"))
    assert machine.threads == torch.get_num_threads()
    torch_version, numpy_version = machine.versions.split(", ")
    assert torch_version == f"torch {torch.__version__}"
    assert numpy_version.startswith("numpy ") and "no-such" not in machine.versions
    assert machine.hardware.endswith(" cores") and len(machine.hardware) > len("2 cores")
    age = datetime.now(UTC) - datetime.fromisoformat(machine.date)
    assert 0 <= age.total_seconds() < 60


def test_the_kernels_packages_are_told_by_default() -> None:
    assert [each.split()[0] for each in this_machine(torch.device("cpu")).versions.split(", ")] == [
        *("torch", "numba", "timm")
    ]
