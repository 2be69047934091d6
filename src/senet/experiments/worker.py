"""A process that trains what `senet.experiments.parallel` tells it to."""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch

from senet.errors import SenetError, TrainingInterrupted
from senet.experiments.plan import Plan
from senet.experiments.trainings import Training, train_here
from senet.insight.results import EpochMetrics
from senet.training.parent import ends_with_parent

SECONDS_BETWEEN_STEPS = 0.1


class Relay:
    """A `TrainingProgress` that passes everything on, and of the steps as many as an eye can follow."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.untold: dict[str, Any] | None = None
        self.told_at = 0.0

    def tell(self, event: str, **facts: Any) -> None:
        """Pass on one event."""
        # Whoever listened may be gone; then standard input ends too, and that is what is acted upon.
        with contextlib.suppress(BrokenPipeError):
            self.stream.write(json.dumps([event, facts]).encode() + b"\n")
            self.stream.flush()

    def begin(
        self,
        *,
        epochs: int,
        batches: int,
        done_epochs: int,
        done_batches: int,
        workers: int | None = None,
    ) -> None:
        """Pass it on."""
        self.tell(
            "begin",
            epochs=epochs,
            batches=batches,
            done_epochs=done_epochs,
            done_batches=done_batches,
            workers=workers,
        )

    def step(self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0) -> None:
        """Pass it on now and then, with the images since the last time."""
        images += self.untold["images"] if self.untold else 0
        self.untold = {
            "epoch": epoch,
            "batch": batch,
            "loss": loss,
            "images": images,
            "data_wait": data_wait,
        }
        if time.monotonic() - self.told_at >= SECONDS_BETWEEN_STEPS:
            self._tell_steps()

    def testing(self) -> None:
        """Pass it on."""
        self._tell_steps()
        self.tell("testing")

    def epoch(self, metrics: EpochMetrics) -> None:
        """Pass it on."""
        self._tell_steps()
        self.tell("epoch", **asdict(metrics))

    def note(self, text: str) -> None:
        """Pass it on."""
        self.tell("note", text=text)

    def _tell_steps(self) -> None:
        if self.untold:
            self.tell("step", **self.untold)
            self.untold, self.told_at = None, time.monotonic()


def main() -> None:
    """Train what standard input names until it ends; the end stops a training, which is saved."""
    # What a network prints must not mix with the events. And a process that decodes images closes its
    # standard input, for which it would wait for ever if that were being read here when it was forked.
    orders, relay = os.fdopen(os.dup(0), "rb"), Relay(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGTERM, _stop)
    try:
        try:
            with ends_with_parent():
                _train(orders, relay)
        except TrainingInterrupted:
            pass  # who stopped it knows
        except SenetError as error:
            relay.tell("failed", sentence=str(error))
        except Exception as error:  # noqa: BLE001 -- the process that started this one reports it
            what = " ".join("".join(traceback.format_exception_only(error)).split())
            relay.tell("crashed", what=what, text="".join(traceback.format_exception(error)))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _train(orders: IO[bytes], relay: Relay) -> None:
    try:
        plan: Plan = pickle.load(orders)
        device: torch.device = pickle.load(orders)
    except EOFError:
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    plan = replace(plan, device=device)
    wanted: queue.Queue[Training | None] = queue.Queue()
    threading.Thread(target=_listen, args=(orders, wanted), daemon=True).start()
    relay.tell("ready")
    while (training := wanted.get()) is not None:
        train_here(plan, training, relay)
        relay.tell("ready")


def _listen(orders: IO[bytes], wanted: queue.Queue[Training | None]) -> None:
    for line in orders:
        wanted.put(Training(*json.loads(line)))
    wanted.put(None)
    # As if somebody had sent it: the loop saves and stops.
    _thread.interrupt_main(signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
