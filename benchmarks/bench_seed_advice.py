"""How often looking again after more seeds finds a difference that is not there.

``python -m benchmarks.bench_seed_advice`` simulates comparisons of two equal networks by people who add seeds
until the verdict is clear, and writes ``benchmarks/results/seed_advice.csv``. The former rule is a 95 %
interval at every look, with the advice of post-hoc power; the present one is `confidence_of_look`.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from senet.experiments.statistics import confidence_of_look, effect_with_power
from senet.files import write_text
from senet.report.results_json import read_results

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "seed_advice.csv"
EXAMPLE = ROOT / "docs" / "example" / "results.json"
EXPERIMENTS, MOST_SEEDS = 40_000, 48

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
# From the seeds so far and the effect seen (mean difference over its deviation), the seeds at the next look.
Policy = Callable[[Counts, Values], Counts]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One simulated habit.

    Attributes:
        differences: how the differences between equal networks are distributed.
        first: seeds at the first look.
        habit: how many seeds are added while nothing is shown.
        rule: ``"95 % each"`` or ``"spent"``.
        experiments: how many were simulated.
        false: in how many of them a difference was shown at any look.
        percent: the same as a share, with the ends of its Wilson interval (95 %).
        low: its lower end.
        high: its upper end.
    """

    differences: str
    first: int
    habit: str
    rule: str
    experiments: int
    false: int
    percent: float
    low: float
    high: float


def habits() -> dict[str, Policy]:
    """Return what people may do as long as nothing is shown."""
    effects = np.array([effect_with_power(seeds) for seeds in range(2, MOST_SEEDS + 1)])

    def advised(seeds: Counts, effect: Values) -> Counts:
        """Follow post-hoc power: the fewest seeds that would show the effect seen with 80 % power."""
        needed = 2 + np.searchsorted(-effects, -np.abs(effect))
        return np.maximum(needed, seeds + 1)

    return {
        "one look": lambda seeds, _: np.full_like(seeds, MOST_SEEDS + 1),
        "as post-hoc power advises": advised,
        "one more": lambda seeds, _: seeds + 1,
        "twice as many": lambda seeds, _: 2 * seeds,
    }


def false_verdicts(
    differences: Values, first: int, policy: Policy, confidence: Callable[[int], float]
) -> int:
    """Return in how many experiments without a difference one is shown at any look.

    Args:
        differences: SE minus plain of each seed, (experiments, `MOST_SEEDS`), zero on average.
        first: seeds at the first look.
        policy: seeds at the next look; more than there are end the experiment.
        confidence: of the interval at each look, the first of which is 1.
    """
    total, squares = np.cumsum(differences, axis=1), np.cumsum(differences**2, axis=1)
    running = np.arange(len(differences))
    seeds = np.full(len(differences), first)
    shown, look = 0, 1
    while len(running):
        mean = total[running, seeds - 1] / seeds
        variance = (squares[running, seeds - 1] - seeds * mean**2) / (seeds - 1)
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        clear = np.abs(mean) > stats.t.isf((1 - confidence(look)) / 2, seeds - 1) * deviation / np.sqrt(seeds)
        shown += int(clear.sum())
        following = policy(seeds, mean / deviation)
        kept = ~clear & (following <= MOST_SEEDS)
        running, seeds, look = running[kept], following[kept], look + 1
    return shown


def sources(experiments: int, seed: int = 0) -> Iterator[tuple[str, Values]]:
    """Yield differences between two equal networks, by how they are distributed."""
    rng, shape = np.random.default_rng(seed), (experiments, MOST_SEEDS)
    yield "normal", rng.normal(size=shape)
    yield "heavy tails (t, 3 degrees of freedom)", rng.standard_t(3, size=shape)
    yield "trained networks' answers", _answers(rng, shape)


def _answers(rng: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Return differences in error of networks that err on each image as often as the example's six did."""
    comparison = read_results(EXAMPLE)
    labels = np.array(comparison.data.test_labels)
    wrong = np.array([np.array(run.predictions) != labels for run in comparison.runs]).sum(axis=0)
    images, runs = np.bincount(wrong), len(comparison.runs)
    errors = [
        sum(rng.binomial(count, times / runs, size=shape) for times, count in enumerate(images))
        for _ in range(2)
    ]
    return 100 * np.subtract(errors[1], errors[0]) / len(labels)


def simulate(experiments: int) -> list[Row]:
    """Return a row for each distribution, number of first seeds, habit and rule."""
    rules: dict[str, Callable[[int], float]] = {"95 % each": lambda _: 0.95, "spent": confidence_of_look}
    rows = []
    for name, differences in sources(experiments):
        for first in (2, 3, 5):
            for habit, policy in habits().items():
                for rule, confidence in rules.items():
                    count = false_verdicts(differences, first, policy, confidence)
                    interval = stats.binomtest(count, experiments).proportion_ci(0.95, method="wilson")
                    share, low, high = (
                        round(100 * float(each), 2) for each in (count / experiments, *interval)
                    )
                    rows.append(
                        Row(
                            differences=name,
                            first=first,
                            habit=habit,
                            rule=rule,
                            experiments=experiments,
                            false=count,
                            percent=share,
                            low=low,
                            high=high,
                        )
                    )
    return rows


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, metavar="N")
    rows = simulate(parser.parse_args().experiments)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    write_text(RESULTS, text.getvalue())
    print(text.getvalue())


if __name__ == "__main__":
    main()
