"""Processes that load images end, whatever has become of them."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from senet.data.check import check_images
from senet.data.loader import ImageLoader, make_loader
from senet.data.loading_processes import SharedFlag, loading_context, without_main_guard
from senet.data.source import ImageData
from senet.data.transforms import EvalTransform
from senet.errors import SenetError
from tests.training.test_parent import alive

from .pictures import SpySource, encoded, noise, numbered_arrays

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks the processes that load"),
]

SECONDS = 60


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """What hangs fails."""

    def too_long(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pictures(count: int = 16) -> SpySource:
    return SpySource(lambda index: encoded(noise(8, 8, index)), [index % 2 for index in range(count)])


def load_with(source: Any, workers: int = 1) -> ImageLoader:
    transform = EvalTransform(size=8, channels=1, crop="pad")
    return make_loader(source, transform, batch_size=4, seed=0, workers=workers, train=True)


def processes_of(loader: ImageLoader) -> list[Any]:
    return list(loader._processes._iterator._workers)  # type: ignore[union-attr]


class KilledWhileAsking(SpySource):
    """Has its process killed in the middle of asking whether it is to end."""

    def content(self, index: int) -> bytes:
        def kill(frame: FrameType, event: str, argument: object) -> None:
            asking = frame.f_code.co_name == "is_set" and frame.f_globals["__name__"] != "threading"
            if asking and event in ("c_call", "return"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(kill)
        return super().content(index)


def test_a_process_killed_at_the_worst_moment_holds_nobody_up() -> None:
    pixels = [encoded(noise(8, 8, index)) for index in range(16)]
    loader = load_with(KilledWhileAsking(pixels.__getitem__, [0, 1] * 8))
    with pytest.raises(SenetError, match="process was killed"):
        list(loader.epoch(0))
    loader.close()
    gc.collect()  # the error held on to what was loading, which tells its processes to end when it goes


def test_a_process_killed_between_two_epochs_is_explained() -> None:
    loader = load_with(numbered_arrays(16))
    assert len(list(loader.epoch(0))) == 4
    (process,) = processes_of(loader)
    process.kill()
    process.join()
    with pytest.raises(SenetError, match="process was killed"):
        list(loader.epoch(1))
    assert len(list(loader.epoch(1))) == 4
    loader.close()


class LockedForOthers(io.StringIO):
    """An output that a thread was writing to when another process was forked."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = os.getpid()

    def flush(self) -> None:
        if os.getpid() != self.owner:
            time.sleep(10 * SECONDS)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_an_output_in_use_holds_no_process_up(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, LockedForOthers())
    loader = load_with(numbered_arrays(16))
    assert len(list(loader.epoch(0))) == 4
    (process,) = processes_of(loader)
    started = time.monotonic()
    loader.close()
    assert process.exitcode == 0 and time.monotonic() - started < 4
    source = pictures()
    data = ImageData(name="", location="", train=source, test=source, classes=("a", "b"), split="")
    assert len(check_images(data, workers=1).data.train) == 16


LEFT_OPEN = """
import signal, sys
sys.path.insert(0, {root!r})
from tests.data.test_loading_processes import load_with, numbered_arrays, processes_of

class Deaf(type(numbered_arrays(1))):
    def pixels(self, indices):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        return super().pixels(indices)

source = numbered_arrays(16)
source.__class__ = Deaf
loader = load_with(source)
batches = loader.epoch(0)
next(batches)
print(processes_of(loader)[0].pid, flush=True)
"""


def test_a_program_that_ends_waits_for_no_process_that_hears_nothing() -> None:
    root = Path(__file__).parents[2]
    code = LEFT_OPEN.format(root=str(root))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_flag_is_shared() -> None:
    context: Any = loading_context()
    flag = context.Event()
    assert isinstance(flag, SharedFlag) and not flag.is_set()
    process = context.Process(target=flag.set)
    process.start()
    process.join()
    assert flag.is_set()


@pytest.mark.parametrize(
    ("platform", "text", "told"),
    [
        ("darwin", "import senet\nsenet.compare('photos')\n", True),
        ("win32", "import senet\nsenet.compare('photos')\n", True),
        ("darwin", "import senet\nif __name__ == '__main__':\n    senet.compare('photos')\n", False),
        ("linux", "import senet\nsenet.compare('photos')\n", False),
    ],
)
def test_a_script_without_a_guard_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, text: str, told: bool
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(text)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    found = without_main_guard()
    assert ('put those calls under `if __name__ == "__main__":`' in found) == told
    assert bool(found) == told
    script.unlink()
    assert without_main_guard() == ""


STARTED = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from senet.data.check import check_images
from senet.data.source import ImageData
from tests.data.test_loading_processes import SpySource, encoded, load_with, noise

class Told(SpySource):
    def content(self, index):
        os.write(1, f"{{os.getpid()}}\\n".encode())
        time.sleep({asleep})
        return encoded(noise(8, 8, index))

source = Told(None, [0, 1] * 100)
if {checking}:
    settings = dict(name="", location="", classes=("a", "b"), split="")
    check_images(ImageData(train=source, test=source, **settings), workers=3)
list(load_with(source, workers=3).epoch(0))
"""


@pytest.mark.parametrize(
    ("checking", "name", "asleep"), [(True, "KILL", 0.05), (True, "INT", 0.2), (False, "KILL", 0.05)]
)
def test_no_process_outlives_the_one_that_started_it(checking: bool, name: str, asleep: float) -> None:
    """Killed, it can tell nobody; interrupted, it waits for no task of many images."""
    code = STARTED.format(root=str(Path(__file__).parents[2]), checking=checking, asleep=asleep)
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    loading = {int(program.stdout.readline()) for _ in range(12)}
    assert len(loading) == 3 and program.pid not in loading
    program.send_signal(getattr(signal, f"SIG{name}"))
    deadline = time.monotonic() + 6
    while any(map(alive, loading)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, loading))
    program.stdout.close()
    assert program.wait() != 0
