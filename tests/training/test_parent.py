from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Starts a process, says its number, and waits to be killed.
STARTER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stderr=open(sys.argv[2], "wb"))
print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import time
from senet.training import parent
from senet.training.interrupt import StopRequest
parent.SECONDS_BETWEEN_LOOKS = 0.05
parent.SECONDS_TO_SAVE = {patience}
with parent.ends_with_parent(){stop}:
    print("ready", flush=True)
    time.sleep({asleep})
"""


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("stop", "patience", "asleep", "says"),
    [
        ("", 60, 60, True),  # waiting for others, for instance: nothing is to be saved
        (", StopRequest()", 0.1, 60, True),  # a training that does not come back
        (", StopRequest()", 60, 1.0, False),  # one that saves, and ends
    ],
)
def test_a_process_ends_soon_after_its_parent(
    tmp_path: Path, stop: str, patience: float, asleep: float, says: bool
) -> None:
    child = CHILD.format(stop=stop, patience=patience, asleep=asleep)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, child, str(tmp_path / "err")], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    number = int(starter.stdout.readline())
    assert starter.stdout.readline() == "ready\n"
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 20
    while alive(number) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(number)
    assert ("The process that started this one has died" in (tmp_path / "err").read_text()) == says
