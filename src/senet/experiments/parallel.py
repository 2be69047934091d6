"""Runs the trainings of a comparison: one after another, or several at once in processes of their own.

A process is told what to train through its standard input and tells what happens through its standard
output, one JSON list a line. When its input ends it saves what it is training and ends too: that is how
Ctrl-C, a failure elsewhere and the death of this process all reach it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from senet.errors import SenetError, TrainingInterrupted
from senet.experiments.plan import Plan
from senet.experiments.progress import ComparisonProgress
from senet.experiments.trainings import Training, finished_run, train_here
from senet.insight.results import EpochMetrics
from senet.text import counted
from senet.training.interrupt import StopRequest
from senet.training.processes import started_by_torchrun
from senet.training.progress import Silent, TrainingProgress

WORKER = "senet.experiments.worker"
MOST_PARALLEL = 64
SECONDS_BETWEEN_LOOKS = 0.1


def check_parallel(parallel: int, trainings: int) -> None:
    """Do nothing where so many trainings can run at once.

    More of them than GPUs are allowed: small networks leave most of a GPU idle.

    Raises:
        SenetError: the number is below 1, some processes would have nothing to train, or torchrun has
            started several that share each training already.
    """
    if not 1 <= parallel <= MOST_PARALLEL:
        raise SenetError(
            f"parallel must be from 1 (one training after another) to {MOST_PARALLEL}, not {parallel}."
        )
    if parallel > trainings:
        raise SenetError(f"parallel must be at most the number of trainings, {trainings}, not {parallel}.")
    if parallel > 1 and started_by_torchrun():
        raise SenetError(
            f"parallel cannot be {parallel} under torchrun, whose processes already share each training: "
            "leave out one of them."
        )


def devices(device: torch.device, parallel: int) -> list[torch.device]:
    """Return where each of several processes trains: GPU by GPU, unless a user named one of them."""
    if str(device) != "cuda":  # that is what no GPU in particular is called
        return [device] * parallel
    count = torch.cuda.device_count()
    return [torch.device("cuda", number % count) for number in range(parallel)]


def describe_parallel(plan: Plan, parallel: int) -> str:
    """Return for example ``"2 at once, 4 threads each"``, or ``""`` for one after another."""
    threads = counted(plan.threads or torch.get_num_threads(), "thread")
    if parallel == 1:
        usual = plan.threads in (None, torch.get_num_threads())
        return "" if usual else f"{threads}, as {plan.folder} was started with"
    if plan.device.type == "cpu":
        return f"{parallel} at once, {threads} each"
    gpus = len(set(devices(plan.device, parallel)))
    sharing = "one GPU each" if gpus == parallel else f"sharing {counted(gpus, 'GPU')}"
    return f"{parallel} at once, {sharing}"


def train_all(
    plan: Plan, trainings: Sequence[Training], *, parallel: int, progress: ComparisonProgress
) -> None:
    """Run trainings to their end; those that are finished already are left as they are.

    Args:
        plan: of the comparison.
        trainings: which of its trainings.
        parallel: how many at once.
        progress: told what happens.

    Raises:
        SenetError: one of them failed; all others have been stopped and saved.
        TrainingInterrupted: Ctrl-C or SIGTERM; all have been saved.
    """
    waiting = []
    for number, training in enumerate(trainings, start=1):
        if parallel > 1 and finished_run(plan, training) is None:
            waiting.append((number, training))
        else:
            train_here(plan, training, _watcher(progress, number, len(trainings), training))
    if waiting:
        _Processes(plan, waiting, parallel, len(trainings), progress).run()


def _watcher(progress: ComparisonProgress, number: int, total: int, training: Training) -> TrainingProgress:
    return progress.training(number=number, total=total, seed=training.seed, variant=training.variant)


class _Process:
    """A process that trains what it is told."""

    def __init__(self, events: queue.Queue[tuple[_Process, list[Any] | None]]) -> None:
        self.training: Training | None = None
        self.watcher: TrainingProgress = Silent()
        # A session of its own, so that Ctrl-C in a terminal reaches this process only, which passes it on.
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            # It must find a user's modules where this process finds them.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        )
        threading.Thread(target=self._listen, args=(events,), daemon=True).start()

    def _listen(self, events: queue.Queue[tuple[_Process, list[Any] | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, None))

    def tell(self, message: bytes) -> None:
        """Send something, unless the process has ended, of which it tells by itself."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(message)
            self.process.stdin.flush()

    def stop(self) -> None:
        """Have it save and end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class _Processes:
    """All processes that train, and what became of them."""

    def __init__(
        self,
        plan: Plan,
        waiting: list[tuple[int, Training]],
        parallel: int,
        total: int,
        progress: ComparisonProgress,
    ) -> None:
        self.plan, self.waiting, self.total, self.progress = plan, waiting, total, progress
        self.count = min(parallel, len(waiting))
        self.failure: Exception | None = None
        self.running: list[_Process] = []

    def run(self) -> None:
        """Start the processes, hand out the trainings, and wait for all."""
        events: queue.Queue[tuple[_Process, list[Any] | None]] = queue.Queue()
        try:
            with StopRequest() as stop:
                self.running = [_Process(events) for _ in range(self.count)]
                plan = pickle.dumps(self.plan)
                for process, device in zip(self.running, devices(self.plan.device, self.count), strict=True):
                    process.tell(plan + pickle.dumps(device))
                while self.running:
                    if stop.requested or self.failure:
                        self.waiting.clear()
                        for process in self.running:
                            process.stop()
                    with contextlib.suppress(queue.Empty):
                        self._note(*events.get(timeout=SECONDS_BETWEEN_LOOKS))
        finally:
            for process in self.running:
                process.process.kill()
                process.process.wait()
        if self.failure:
            raise self.failure
        if stop.requested:
            raise TrainingInterrupted(
                f"Stopped all trainings in {self.plan.folder}; everything up to that point is saved."
            )

    def _note(self, process: _Process, event: list[Any] | None) -> None:
        if event is None:
            self._note_end(process)
            return
        name, facts = event
        if name == "ready":
            self._next(process)
        elif name == "failed":
            self._fail(SenetError(facts["sentence"]))
        elif name == "crashed":
            what = f"The process of {_called(process)} failed: {facts['what']}"
            self._fail(RuntimeError(f"{what}\n\n{facts['text']}"))
        elif name == "epoch":
            process.watcher.epoch(EpochMetrics(**facts))
        else:
            getattr(process.watcher, name)(**facts)

    def _next(self, process: _Process) -> None:
        if not self.waiting:
            process.stop()
            return
        number, process.training = self.waiting.pop(0)
        process.watcher = _watcher(self.progress, number, self.total, process.training)
        process.tell(json.dumps(process.training).encode() + b"\n")

    def _note_end(self, process: _Process) -> None:
        code = process.process.wait()
        self.running.remove(process)
        if code < 0:
            self._fail(
                SenetError(
                    f"The process of {_called(process)} in {self.plan.folder} was killed (signal "
                    f"{-code}), most likely because memory ran out: resume with fewer than {self.count} "
                    "at once."
                )
            )
        elif code > 0:
            self._fail(RuntimeError(f"The process of {_called(process)} ended with exit code {code}."))

    def _fail(self, failure: Exception) -> None:
        # The others end because of the first; what they say is no news.
        self.failure = self.failure or failure


def _called(process: _Process) -> str:
    return f"the training {process.training.name}" if process.training else "a training"
