"""How a training is run, as far as that does not change what is trained.

A recipe says what is computed; these settings say how. Two executions of one recipe differ by rounding
at most. This module imports no torch, so that ``senet --help`` stays quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from senet.checks import finite_number, texts, true_or_false, whole_number
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

    compile: bool = _setting(False, "compile the network with torch.compile (slow to start, then faster)")
    recompute: bool = _setting(
        False, "recompute activations in the backward pass to save memory (gradient checkpointing)"
    )
    shard: bool = _setting(
        False, "shard weights, gradients and momentum over the processes of torchrun (FSDP2)"
    )
    channels_last: bool = _setting(True, "use the channels_last memory format")
    checkpoint_seconds: float = _setting(
        300.0, "seconds between checkpoints within an epoch; the end of each epoch is always saved"
    )
    timeout_seconds: float = _setting(
        600.0, "seconds after which the processes of torchrun give up waiting for one that does not respond"
    )
    log: tuple[LogName, ...] | None = _setting(
        None, "logs to write at every step, one or more (default: csv, and tensorboard if installed)"
    )
    log_steps: int = _setting(50, "training steps between logged steps")
    cache_gb: float | None = _setting(
        None,
        "gigabytes of disk space for the cache of streamed shards; the least recently used are deleted "
        "first (default: the free space)",
    )
    max_unreadable: float | None = _setting(
        None,
        "unreadable images to skip (they are listed): a number, or a share such as 0.05; more than that "
        "ends the command (default: 1 %, or 3 for small datasets)",
    )

    def __post_init__(self) -> None:
        """Check the numbers and the logs."""
        for name in ("compile", "recompute", "shard", "channels_last"):
            true_or_false(name, getattr(self, name))
        for name in ("checkpoint_seconds", "timeout_seconds"):
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))
        object.__setattr__(self, "log_steps", whole_number("log_steps", self.log_steps))
        if self.cache_gb is not None and not finite_number("cache_gb", self.cache_gb) > 0:
            raise SenetError(f"cache_gb must be above 0, not {self.cache_gb}.")
        if not self.checkpoint_seconds >= 0:
            raise SenetError(f"checkpoint_seconds must be 0 or more, not {self.checkpoint_seconds}.")
        if not 1 <= self.timeout_seconds <= 86_400:
            raise SenetError(
                f"timeout_seconds must be from 1 second to a day (86400), not {self.timeout_seconds}."
            )
        if self.log_steps < 1:
            raise SenetError(f"log_steps must be a whole number of at least 1, not {self.log_steps}.")
        _check_max_unreadable(self.max_unreadable)
        refuse_missing(() if self.log is None else texts("log", self.log))

    def check_processes(self, count: int) -> None:
        """Do nothing where a training of ``count`` processes can be run so.

        Raises:
            SenetError: it cannot.
        """
        if self.shard and count == 1:
            raise SenetError(
                "shard has no effect with a single process: leave it out, or start several processes "
                "with torchrun."
            )


def _check_max_unreadable(most: Any) -> None:
    """Raise `SenetError` unless this is ``None``, a number of images, or a share of them."""
    if most is None:
        return
    is_number = isinstance(most, int | float) and not isinstance(most, bool)
    if not (is_number and (0 <= most < 1 or most == math.inf or (most >= 1 and most == int(most)))):
        raise SenetError(
            f"max_unreadable must be a number of images such as 5, or a share such as 0.05, not {most!r}."
        )
