"""Kernels where Numba can keep nothing on disk: containers, read-only installations, full disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import carray
from numba.core import caching

from senet.kernels import numba_task
from senet.kernels.numba_task import GIVEN, MAX_ARGUMENTS, compiled, run

SENTENCE = "Numba's cache cannot be used"
ROOT = Path(__file__).parents[2]


def loop(address: Any) -> None:
    """Write 7 where the first argument points."""
    given = carray(address, MAX_ARGUMENTS)[GIVEN:]
    numba_task.part(given[0], 0, 1, np.float32)[0] = 7


def result() -> float:
    out = torch.zeros(1)
    run(compiled(loop), 1, [out])
    return out.item()


def no_locator(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr(caching.CacheImpl, "_locator_classes", [])


def full_disk(patch: pytest.MonkeyPatch, _: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr(caching.IndexDataCacheFile, "save", refuse)


def damaged(patch: pytest.MonkeyPatch, folder: Path) -> None:
    result()
    files = list(folder.rglob("*.nbi"))
    assert files
    for file in files:
        file.write_bytes(b"\x80\x05garbage")


@pytest.mark.parametrize("spoil", [no_locator, full_disk, damaged], ids=lambda spoil: spoil.__name__)
def test_kernels_compile_without_a_cache_and_say_so_once(
    spoil: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(numba_task, "_cache_errors", [])
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    spoil(monkeypatch, tmp_path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert result() == result() == 7
    (said,) = [str(each.message) for each in seen]
    assert said.startswith(SENTENCE)
    assert ("No space left" in said) == (spoil is full_disk)


def test_a_loop_that_cannot_be_compiled_is_not_blamed_on_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_task, "_cache_errors", [])

    def wrong(address: Any) -> None:
        address.nothing()

    with pytest.raises(Exception, match="nothing"), pytest.warns(UserWarning, match=SENTENCE):
        compiled(wrong)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_user_without_a_home_can_train() -> None:
    code = (
        "import torch, senet\n"
        "from senet.kernels.backends import kernels\n"
        "block = senet.SqueezeExcitation(16)\n"
        "with kernels('always'): block(torch.randn(2, 16, 8, 8)).sum().backward()\n"
        "print('trained')"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(ROOT / "src/senet", f"{folder}/senet", ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run(
            ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c", code],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": folder, "NUMBA_CACHE_DIR": "/nowhere/at/all"},
            cwd="/", capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.stdout.strip() == "trained", done.stderr
    assert done.stderr.count(SENTENCE) == 1
