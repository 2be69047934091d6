"""Ctrl-C, once and twice, and the other signals, in a program of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from senet.cli.main import EXIT_INTERRUPTED

# What a command does is planted; `press` sends the signal to the program itself.
PROGRAM = """
import os, signal, sys, threading, time
from senet.cli import main as command, models
from senet.training.interrupt import StopRequest
def press(number=signal.SIG{name}):
    os.kill(os.getpid(), number)
def run(arguments):
{run}
models.run = run
sys.argv = ["senet", "models"]
sys.exit(command.main())
"""


def program(run: str, name: str = "INT", before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    body = "\n".join(f"    {line}" for line in run.strip().splitlines())
    return subprocess.run(
        [*before, sys.executable, "-c", PROGRAM.format(run=body, name=name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


STOPPED = "senet: Stopped. Finished work is kept. To resume: senet models\n"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_is_one_sentence(name: str) -> None:
    done = program("press()\ntime.sleep(20)", name)
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, STOPPED)


@pytest.mark.parametrize(
    "run",
    [
        # Code that is slow to unwind.
        "try:\n    press()\n    time.sleep(20)\nfinally:\n    press()\n    time.sleep(20)",
        # A training that does not come to the end of its step.
        "with StopRequest():\n    press()\n    time.sleep(0.1)\n    press()\n    time.sleep(20)",
    ],
)
def test_a_second_ctrl_c_ends_at_once(run: str) -> None:
    done = program(run)
    assert done.returncode == EXIT_INTERRUPTED
    assert done.stderr.strip() == "senet: Ended at once. What was saved before is kept."


def test_nothing_that_still_waits_for_a_server_is_waited_for() -> None:
    done = program("threading.Thread(target=time.sleep, args=(25,)).start()\npress()")
    assert (done.returncode, done.stderr) == (EXIT_INTERRUPTED, STOPPED)


def test_a_fork_dies_of_its_signal_without_a_word() -> None:
    done = program(
        "child = os.fork()\n"
        "if not child:\n    press(signal.SIGTERM)\n    time.sleep(20)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nohup_is_respected() -> None:
    run = "press()\nwith StopRequest() as stop:\n    press()\n    assert not stop.requested"
    script = "import signal, subprocess, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    script += "sys.exit(subprocess.call(sys.argv[1:]))"
    done = program(run, "HUP", (sys.executable, "-c", script))
    assert (done.returncode, done.stderr) == (0, "")
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
