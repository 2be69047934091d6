import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from senet.errors import SenetError
from senet.experiments.statistics import (
    difference,
    over_images,
    over_seeds,
    power_of_paired_t,
    seeds_for_power,
    verdict,
)
from senet.insight.results import Interval, signed

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
            ([8.0, float("nan")], [7.0, 7.0], "not a finite number"),
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
        covered, trials = 0, 1000
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

    @pytest.mark.parametrize("effect", [0.1, 0.35, -0.8, 1.7, 3.0])
    def test_seeds_needed_agree_with_statsmodels(self, effect):
        needed = seeds_for_power(effect)
        assert TTestPower().power(effect, needed, alpha=0.05) >= 0.8
        if needed > 2:
            assert TTestPower().power(effect, needed - 1, alpha=0.05) < 0.8

    def test_knows_when_to_stop(self):
        assert seeds_for_power(0.05) is None
        assert seeds_for_power(0.0) is None


class TestVerdict:
    def test_better(self):
        found = verdict(interval(-1.37, -0.31), 3)
        assert (found.outcome, found.more_seeds) == ("better", None)
        assert found.sentence == (
            "SE is better: top-1 error falls by 0.84 points (95 % interval 0.31 to 1.37, 3 seeds)."
        )

    def test_worse(self):
        found = verdict(interval(0.31, 1.37, count=5), 5)
        assert found.outcome == "worse"
        assert found.sentence == (
            "SE is worse: top-1 error rises by 0.84 points (95 % interval 0.31 to 1.37, 5 seeds)."
        )

    def test_inconclusive_says_how_many_more_seeds(self):
        found = verdict(interval(-1.1, 0.7), 3)
        sd = 0.9 * np.sqrt(3) / stats.t.ppf(0.975, 2)
        needed = int(np.ceil(TTestPower().solve_power(0.2 / sd, power=0.8, alpha=0.05)))
        assert (found.outcome, found.more_seeds) == ("inconclusive", needed - 3)
        assert found.sentence == (
            "No difference shown at this sample size: SE − plain = −0.20 points (95 % interval −1.10 to "
            f"+0.70, 3 seeds); about {needed - 3} more seeds would be needed to show a difference of the "
            "size seen (80 % power)."
        )

    @pytest.mark.parametrize(
        "bounds", [(-1.0, 0.7), (-0.7, 1.0), (-0.5, 0.5), (-1.0, 0.0), (0.0, 1.0), (-9, 8.99)]
    )
    @pytest.mark.parametrize(("over", "count", "seeds"), [("seeds", 3, 3), ("test images", 99, 1)])
    def test_inconclusive_is_never_called_no_help(self, bounds, over, count, seeds):
        found = verdict(interval(*bounds, over=over, count=count), seeds)
        assert found.outcome == "inconclusive"
        assert found.sentence.startswith("No difference shown at this sample size: ")
        assert not any(word in found.sentence for word in ("help", "better", "worse", "no effect", "useless"))

    def test_more_than_a_thousand_seeds(self):
        found = verdict(interval(-0.5, 0.48), 3)
        assert found.more_seeds is None
        assert "; more than 1,000 more seeds would be needed" in found.sentence

    def test_zero_difference(self):
        found = verdict(interval(-0.5, 0.5), 3)
        assert found.more_seeds is None
        assert "the mean difference is zero" in found.sentence

    def test_one_seed_asks_for_more(self):
        unclear = verdict(interval(-0.5, 0.7, over="test images", count=10000), 1)
        assert unclear.sentence.endswith(
            "(95 % interval −0.50 to +0.70, over 10,000 test images, 1 seed); "
            "one seed cannot tell a gain from luck, so train at least 3."
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
        assert found.more_seeds is None

    def test_a_bound_close_to_zero_is_not_shown_as_zero(self):
        assert "interval 0.004 to 1.370" in verdict(interval(-1.37, -0.0041), 3).sentence

    def test_refuses_another_number_of_seeds(self):
        with pytest.raises(SenetError, match="cannot be 4 seeds"):
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
