"""How a training is run, as far as that does not change what is trained.

A recipe says what is computed; these settings say how. Two executions of one recipe differ by rounding
at most. This module imports no torch, so that ``senet --help`` stays quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from senet.errors import SenetError
from senet.training.logs.names import LogName, refuse_missing


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a training is run.

    Raises:
        SenetError: a value is out of range, or a log needs a package that is not installed.
    """

    compile: bool = _setting(False, "compile the network with torch.compile: slow to start, then faster")
    recompute: bool = _setting(
        False, "keep few activations and compute them again in the backward pass (gradient checkpointing)"
    )
    shard: bool = _setting(
        False, "share weights, gradients and momentum out among the processes of torchrun (FSDP2)"
    )
    channels_last: bool = _setting(True, "keep the channels of a pixel side by side in memory")
    checkpoint_seconds: float = _setting(
        300.0, "seconds between two checkpoints within an epoch; the end of every epoch is always saved"
    )
    timeout_seconds: float = _setting(
        600.0, "seconds for which the processes of torchrun wait for one that does not answer"
    )
    log: tuple[LogName, ...] | None = _setting(
        None, "where every step is logged, one or more of them (default: csv, and tensorboard if installed)"
    )
    log_steps: int = _setting(50, "training steps from one that is logged to the next")
    cache_gb: float | None = _setting(
        None,
        "gigabytes of streamed shards to keep on the disk, those opened last (default: what is free there)",
    )
    max_unreadable: float | None = _setting(
        None,
        "damaged images that are left out and named: a number of them, or a share such as 0.05; more end the "
        "command (default: 1 %, or 3 of few)",
    )

    def __post_init__(self) -> None:
        """Check the numbers and the logs."""
        if self.cache_gb is not None and not self.cache_gb > 0:
            raise SenetError(f"cache_gb is {self.cache_gb}; it must be above 0.")
        if not self.checkpoint_seconds >= 0:
            raise SenetError(f"checkpoint_seconds is {self.checkpoint_seconds}; it must be 0 or above.")
        if not 1 <= self.timeout_seconds <= 86_400:
            raise SenetError(
                f"timeout_seconds is {self.timeout_seconds}; it must lie between 1 second and a day (86400)."
            )
        if self.log_steps < 1:
            raise SenetError(f"log_steps is {self.log_steps}; it must be 1 or above.")
        _check_max_unreadable(self.max_unreadable)
        refuse_missing(self.log or ())

    def check_processes(self, count: int) -> None:
        """Do nothing where a training of ``count`` processes can be run so.

        Raises:
            SenetError: it cannot.
        """
        if self.shard and count == 1:
            raise SenetError(
                "shard has no effect in a training of one process: leave it out, or start several with "
                "torchrun."
            )


def _check_max_unreadable(most: Any) -> None:
    """Raise `SenetError` unless this is ``None``, a number of images, or a share of them."""
    if most is None:
        return
    is_number = isinstance(most, int | float) and not isinstance(most, bool)
    if not (is_number and (0 <= most < 1 or most == math.inf or (most >= 1 and most == int(most)))):
        raise SenetError(
            f"max_unreadable is {most!r}; it must be a number of images such as 5, or a share such as 0.05."
        )
