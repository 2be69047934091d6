"""kill -9 at any moment: the same command ends with the same bits."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.chaos import Chaos, differences, same

from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from tests.small import small_source

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, time
from dataclasses import asdict
from pathlib import Path
import torch
from senet.training.execution import Execution
from senet.training.progress import Silent
from tests.small import small_recipe, small_train

class Slow(Silent):
    def step(self, **event):
        time.sleep(0.004)

torch.set_num_threads(1)
shape = {"schedule": "step", "step_epochs": (5,), "ema_decay": 0.95, "erasing": 0.5}
recipe = small_recipe(epochs=int(sys.argv[2]), **shape)
options = {"identity": {"recipe": asdict(recipe)}, "execution": Execution(checkpoint_seconds=0)}
small_train(Path(sys.argv[1]), recipe, progress=Slow(), **options)
"""
MOST_STARTS = 60


def start(folder: Path, epochs: int = 25) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(epochs)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("extended", [False, True])
def test_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path, extended: bool) -> None:
    assert start(tmp_path / "whole").wait() == 0
    if extended:
        assert start(tmp_path / "killed", epochs=8).wait() == 0
    kills, moments = 0, random.Random(0)
    for _ in range(MOST_STARTS):
        before = last_saved(tmp_path / "killed")
        process = start(tmp_path / "killed")
        # Wait until this process has saved something, then kill at a random moment after that.
        while process.poll() is None and last_saved(tmp_path / "killed") == before:
            time.sleep(0.002)
        if kills < 6:
            time.sleep(moments.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
    assert process.returncode == 0 and kills >= 4
    whole, killed = (load_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("whole", "killed"))
    assert whole is not None and killed is not None
    assert same(whole[0], killed[0])
    metrics = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert metrics[0] == metrics[1] and metrics[0].count(b"\n") == 26


def last_saved(folder: Path) -> int:
    """Return when a checkpoint was last put in place; a kill may come between two renames."""
    times = [0]
    for path in folder.glob("checkpoint*.pt"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times)


def test_any_process_of_torchrun_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    """A training process, one that loads images or torchrun itself: all are killed at times."""
    for number in range(192):
        picture = small_source(192, side=16).read(number)
        folder = tmp_path / "images" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.png")
    chaos = Chaos(["--data", str(tmp_path / "images"), "--epochs", "4"], processes=2, longest=1.0)
    chaos.undisturbed(tmp_path / "whole")
    kills = chaos.killed(tmp_path / "killed", kills=1, seed=1)
    assert differences(tmp_path / "whole", tmp_path / "killed") == [], kills
    assert load_checkpoint(tmp_path / "killed" / CHECKPOINT_NAME)[0]["processes"] == 2  # type: ignore[index]
    chaos.restarted(tmp_path / "restarted")
    assert differences(tmp_path / "whole", tmp_path / "restarted") == []
