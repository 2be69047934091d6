"""Stands in for `senet.experiments.worker` where a test is about its process: it trains nothing.

What it does with a training stands in the environment: ``DOES_seed0_plain=fail`` for example.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from typing import Any


class _Anything:
    """Whatever a pickle holds."""

    def __new__(cls, *_: object, **__: object) -> _Anything:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _Blind(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _Anything


def tell(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps([event, facts]) + "\n")
    sys.stdout.flush()


def main() -> None:
    for _ in ("plan", "device"):
        _Blind(sys.stdin.buffer).load()
    tell("ready")
    for line in sys.stdin.buffer:
        seed, variant = json.loads(line)
        does = os.environ.get(f"DOES_seed{seed}_{variant}", "")
        tell("note", text=f"at seed{seed}-{variant}")
        if does == "fail":
            tell("failed", sentence=f"seed{seed}-{variant} became nan.")
            return
        if does == "crash":
            sys.stderr.close()
            raise RuntimeError
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if does in ("train", "fail late"):
            sys.stdin.buffer.read()
            if does == "fail late":
                tell("failed", sentence=f"seed{seed}-{variant} could not be saved.")
            tell("note", text=f"saved seed{seed}-{variant}")
            return
        tell("ready")


if __name__ == "__main__":
    main()
