"""``senet compare``: a network against its SE twin."""

from __future__ import annotations

import argparse
import re
from typing import Any

from senet.cli.options import Parser, whole_number
from senet.cli.shared import FOREIGN_NAMES, add_shared_arguments, shared_arguments
from senet.errors import SenetError

NAME = "compare"
SUMMARY = "train a network and its SE twin on the same images and compare them"
DESCRIPTION = (
    "Trains a network and its SE twin on the same images in the same order over several seeds, and "
    "reports with a confidence interval what SE gains and what it costs. Writes report.html, "
    "results.json, checkpoints and settings to the run folder. The same command resumes after an "
    "interruption."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"network (default: resnet8 for images up to 64 pixels, else resnet18); {FOREIGN_NAMES}",
    )
    parser.add_argument("--seeds", type=whole_number, metavar="N", help="trainings per network (default: 3)")
    add_shared_arguments(parser)
    group = parser.add_argument_group("many trainings at once")
    group.add_argument(
        "--parallel",
        type=whole_number,
        metavar="N",
        help="run N trainings at once, one per GPU or sharing the CPU threads (default: 1)",
    )
    group.add_argument(
        "--job",
        metavar="K/N",
        help="train only the K-th of N shares, for a SLURM array or several machines; the jobs may share "
        "a run folder",
    )
    group.add_argument(
        "--collect",
        nargs="+",
        metavar="FOLDER",
        help="compare the trainings of the jobs in these run folders; only DATA, --out, --device and "
        "--workers can be given, since the folders contain everything else",
    )


def run(arguments: argparse.Namespace) -> None:
    """Compare, print the table and the verdict, and write the report; or do a job's share of it."""
    from senet.cli.jobs_display import JobsDisplay
    from senet.experiments.collect import collect
    from senet.experiments.compare import compare
    from senet.experiments.jobs import compare_job
    from senet.report.write import write_report
    from senet.training.processes import is_first_process

    with JobsDisplay(at_once=arguments.parallel or 1) as display:
        if arguments.collect:
            _refuse_beside_collect(arguments)
            given = {name: getattr(arguments, name) for name in ("data", "out", "device", "workers")}
            comparison, folder = collect(arguments.collect, **given, progress=display)
        elif arguments.job is not None:
            display.job_done(compare_job(arguments.job, **_options(arguments), progress=display))
            return
        else:
            comparison, folder = compare(**_options(arguments), progress=display)
    if is_first_process():
        page = write_report(comparison, folder)
        display.conclude(comparison, page)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `senet.compare` and `senet.compare_job` take alike."""
    # The whole comparison has one command, whichever of its jobs writes it down.
    arguments.command = re.sub(r" --job[ =]\S+", "", arguments.command)
    given = {name: getattr(arguments, name) for name in ("seeds", "parallel")}
    return {
        **shared_arguments(arguments),
        **{name: value for name, value in given.items() if value is not None},
    }


def _refuse_beside_collect(arguments: argparse.Namespace) -> None:
    """Raise `SenetError` where an option is given that the folders decide."""
    parser = Parser()
    add_arguments(parser)
    usual = vars(parser.parse_args([]))
    allowed = ("collect", "data", "out", "device", "workers")
    given = [name for name in usual if name not in allowed and getattr(arguments, name) != usual[name]]
    if given:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise SenetError(
            f"{shown} cannot be combined with --collect, because the run folders already determine it: "
            "leave it out."
        )
