"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Tests work on tiny arrays, for which a second thread costs more than it brings. Set before torch starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor would their maps be large enough for fused kernels to be chosen.
os.environ.setdefault("SENET_KERNELS", "always")


@pytest.fixture
def layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every block as the layers it consists of, in processes that are started too.

    For tests that say what these compute to the last bit, and for processes that need not compile kernels.
    """
    from senet.kernels.backends import kernels

    monkeypatch.setenv("SENET_KERNELS", "reference")
    with kernels("reference"):
        yield
