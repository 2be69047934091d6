"""kill -9 at any moment: the same command ends with the same bits."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from benchmarks.chaos import Chaos, differences, same

from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from tests.small import small_recipe, small_source, small_train

pytestmark = pytest.mark.slow

SHAPE: dict[str, Any] = {"schedule": "step", "step_epochs": (5,), "ema_decay": 0.95, "erasing": 0.5}
SCRIPT = f"""
import sys, time
from dataclasses import asdict
from pathlib import Path
from senet.training.execution import Execution
from senet.training.progress import Silent
from tests.small import small_recipe, small_train

class Slow(Silent):
    def step(self, **event):
        time.sleep(0.004)

recipe = small_recipe(epochs=int(sys.argv[2]), **{SHAPE})
identity, execution = dict(recipe=asdict(recipe)), Execution(checkpoint_seconds=0)
small_train(Path(sys.argv[1]), recipe, progress=Slow(), identity=identity, execution=execution)
"""


def start(folder: Path, epochs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(epochs)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])


def trained_in_spite_of_a_kill(folder: Path, epochs: int, until: float) -> None:
    """Kill the training so many seconds after it has saved something, and start it once more."""
    before = last_saved(folder)
    process = start(folder, epochs)
    while process.poll() is None and last_saved(folder) == before:
        time.sleep(0.002)
    time.sleep(until)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert start(folder, epochs).wait() == 0


def test_a_training_killed_and_extended_and_killed_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    recipe, moments = small_recipe(epochs=16, **SHAPE), random.Random(0)
    small_train(tmp_path / "whole", recipe, identity={"recipe": asdict(recipe)})
    for epochs in (8, 16):
        trained_in_spite_of_a_kill(tmp_path / "killed", epochs, moments.uniform(0, 0.15))
    whole, killed = (load_checkpoint(tmp_path / name / CHECKPOINT_NAME) for name in ("whole", "killed"))
    assert whole is not None and killed is not None
    assert same(whole[0], killed[0])
    metrics = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert metrics[0] == metrics[1] and metrics[0].count(b"\n") == 17


def last_saved(folder: Path) -> int:
    """Return when a checkpoint was last put in place; a kill may come between two renames."""
    times = [0]
    for path in folder.glob("checkpoint*.pt"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times)


@pytest.mark.usefixtures("layer_by_layer")
def test_processes_that_torchrun_starts_again_end_with_the_same_bits(tmp_path: Path) -> None:
    """Kills of the loading processes and of torchrun itself are in benchmarks/bench_chaos.py."""
    for number in range(192):
        picture = small_source(192, side=16).read(number)
        folder = tmp_path / "images" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.png")
    chaos = Chaos(["--data", str(tmp_path / "images"), "--epochs", "3"], processes=2, longest=1.0)
    chaos.undisturbed(tmp_path / "whole")
    chaos.restarted(tmp_path / "restarted")
    assert load_checkpoint(tmp_path / "restarted" / CHECKPOINT_NAME)[0]["processes"] == 2  # type: ignore[index]
    assert differences(tmp_path / "whole", tmp_path / "restarted") == []
