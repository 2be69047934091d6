"""What a checkpoint of the largest network takes: ``python -m benchmarks.bench_checkpoint FOLDER``.

SENet-154 with momentum, and with a moving average besides, written to FOLDER (on the disk that matters)
and read back, in turns with `torch.save` of the same state, which syncs nothing and checks nothing. About
three minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import parse, save
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import time_in_turns
from senet.insight.timing_rows import timing_rows
from senet.networks.zoo import create_network
from senet.training.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")
WRITE, READ, BARE = "write", "read, checked", "torch.save"


def state_of(network: nn.Module, average: bool) -> dict[str, Any]:
    """Return what a checkpoint of a training holds, as far as it has a size."""
    model = dict(network.state_dict())

    def copies(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in values.items()}

    momentum = copies({name: value.detach() for name, value in network.named_parameters()})
    return {
        "model": model,
        "optimiser": {name: {"momentum_buffer": value} for name, value in momentum.items()},
        "average": {"updates": 1, "values": copies(model)} if average else None,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the rows."""
    options = parse(__doc__, "checkpoint", 60, argv, with_folder)
    name = "se_resnet8" if options.smoke else "senet154"
    network = create_network(name)
    rows: list[Timing] = []
    for average in (False, True):
        begin = len(rows)
        state = state_of(network, average)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            ours, bare = Path(folder) / "checkpoint.pt", Path(folder) / "bare.pt"
            works = {
                WRITE: lambda: save_checkpoint(ours, state),  # noqa: B023 - run before the next turn
                READ: lambda: load_checkpoint(ours),  # noqa: B023
                BARE: lambda: torch.save(state, bare),  # noqa: B023
            }
            save_checkpoint(ours, state)
            turns = time_in_turns(works, device=CPU, seconds=options.seconds / 2, least=3, warm_up=1)
            size = ours.stat().st_size
        rows += timing_rows(
            turns,
            [(WRITE, BARE)],
            bytes_of=dict.fromkeys(works, size),
            benchmark=f"checkpoint, {name}, {'with' if average else 'no'} moving average",
            shape="",
            batch=0,
            precision="fp32",
            layout="contiguous",
            mode="train",
            machine=this_machine(CPU, ("torch",)),
        )
        save(rows, options.out, begin)


def with_folder(parser: argparse.ArgumentParser) -> None:
    """Add the folder to the options."""
    parser.add_argument("folder", type=Path, help="a folder on the disk that is measured")


if __name__ == "__main__":
    main()
