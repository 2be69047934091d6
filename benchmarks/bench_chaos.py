"""Kill trainings at random moments: ``python -m benchmarks.bench_chaos``.

One process without torchrun, then two with it: each is killed twenty times, a training process, one that
loads images or torchrun itself, and must end with the bits of a training that nobody disturbed. About half
an hour on two cores; ``--processes 1`` leaves out torchrun.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.chaos import Chaos, Kill, differences
from benchmarks.common import RESULTS
from senet.files import write_text


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, compare, and write a row for each kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.csv", help="the CSV file to write")
    parser.add_argument("--kills", type=int, default=20, help="of each training (default: 20)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--epochs", type=int, default=12, help="of each training (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims (default: 0)")
    options = parser.parse_args(argv)
    rows: list[tuple[Kill, str]] = []
    for processes in options.processes:
        with tempfile.TemporaryDirectory() as folder:
            chaos = Chaos(["--epochs", str(options.epochs)], processes)
            whole, killed = Path(folder) / "whole", Path(folder) / "killed"
            chaos.undisturbed(whole)
            kills = chaos.killed(killed, options.kills, options.seed)
            lost = ", ".join(differences(whole, killed)) or "nothing"
        print(f"{processes} process(es), killed {len(kills)} times: lost {lost}", flush=True)
        rows += [(kill, lost) for kill in kills]
        write_text(options.out, as_csv(rows))


def as_csv(rows: Sequence[tuple[Kill, str]]) -> str:
    """Return a line for each kill, with what the training it belongs to had lost at its end."""
    stream = io.StringIO()
    names = [each.name for each in fields(Kill)]
    writer = csv.DictWriter(stream, [*names, "lost"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(kill), "lost": lost} for kill, lost in rows)
    return stream.getvalue()


if __name__ == "__main__":
    main()
