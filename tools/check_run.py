"""Check what a comparison wrote: ``python tools/check_run.py runs/NAME``.

Ends with an error unless the folder holds everything a reader is promised and the numbers fit
together. `.ci/run` calls it on what `make demo` wrote.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from senet.report.results_json import read_results
from senet.training.checkpoint import load_checkpoint


def check(folder: Path) -> str:
    """Return a sentence about the run in ``folder``, or raise `AssertionError`."""
    comparison = read_results(folder / "results.json")
    page = (folder / "report.html").read_text(encoding="utf-8")
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))

    assert settings["command"] == comparison.command and settings["versions"]["torch"]
    assert comparison.command in page and "<svg" in page
    assert not any(f'{name}="http' in page for name in ("src", "href")), "the page loads something"
    assert comparison.cost.se.parameters > comparison.cost.plain.parameters
    labels = comparison.data.test_labels
    for run in comparison.runs:
        last = run.history[-1]
        wrong = sum(guess != label for guess, label in zip(run.predictions, labels, strict=True))
        assert math.isclose(last.top1_error, 100 * wrong / len(labels)), run.folder
        assert last.top1_error < 50, f"{run.folder} learned too little: {last.top1_error} %"
        state = load_checkpoint(folder / run.folder / "checkpoint.pt")
        assert state is not None and state[0]["position"]["epoch"] == last.epoch
        rows = (folder / run.folder / "metrics.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 1 + last.epoch
    return f"{folder} is complete: {len(comparison.runs)} trainings in {comparison.seconds:.0f} s."


def main() -> None:
    """Check the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(check(parser.parse_args().folder))


if __name__ == "__main__":
    main()
