"""Kill a training again and again, and see that it ends with the bits of one that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from senet.training.metrics_file import METRICS_NAME

ROOT = Path(__file__).parents[1]
EVENT_NAME = ".event"
MOST_STARTS = 100
SECONDS_TO_END = 90.0
# Times, and how many bytes it took to write some of them down.
NOT_COMPARED = ("seconds", "train_seconds", "data_wait", "log")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill.

    Attributes:
        processes: of torchrun; 1 is without it.
        victim: which process was killed: the training itself, torchrun, or one that loads images.
        moment: what the training was doing.
        step: steps that it had taken.
        kept: steps that the next start found in the checkpoint.
    """

    processes: int
    victim: str
    moment: str
    step: int
    kept: int


class Chaos:
    """One training that is killed until it has been killed often enough.

    Args:
        arguments: of ``python -m benchmarks.chaos_training``, the folder apart.
        processes: of torchrun; 1 starts the training without it.
        longest: seconds of training before a kill.
    """

    def __init__(self, arguments: Sequence[str], processes: int, longest: float = 4.0) -> None:
        self.arguments, self.processes, self.longest = list(arguments), processes, longest

    def start(self, folder: Path, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Start the same command as ever; torchrun may be told to restart what is killed."""
        launcher = [sys.executable]
        if self.processes > 1:
            launcher += [
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                str(self.processes),
                "--max-restarts",
                str(restarts),
            ]
        command = [*launcher, "-m", "benchmarks.chaos_training", str(folder), *self.arguments]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def undisturbed(self, folder: Path) -> None:
        """Train without a kill."""
        if self.start(folder).wait() != 0:
            raise RuntimeError(f"The undisturbed training failed: see {folder}.log")

    def killed(self, folder: Path, kills: int, seed: int) -> list[Kill]:
        """Train with so many kills at random moments, of random processes, and return them."""
        moments, done = random.Random(seed), []
        for _ in range(MOST_STARTS):
            process = self.start(folder)
            if len(done) < kills:
                kill = self._kill(process, folder, moments)
                if kill is not None:
                    done.append(kill)
            if _wait(process) == 0:
                break
        else:
            raise RuntimeError(f"The training did not end after {MOST_STARTS} starts: see {folder}.log")
        steps = [kill.step for kill in done]
        assert len(steps) == kills, f"the training ended after {len(steps)} of {kills} kills: make it longer"
        return done

    def restarted(self, folder: Path) -> None:
        """Kill one of torchrun's processes once, which it then starts again by itself."""
        process = self.start(folder, restarts=1)
        while process.poll() is None and last_event(folder)[1] < 3:
            time.sleep(0.002)
        victim = min(each for each, name in _tree(process.pid).items() if name == "a training process")
        os.kill(victim, signal.SIGKILL)
        if _wait(process) != 0:
            raise RuntimeError(f"torchrun did not go on by itself: see {folder}.log")

    def _kill(self, process: subprocess.Popen[bytes], folder: Path, moments: random.Random) -> Kill | None:
        """Kill one of the processes at a random moment after the training has begun to take steps."""
        before = last_event(folder)
        while process.poll() is None and last_event(folder) == before:
            time.sleep(0.002)
        until = time.monotonic() + moments.uniform(0, self.longest)
        # Every third kill comes while a checkpoint is written, a moment too short to be met by chance.
        writing = moments.random() < 1 / 3
        temporary = folder / f".{CHECKPOINT_NAME}.writing"
        while process.poll() is None and (time.monotonic() < until or (writing and not temporary.exists())):
            if not writing:
                time.sleep(0.0005)
        if process.poll() is not None:
            return None
        victims = _tree(process.pid)
        victim = moments.choice(sorted(victims))
        moment, step = (
            ("writing a checkpoint", last_event(folder)[1]) if temporary.exists() else last_event(folder)
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        _wait(process)
        time.sleep(0.1)
        return Kill(
            processes=self.processes,
            victim=victims[victim],
            moment=moment,
            step=step,
            kept=_kept_steps(folder),
        )


def differences(first: Path, second: Path) -> list[str]:
    """Return what two finished trainings do not have in common to the last bit, times apart."""
    found = []
    states = [load_checkpoint(folder / CHECKPOINT_NAME) for folder in (first, second)]
    assert states[0] is not None and states[1] is not None
    for part in (states[0][0].keys() | states[1][0].keys()) - set(NOT_COMPARED):
        if not same(states[0][0].get(part), states[1][0].get(part)):
            found.append(part)
    for name in (METRICS_NAME, "steps.csv"):
        contents = [
            (folder / name).read_bytes() if (folder / name).exists() else b"" for folder in (first, second)
        ]
        if contents[0] != contents[1]:
            found.append(name)
    return sorted(found)


def same(first: Any, second: Any) -> bool:
    """Tell whether two parts of checkpoints hold the same bits, times apart."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        keys = [key for key in first if key not in NOT_COMPARED]
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in keys)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def last_event(folder: Path) -> tuple[str, int]:
    """Return what the training last said it was doing, and its steps so far."""
    try:
        text = (folder / EVENT_NAME).read_text()
        moment, _, step = text.partition("\t")
        return moment, int(step)
    except (FileNotFoundError, ValueError):
        return "starting", 0


def _kept_steps(folder: Path) -> int:
    found = load_checkpoint(folder / CHECKPOINT_NAME)
    return 0 if found is None else int(found[0]["position"]["step"])


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end, and help along what does not end by itself."""
    try:
        return process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        for each in _tree(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        return process.wait()


def _tree(root: int) -> dict[int, str]:
    """Return the processes below ``root`` and itself: process id to what it does."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    depth = {root: 0}
    for _ in range(4):
        depth |= {
            each: depth[parent] + 1 for each, parent in parents.items() if parent in depth and each != root
        }
    launched = "torch.distributed.run" in Path(f"/proc/{root}/cmdline").read_text(errors="replace")
    names = (
        ["torchrun", "a training process", "a loading process"]
        if launched
        else ["the training", "a loading process"]
    )
    return {each: names[min(level, len(names) - 1)] for each, level in depth.items()}
