"""Which device trains, and what it is called in a report."""

from __future__ import annotations

import os

import torch

from senet.errors import SenetError
from senet.text import counted
from senet.training.processes import started_by_torchrun


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device for ``"auto"`` (CUDA where there is one), ``"cpu"`` or ``"cuda"`` (``"cuda:1"``).

    Of the processes that torchrun starts on a machine, each has a GPU of its own.

    Raises:
        SenetError: the name is unknown, or CUDA is asked for and not there.
    """
    name = str(name)
    if name in ("auto", "cuda") and torch.cuda.is_available() and started_by_torchrun():
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise SenetError(f"device must be auto, cpu, cuda or cuda:NUMBER, not {name!r}.")
    if int(number or 0) >= torch.cuda.device_count():
        raise SenetError(
            f"device is {name!r}, but torch finds "
            f"{counted(torch.cuda.device_count(), 'CUDA device')}: use --device cpu."
        )
    torch.cuda.set_device(name)
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Return for example ``"cpu, 2 threads"`` or ``"NVIDIA H100"``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"cpu, {counted(threads, 'thread')}"
