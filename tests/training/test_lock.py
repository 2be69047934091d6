from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from senet.errors import SenetError
from senet.training.lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from senet.training.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (
            pytest.raises(SenetError, match="Another senet is working in"),
            lock_folder(tmp_path, patience_seconds=0),
        ):
            pass
    finally:
        first.kill()
        first.communicate()
    with lock_folder(tmp_path, patience_seconds=5):
        pass
