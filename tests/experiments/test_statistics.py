import re

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from senet.errors import SenetError
from senet.experiments.statistics import (
    confidence_of_look,
    detectable,
    difference,
    effect_with_power,
    over_images,
    over_seeds,
    power_of_paired_t,
    sampling_error,
    verdict,
)
from senet.insight.results import Interval
from senet.text import signed

PLAIN = [8.9, 8.1, 8.6, 9.4, 8.2]
SE = [8.2, 7.6, 7.7, 9.0, 7.4]


def answers(*errors_by_seed, images=200):
    """Return answers, one row per seed, wrong for the given numbers of images."""
    return np.array([np.arange(images) >= wrong for wrong in errors_by_seed])


def interval(low, high, *, over="seeds", count=3):
    return Interval(
        difference=(low + high) / 2,
        low=low,
        high=high,
        confidence=0.95,
        method="",
        over=over,
        count=count,
        p_value=0.5,
    )


class TestOverSeeds:
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
    def test_agrees_with_statsmodels(self, confidence):
        ours = over_seeds(PLAIN, SE, confidence)
        theirs = DescrStatsW(np.subtract(SE, PLAIN))
        assert (ours.low, ours.high) == pytest.approx(theirs.tconfint_mean(1 - confidence), rel=1e-12)
        assert ours.p_value == pytest.approx(theirs.ttest_mean(0)[1], rel=1e-10)
        assert ours.difference == pytest.approx(-0.66)
        assert (ours.over, ours.count, ours.confidence) == ("seeds", 5, confidence)

    def test_covers_the_true_difference_as_often_as_it_says(self):
        rng = np.random.default_rng(5)
        covered = 0
        for _ in range(1000):
            common = rng.normal(8, 2, 3)
            found = over_seeds(common + rng.normal(0, 0.2, 3), common - 0.4 + rng.normal(0, 0.2, 3))
            covered += found.low <= -0.4 <= found.high
        assert 0.93 <= covered / 1000 <= 0.97

    @pytest.mark.parametrize(
        ("plain", "se", "message"),
        [
            ([8.0], [7.0], "at least 2 seeds"),
            ([8.0, 9.0], [7.0], "at least 2 seeds"),
            ([8.0, float("nan")], [7.0, 7.0], "The errors must be finite numbers:"),
            ([8.4, 7.9, 8.8], [8.1, 7.6, 8.5], "image by image"),
        ],
    )
    def test_says_what_it_cannot_do(self, plain, se, message):
        with pytest.raises(SenetError, match=message):
            over_seeds(plain, se)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
    def test_refuses_impossible_confidence(self, confidence):
        with pytest.raises(SenetError, match="between 0 and 1"):
            over_seeds(PLAIN, SE, confidence)


class TestOverImages:
    def test_p_value_is_mcnemars(self):
        rng = np.random.default_rng(0)
        plain, se = rng.random(300) < 0.85, rng.random(300) < 0.9
        table = [[np.sum(a & b) for b in (se, ~se)] for a in (plain, ~plain)]
        assert over_images([plain], [se]).p_value == pytest.approx(
            mcnemar(table, exact=True).pvalue, rel=1e-12
        )

    def test_follows_the_formula(self):
        """1 image only plain gets right and 7 only SE, of 21: worked out by hand with one more of each."""
        images = np.arange(21)
        found = over_images([images >= 7], [images != 20])
        centre, half = -6 / 23, 1.959964 * np.sqrt((10 / 23 - (6 / 23) ** 2) / 23)
        assert (found.low, found.high) == pytest.approx(
            (100 * (centre - half), 100 * (centre + half)), rel=1e-6
        )
        assert found.difference == pytest.approx(-100 * 6 / 21)

    @pytest.mark.parametrize(("plain_only", "se_only", "images"), [(12, 30, 400), (3, 3, 150), (25, 9, 1000)])
    def test_is_close_to_the_score_interval(self, plain_only, se_only, images):
        """T. Tango's score interval (Stat. Med. 17, 1998) rests on other algebra; both should agree."""
        se = np.arange(images) >= plain_only
        plain = (np.arange(images) < plain_only) | (np.arange(images) >= plain_only + se_only)
        ours = over_images([plain], [se])
        low, high = tango(plain_only, se_only, images)
        assert (ours.low, ours.high) == pytest.approx(
            (100 * low, 100 * high), abs=0.12 * (ours.high - ours.low)
        )

    @pytest.mark.parametrize(
        ("plain_only", "se_only", "images"),
        [(0.02, 0.05, 200), (0.05, 0.05, 100), (0.004, 0.02, 500), (0.03, 0.15, 60), (0.1, 0.12, 1000)],
    )
    def test_covers_the_true_difference_as_often_as_it_says(self, plain_only, se_only, images):
        rng = np.random.default_rng(1)
        covered, trials = 0, 400
        for chance in rng.random((trials, images)):
            plain, se = chance >= se_only, (chance < se_only) | (chance >= se_only + plain_only)
            found = over_images(plain[None], se[None])
            covered += found.low <= 100 * (plain_only - se_only) <= found.high
        assert 0.93 <= covered / trials <= 0.99

    def test_answers_of_several_seeds_are_not_taken_for_more_images(self):
        """The same answers three times prove no more than once, apart from the rounding-off."""
        rng = np.random.default_rng(2)
        plain, se = rng.random((1, 400)) < 0.85, rng.random((1, 400)) < 0.9
        once, thrice = over_images(plain, se), over_images(plain.repeat(3, 0), se.repeat(3, 0))
        assert (thrice.low, thrice.high, thrice.p_value) == pytest.approx((once.low, once.high, once.p_value))
        assert thrice.count == 400

    def test_never_claims_certainty(self):
        right = np.ones((1, 50), dtype=bool)
        found = over_images(right, right)
        assert found.low < 0 < found.high
        assert (found.difference, found.p_value) == (0, 1)
        assert over_images(right, ~right).high == 100


class TestDifference:
    def test_several_seeds_are_compared_seed_by_seed(self):
        found = difference(answers(20, 18, 22), answers(16, 15, 17))
        expected = over_seeds([10, 9, 11], [8, 7.5, 8.5])
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
        assert (found.over, found.count) == ("seeds", 3)
        assert found.difference == pytest.approx(-2.0)

    def test_fewer_mistakes_of_se_are_a_negative_difference(self):
        assert difference(answers(20), answers(10)).difference == pytest.approx(-5)
        assert difference(answers(10), answers(20)).difference == pytest.approx(5)

    def test_one_seed_is_compared_over_images(self):
        found = difference(answers(20), answers(16))
        assert (found.over, found.count) == ("test images", 200)
        assert "McNemar" in found.method

    def test_equal_differences_are_compared_over_images(self):
        # 7 of 300 is no round percentage: equality must not depend on rounding.
        found = difference(answers(21, 24, 30, images=300), answers(14, 17, 23, images=300))
        assert (found.over, found.count) == ("test images", 300)
        assert "every seed differs by the same amount" in found.method

    @pytest.mark.parametrize(
        ("plain", "se"),
        [
            (np.ones((2, 5), bool), np.ones((2, 6), bool)),
            (np.ones(5, bool), np.ones(5, bool)),
            (np.ones((0, 5), bool), np.ones((0, 5), bool)),
            (np.ones((1, 5)), np.ones((1, 5))),
        ],
    )
    def test_refuses_what_are_not_answers(self, plain, se):
        with pytest.raises(SenetError, match="Answers must be"):
            difference(plain, se)


class TestPower:
    @pytest.mark.parametrize("effect", [0.2, 0.5, -0.9, 2.0])
    @pytest.mark.parametrize("seeds", [2, 3, 10, 200])
    def test_agrees_with_statsmodels(self, effect, seeds):
        theirs = TTestPower().power(effect, seeds, alpha=0.05)
        assert power_of_paired_t(effect, seeds) == pytest.approx(theirs, rel=1e-6)

    @pytest.mark.parametrize(("seeds", "confidence"), [(3, 0.96), (4, 0.96), (5, 0.995), (40, 0.95)])
    def test_the_effect_found_agrees_with_statsmodels(self, seeds, confidence):
        theirs = TTestPower().power(effect_with_power(seeds, confidence), seeds, alpha=1 - confidence)
        assert theirs == pytest.approx(0.8, abs=1e-6)

    def test_what_could_have_been_found_was_found_as_often_as_it_says(self):
        """Four of five experiments with that true difference show it, and the spread's bounds cover it."""
        rng, seeds, spread = np.random.default_rng(3), 4, 0.7
        true = effect_with_power(seeds, 0.96) * spread
        found, covered = 0, 0
        for _ in range(300):
            seen = over_seeds(np.zeros(seeds), rng.normal(-true, spread, seeds), 0.96)
            could = detectable(seen)
            found += seen.high < 0
            covered += could.low <= true <= could.high
        assert 225 < found < 255
        assert 276 < covered < 294

    def test_what_could_be_found_does_not_depend_on_what_was(self):
        one, other = (detectable(over_seeds([1.0, 2.0, 4.0], np.add([1.5, 2.0, 3.0], by))) for by in (0, 50))
        assert one.points == pytest.approx(other.points)

    def test_images_do_not_tell_what_seeds_could_find(self):
        assert detectable(interval(-1, 1, over="test images", count=99)) is None


class TestLooks:
    def test_all_looks_together_spend_less_than_five_percent(self):
        spent = [1 - confidence_of_look(look) for look in range(1, 16)]
        assert spent[:3] == pytest.approx([0.04, 0.005, 0.000625])
        assert sum(spent) < 0.046
        assert 0.9999 < confidence_of_look(500) < 1


class TestSampling:
    def test_is_the_deviation_of_the_difference_over_images(self):
        rng = np.random.default_rng(0)
        plain, se = rng.random((3, 2000)) < 0.9, rng.random((3, 2000)) < 0.91
        by_image = (plain.astype(float) - se).mean(axis=0)
        expected = 100 * 1.96 * by_image.std() / np.sqrt(2000)
        assert sampling_error(plain, se) == pytest.approx(expected, rel=0.01)


class TestVerdict:
    def test_better(self):
        found = verdict(interval(-1.37, -0.31), 3)
        assert found.outcome == "better"
        assert found.sentence == (
            "SE is better: top-1 error falls by 0.84 points (95 % interval 0.31 to 1.37, 3 seeds)."
        )

    def test_worse(self):
        found = verdict(interval(0.31, 1.37, count=5), 5)
        assert found.outcome == "worse"
        assert found.sentence == (
            "SE is worse: top-1 error rises by 0.84 points (95 % interval 0.31 to 1.37, 5 seeds)."
        )

    def test_inconclusive_says_what_could_have_been_found(self):
        found = verdict(interval(-1.1, 0.7), 3)
        sd = 0.9 * np.sqrt(3) / stats.t.ppf(0.975, 2)
        could = TTestPower().solve_power(nobs=3, power=0.8, alpha=0.05) * sd
        assert found.outcome == "inconclusive"
        assert found.detectable.points == pytest.approx(could, rel=1e-3)
        assert found.sentence == (
            "No difference shown at this sample size: SE − plain = −0.20 points (95 % interval −1.10 to "
            "+0.70, 3 seeds); a true difference would have to be about 1.2 points to be "
            "detected (80 % power; "
            "0.62 to 7.4, as 3 seeds say little about the spread)."
        )

    @pytest.mark.parametrize("bounds", [(-1.1, 0.7), (-0.5, 0.48), (-0.5, 0.5)])
    def test_no_number_of_seeds_is_advised(self, bounds):
        assert not re.search(r"more seeds?\b|would be needed", verdict(interval(*bounds), 3).sentence)

    @pytest.mark.parametrize(
        "bounds", [(-1.0, 0.7), (-0.7, 1.0), (-0.5, 0.5), (-1.0, 0.0), (0.0, 1.0), (-9, 8.99)]
    )
    @pytest.mark.parametrize(("over", "count", "seeds"), [("seeds", 3, 3), ("test images", 99, 1)])
    def test_inconclusive_is_never_called_no_help(self, bounds, over, count, seeds):
        found = verdict(interval(*bounds, over=over, count=count), seeds)
        assert found.outcome == "inconclusive"
        assert found.sentence.startswith("No difference shown at this sample size: ")
        assert not any(word in found.sentence for word in ("help", "better", "worse", "no effect", "useless"))

    def test_one_seed_asks_for_more(self):
        unclear = verdict(interval(-0.5, 0.7, over="test images", count=10000), 1)
        assert unclear.sentence.endswith(
            "(95 % interval −0.50 to +0.70, over 10,000 test images, 1 seed); "
            "one seed cannot tell an effect from chance, so train at least 3."
        )
        clear = verdict(interval(-2.5, -0.7, over="test images", count=10000), 1)
        assert clear.outcome == "better"
        assert clear.sentence.startswith(
            "SE is better in this one training: top-1 error falls by 1.60 points"
        )
        assert clear.sentence.endswith("Another seed may differ: train at least 3.")

    def test_equal_differences_ask_for_images(self):
        found = verdict(interval(-0.5, 0.7, over="test images", count=500), 3)
        assert "only more test images" in found.sentence
        assert found.detectable is None

    def test_a_bound_close_to_zero_is_not_shown_as_zero(self):
        assert "interval 0.004 to 1.370" in verdict(interval(-1.37, -0.0041), 3).sentence

    def test_refuses_another_number_of_seeds(self):
        with pytest.raises(SenetError, match=r"covers 3 seeds, which does not fit 4 seeds\."):
            verdict(interval(-1, 1), 4)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.7, "+0.70"), (-0.2, "−0.20"), (0.0, "0.00"), (-0.001, "0.00"), (-1234.5, "−1,234.50")],
)
def test_signed(value, text):
    assert signed(value) == text


def tango(plain_only, se_only, images):
    """Return the bounds at which the score test for a paired difference is just significant."""

    def excess(delta):
        # The likelihood's largest value under P(plain only) − P(se only) = delta has a closed form.
        b = -plain_only - se_only + (2 * images - plain_only + se_only) * delta
        se_share = (np.sqrt(b**2 + 8 * images * se_only * delta * (1 - delta)) - b) / (4 * images)
        score = plain_only - se_only - images * delta
        return score / np.sqrt(images * (2 * se_share + delta * (1 - delta)))

    seen, z = (plain_only - se_only) / images, stats.norm.ppf(0.975)
    low = optimize.brentq(lambda delta: excess(delta) - z, -0.999, seen)
    high = optimize.brentq(lambda delta: excess(delta) + z, seen, 0.999)
    return low, high
