"""What the differences between twins prove: one interval, one verdict.

`difference` turns right and wrong answers into an `Interval`, `verdict` turns the interval into a
sentence. A difference is always SE minus plain, in percentage points of error. `confidence_of_look` keeps
looking again after more seeds from finding differences by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from senet.errors import SenetError
from senet.insight.results import Detectable, Interval, Verdict
from senet.text import counted, signed

POWER = 0.8
# Chance of a false verdict at the first look at a comparison, and by what it falls from look to look.
FIRST_ALPHA, LATER_ALPHA = 0.04, 1 / 8

_OVER_SEEDS = "paired t interval and t test over seeds"
_OVER_IMAGES = "adjusted Wald interval for paired proportions (Bonett and Price 2012), exact McNemar test"
_OVER_POOLED_IMAGES = (
    "adjusted Wald interval (Bonett and Price 2012) of each test image's mean over the seeds, exact sign "
    "test; over test images because every seed differs by the same amount"
)


def difference(plain_correct: ArrayLike, se_correct: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the difference in error, SE minus plain, with its confidence interval.

    Two seeds or more are compared seed by seed (`over_seeds`). One seed says nothing about how
    trainings vary, and seeds that all differ by the same amount would make a t interval claim
    certainty: both are compared image by image (`over_images`), which the result says in ``over``
    and ``method``.

    Args:
        plain_correct: shape (seeds, test images), true where the plain network is right.
        se_correct: the same of its SE twin, seeds and images in the same order.
        confidence: between 0 and 1.

    Raises:
        SenetError: the arrays are empty, not boolean, or not of one shape.
    """
    plain, se = _answers(plain_correct, se_correct)
    # Counts of images are compared, not percentages: equal counts are equal, without rounding.
    fewer_right = plain.sum(axis=1) - se.sum(axis=1)
    if len(fewer_right) < 2 or np.all(fewer_right == fewer_right[0]):
        return over_images(plain, se, confidence)
    return over_seeds(_errors(plain), _errors(se), confidence)


def over_seeds(plain: Sequence[float], se: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the paired t interval of SE minus plain over seeds.

    Args:
        plain: error in percent of the plain network, one value per seed, two seeds or more.
        se: the same of its SE twin, in the same order.
        confidence: between 0 and 1.

    Raises:
        SenetError: fewer than two seeds, a value that is not finite, or the same difference at every
            seed, about which a t interval can say nothing (`difference` handles that).
    """
    _check_confidence(confidence)
    if len(plain) != len(se) or len(plain) < 2:
        raise SenetError(
            f"A t interval needs at least two errors per network, one for each seed, not {len(plain)} of "
            f"the plain network and {len(se)} of its SE twin: train both with at least 2 seeds."
        )
    differences = np.subtract(se, plain)
    if not np.all(np.isfinite(differences)):
        raise SenetError("The errors must be finite numbers: leave out the seeds whose training failed.")
    if np.ptp(differences) < 1e-9:
        raise SenetError(
            f"Every seed differs by {signed(float(differences[0]))} points, so a t interval would have no "
            "width: compare the predictions image by image instead."
        )
    test = stats.ttest_rel(se, plain)
    bounds = test.confidence_interval(confidence)
    return Interval(
        difference=float(differences.mean()),
        low=float(bounds.low),
        high=float(bounds.high),
        confidence=confidence,
        method=_OVER_SEEDS,
        over="seeds",
        count=len(differences),
        p_value=float(test.pvalue),
    )


def over_images(plain_correct: ArrayLike, se_correct: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the interval of SE minus plain over test images, each image averaged over the seeds.

    The interval is the normal one after adding two imaginary images, one only the plain network
    gets right and one only SE gets right, which keeps its coverage honest when the twins seldom
    disagree: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data", J. Educ. Behav. Stat. 37 (2012) 479-488. The p
    value is the exact test of Q. McNemar, Psychometrika 12 (1947) 153-157. With several seeds an
    image counts for the side that is right more often, so that answers of several trainings to
    one image are never taken for independent images.

    Args and errors are those of `difference`.
    """
    _check_confidence(confidence)
    plain, se = _answers(plain_correct, se_correct)
    seeds, images = plain.shape
    by_image = (plain.sum(axis=0) - se.sum(axis=0)) / seeds
    with_two_more = images + 2
    centre = by_image.sum() / with_two_more
    variance = ((by_image**2).sum() + 2) / with_two_more - centre**2
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance / with_two_more)
    plain_ahead, se_ahead = int((by_image > 0).sum()), int((by_image < 0).sum())
    disagreements = plain_ahead + se_ahead
    p_value = stats.binomtest(se_ahead, disagreements).pvalue if disagreements else 1.0
    return Interval(
        difference=100 * float(by_image.mean()),
        low=max(-100.0, 100 * float(centre - half)),
        high=min(100.0, 100 * float(centre + half)),
        confidence=confidence,
        method=_OVER_IMAGES if seeds == 1 else _OVER_POOLED_IMAGES,
        over="test images",
        count=images,
        p_value=float(p_value),
    )


def confidence_of_look(look: int) -> float:
    """Return the confidence of the interval when a comparison is concluded for the ``look``-th time.

    Whoever adds seeds until an interval excludes zero finds a difference sooner or later, also where there
    is none. The chance of a false verdict is therefore spent: 4 % at the first look, and at each further
    one an eighth of what the one before had, 4.6 % in all. Such a sum bounds the chance however much the
    looks depend on one another (C. E. Bonferroni 1936); to spend it over looks is the idea of K. K. G. Lan
    and D. L. DeMets, Biometrika 70 (1983) 659-663. What remains up to 5 % is for numbers of seeds that were
    chosen by what was seen, see ``benchmarks/bench_seed_advice.py``.

    Args:
        look: 1 for the first. The same seeds looked at again are the same look.
    """
    return 1 - max(FIRST_ALPHA * LATER_ALPHA ** (look - 1), 1e-12)  # below that a confidence would round to 1


def sampling_error(plain_correct: ArrayLike, se_correct: ArrayLike) -> float:
    """Return half the width in points of the 95 % interval of the difference over other test images.

    Args and errors are those of `difference`; the trained networks are taken as they are.
    """
    interval = over_images(plain_correct, se_correct)
    return (interval.high - interval.low) / 2


def detectable(interval: Interval) -> Detectable | None:
    """Return the smallest true difference that an interval over seeds would have shown with 80 % power.

    The spread of the differences between seeds decides it, and few seeds tell little about that: the bounds
    come from the chi-square interval (95 %) of the standard deviation. Nothing is computed from the
    difference seen, whose size says nothing about what could have been seen.

    Returns:
        ``None`` for an interval over test images, which says nothing about seeds.
    """
    if interval.over != "seeds":
        return None
    seeds, freedom = interval.count, interval.count - 1
    half = (interval.high - interval.low) / 2
    deviation = half * np.sqrt(seeds) / stats.t.ppf((1 + interval.confidence) / 2, freedom)
    points = float(deviation * effect_with_power(seeds, interval.confidence))
    bounds = np.sqrt(freedom / stats.chi2.ppf([0.975, 0.025], freedom))
    return Detectable(
        points=points, low=points * float(bounds[0]), high=points * float(bounds[1]), power=POWER
    )


def verdict(top1: Interval, seeds: int) -> Verdict:
    """Say what the difference in top-1 error shows.

    SE is better or worse when the interval excludes zero. Anything else is inconclusive, which
    is said as such and never as "SE does not help".

    Args:
        top1: what `difference` returned for top-1 answers.
        seeds: how many seeds each network was trained with.

    Raises:
        SenetError: ``seeds`` is not the number the interval was computed from.
    """
    if seeds < 1 or (top1.over == "seeds" and seeds != top1.count):
        raise SenetError(
            f"The interval covers {top1.count} {top1.over}, which does not fit {counted(seeds, 'seed')}."
        )
    could = detectable(top1)
    if top1.low <= 0 <= top1.high:
        sentence = _inconclusive(top1, seeds, could)
        return Verdict(outcome="inconclusive", sentence=sentence, detectable=could)
    return Verdict(
        outcome="better" if top1.high < 0 else "worse", sentence=_clear(top1, seeds), detectable=could
    )


def power_of_paired_t(effect: float, seeds: int, confidence: float = 0.95) -> float:
    """Return the chance that a paired t interval over ``seeds`` excludes zero.

    Under an effect the t statistic follows the noncentral t distribution: J. Cohen, "Statistical
    Power Analysis for the Behavioral Sciences" (1988), section 2.3.

    Args:
        effect: true mean difference divided by the standard deviation of the differences.
        seeds: two or more.
        confidence: of the interval.
    """
    freedom = seeds - 1
    critical = stats.t.ppf((1 + confidence) / 2, freedom)
    # The effect's sign does not matter; the far tail is added where it is more than rounding.
    shift = abs(effect) * np.sqrt(seeds)
    near, far = stats.nct.sf(critical, freedom, shift), stats.nct.cdf(-critical, freedom, shift)
    return float(near + np.nan_to_num(far))


def effect_with_power(seeds: int, confidence: float = 0.95) -> float:
    """Return the effect that a paired t interval over ``seeds`` shows with 80 % power.

    Args:
        seeds: two or more.
        confidence: of the interval.

    Returns:
        The true mean difference divided by the standard deviation of the differences.
    """
    highest = 1.0
    while power_of_paired_t(highest, seeds, confidence) < POWER:
        highest *= 2
    found = optimize.brentq(lambda effect: power_of_paired_t(effect, seeds, confidence) - POWER, 0, highest)
    return float(found)


def _answers(plain: ArrayLike, se: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    both = np.asarray(plain), np.asarray(se)
    shapes = " and ".join(str(array.shape) for array in both)
    if both[0].shape != both[1].shape or both[0].ndim != 2 or both[0].size == 0:
        raise SenetError(f"Answers must be two arrays (seeds, test images) of the same shape, not {shapes}.")
    if any(array.dtype != np.bool_ for array in both):
        raise SenetError(
            "Answers must be true (right) or false (wrong): compare the predictions with the labels first."
        )
    return both


def _errors(correct: NDArray[np.bool_]) -> list[float]:
    images = correct.shape[1]
    return [100 * (images - int(right)) / images for right in correct.sum(axis=1)]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise SenetError(f"confidence must be between 0 and 1, for example 0.95, not {confidence}.")


def _clear(interval: Interval, seeds: int) -> str:
    better = interval.high < 0
    decimals = interval.decimals
    size = f"{abs(interval.difference):.{decimals}f}"
    near, far = sorted((abs(interval.low), abs(interval.high)))
    bounds = f"{_percent(interval.confidence)} interval {near:.{decimals}f} to {far:.{decimals}f}"
    moves = "falls" if better else "rises"
    change = f"top-1 error {moves} by {size} points ({bounds}, {_basis(interval, seeds)})"
    side = "better" if better else "worse"
    if seeds == 1:
        return f"SE is {side} in this one training: {change}. Another seed may differ: train at least 3."
    return f"SE is {side}: {change}."


def _inconclusive(interval: Interval, seeds: int, could: Detectable | None) -> str:
    shown = (
        f"SE − plain = {signed(interval.difference)} points ({_percent(interval.confidence)} interval "
        f"{signed(interval.low)} to {signed(interval.high)}, {_basis(interval, seeds)})"
    )
    return f"No difference shown at this sample size: {shown}; {_what_could_be_seen(seeds, could)}."


def _what_could_be_seen(seeds: int, could: Detectable | None) -> str:
    if seeds == 1:
        return "one seed cannot tell an effect from chance, so train at least 3"
    if could is None:
        return "every seed differs by the same amount, so only more test images can show more"
    return (
        f"a true difference would have to be about {_rough(could.points)} points to be detected "
        f"({_percent(could.power)} power; {_rough(could.low)} to {_rough(could.high)}, as "
        f"{counted(seeds, 'seed')} say little about the spread)"
    )


def _rough(points: float) -> str:
    """Return a size of which no more than two digits are known."""
    return f"{float(f'{points:.2g}'):,.10g}"


def _basis(interval: Interval, seeds: int) -> str:
    trained = counted(seeds, "seed")
    return trained if interval.over == "seeds" else f"over {counted(interval.count, 'test image')}, {trained}"


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
