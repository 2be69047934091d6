"""What is said of trainings before their difference is, for networks of every kind of failure and of none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from senet.experiments.curves import unfinished
from senet.experiments.learning import Answers, examine, not_learned
from senet.insight.results import ConstantAnswer, EpochMetrics, Finding, constant_answer
from senet.report.results_json import read_results

EXAMPLE = Path(__file__).parents[2] / "docs" / "example" / "results.json"
CLASSES = tuple("abcdefghij")


def curve(
    *losses: float, error: float = 10.0, rate: float = 0.1, end_rate: float = 0.0
) -> tuple[EpochMetrics, ...]:
    """Return a curve with these training losses; test losses are alike, errors fall with them."""
    rates = np.linspace(0.1, end_rate, len(losses))
    return tuple(
        EpochMetrics(
            epoch=i + 1,
            learning_rate=float(rates[i]),
            train_loss=loss,
            test_loss=loss,
            top1_error=error * loss / losses[-1] if losses[-1] else error,
            top5_error=None,
            train_seconds=1.0,
        )
        for i, loss in enumerate(losses)
    )


def labels_of(*counts: int) -> list[int]:
    return [label for label, count in enumerate(counts) for _ in range(count)]


def guesses(labels: list[int], error: float, seed: int, classes: int = 10) -> tuple[int, ...]:
    """Return answers of which about the share ``error`` is wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(labels)) < error
    other = (np.array(labels) + rng.integers(1, classes, len(labels))) % classes
    return tuple(np.where(wrong, other, labels).tolist())


def coin(labels: list[int], seed: int, classes: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(0, classes, len(labels)).tolist())


HEALTHY = curve(1.4, 0.8, 0.6, 0.55, 0.52, 0.5)


def examined(
    labels: list[int],
    *predictions: tuple[int, ...],
    curves: dict[int, tuple[EpochMetrics, ...]] | None = None,
    counts: tuple[int, ...] | None = None,
    classes: tuple[str, ...] = CLASSES,
) -> tuple[tuple[Finding, ...], str]:
    """Return what is found in trainings, alternately plain and SE, and the verdict or ``""``."""
    trainings = [
        Answers(
            name=f"{('plain', 'SE')[i % 2]} seed {i // 2}",
            network=("plain", "SE")[i % 2],
            predictions=each,
            history=(curves or {}).get(i, HEALTHY),
        )
        for i, each in enumerate(predictions)
    ]
    constant = constant_answer(labels, counts or [labels.count(i) for i in range(len(classes))])
    found = examine(trainings, labels, classes, constant)
    verdict = not_learned(found, trainings)
    assert (verdict is None) == (not any(each.grave for each in found))
    assert [each.grave for each in found] == sorted((each.grave for each in found), reverse=True)
    return found, verdict.sentence if verdict else ""


TEN = labels_of(*(10 * (40,)))
TWO = labels_of(38, 45)
GOOD = [guesses(TEN, 0.2, seed) for seed in range(6)]


@pytest.mark.parametrize(
    ("labels", "error", "classes"),
    [
        (TEN, 0.15, 10),
        (TEN, 0.6, 10),
        (TWO, 0.2, 2),
        (labels_of(20, 20), 0.25, 2),
        (labels_of(5, 5), 0.0, 2),
        (labels_of(950, 50), 0.02, 2),
        (labels_of(*(100 * (10,))), 0.7, 100),
    ],
)
def test_networks_that_learned_are_let_be(labels: list[int], error: float, classes: int) -> None:
    names = tuple(f"c{i}" for i in range(classes))
    answers = [guesses(labels, error, seed, classes) for seed in range(6)]
    found, verdict = examined(labels, *answers, classes=names)
    assert not verdict and not [each for each in found if "classes are told apart" not in each.sentence], (
        found
    )


def test_the_example_of_the_documentation_is_let_be() -> None:
    results = read_results(EXAMPLE)
    trainings = [
        Answers(name=str(i), network=run.variant, predictions=run.predictions, history=run.history)
        for i, run in enumerate(results.runs)
    ]
    data = results.data
    assert examine(trainings, data.test_labels, data.classes, data.constant_answer()) == ()


@pytest.mark.parametrize(
    ("labels", "classes", "sentence"),
    [
        (TWO, 2, "always predicting “b” (45.78 %)"),
        (TEN, 10, "always predicting “a” (90.00 %)"),
        (labels_of(900, 50, 50), 3, "always predicting “a” (10.00 %)"),
    ],
)
def test_answers_that_do_not_depend_on_the_images(labels: list[int], classes: int, sentence: str) -> None:
    answers = [coin(labels, seed, classes) for seed in range(6)]
    found, verdict = examined(labels, *answers, classes=CLASSES[:classes])
    assert found[0].grave and sentence in found[0].sentence and found[0].advice
    assert verdict.startswith("These networks have not learned: top-1 error (plain ")
    assert not any(word in verdict for word in ("better", "more seeds", "power"))


def test_false_alarms_and_misses_of_coins_are_as_rare_as_the_tests_say() -> None:
    names, missed = ("a", "b"), 0
    for seed in range(200):
        found, _ = examined(TWO, coin(TWO, seed, 2), coin(TWO, 1000 + seed, 2), classes=names)
        missed += not (found and found[0].grave)
    assert missed < 10


def test_the_majority_of_an_unequal_set_is_no_learning() -> None:
    """19 of 20 images are of one class: an error of 5 % is that of a network which learned nothing."""
    labels = labels_of(950, 50)
    rng = np.random.default_rng(0)
    nearly = tuple(np.where(rng.random(1000) < 0.99, 0, 1).tolist())
    found, verdict = examined(labels, nearly, (0,) * 1000, classes=("a", "b"))
    assert "have not learned" in verdict
    assert (
        "of the test images are predicted as “a”" in found[0].sentence
        and "--class-weights auto" in found[0].advice
    )


def test_classes_told_apart_at_the_price_of_top1_error_are_learned() -> None:
    """With balanced sampling rare classes are found, and frequent ones taken for them now and then."""
    labels = labels_of(950, 50)
    rng = np.random.default_rng(0)
    answers = tuple(np.where(rng.random(1000) < np.repeat([0.06, 0.8], [950, 50]), 1, 0).tolist())
    found, verdict = examined(labels, answers, answers, classes=("a", "b"))
    assert not verdict and "although the network does distinguish classes" in found[0].sentence


def test_another_share_of_classes_in_the_test_images_is_no_learning() -> None:
    """The training's most frequent class is rare in the test, so a coin beats it."""
    labels = labels_of(30, 70)
    answers = [coin(labels, seed, 2) for seed in range(4)]
    _, verdict = examined(labels, *answers, counts=(60, 40), classes=("a", "b"))
    assert "have not learned" in verdict


@pytest.mark.parametrize("loss", [math.nan, math.inf, 7e32, 15342.0, 6.0])
def test_losses_that_diverged(loss: float) -> None:
    curves = {3: curve(1.4, 50.0, loss)}
    found, verdict = examined(TEN, *GOOD[:3], coin(TEN, 0, 10), *GOOD[4:], curves=curves)
    assert found[0].sentence.startswith("Training diverged (training loss")
    assert found[0].sentence.endswith("where guessing gives 2.30): SE seed 1.")
    assert "--learning-rate 0.01" in found[0].advice and found[0].trainings == ("SE seed 1",)
    assert verdict.startswith("1 of 6 trainings failed: training diverged")


def test_a_test_loss_far_above_guessing() -> None:
    last = replace(HEALTHY[-1], test_loss=15342.0)
    found, _ = examined(TEN, *GOOD[:2], curves={0: (*HEALTHY[:-1], last)})
    assert "test loss 15,342 at the end" in found[0].sentence


def test_a_network_that_gives_one_answer() -> None:
    found, verdict = examined(TEN, GOOD[0], (3,) * 400, GOOD[2], (3,) * 400)
    assert found[0].sentence == "All test images are predicted as “d”: SE seed 0 and SE seed 1."
    assert verdict.startswith("The SE network has not learned: all test images are predicted as “d”")


def test_the_verdict_on_one_network_names_no_training_of_the_other() -> None:
    labels = labels_of(20, 20)
    poor, good, one_answer = ((0, 1) * 20, guesses(labels, 0.0, 1), (0,) * 40)
    found, verdict = examined(labels, poor, good, one_answer, one_answer)
    assert "plain seed 1 and SE seed 1" in found[0].sentence
    assert verdict.startswith("The plain network has not learned: top-1 error (plain 50.00 %) is not clearly")


def test_one_seed_that_failed_among_others() -> None:
    found, verdict = examined(TEN, *GOOD[:2], guesses(TEN, 0.85, 9), *GOOD[3:])
    assert "Training failed with some seeds but not with others: plain seed 1 (8" in found[0].sentence
    assert verdict.startswith("1 of 6 trainings failed")


def test_seeds_that_differ_as_seeds_do_have_not_failed() -> None:
    errors = (0.2, 0.26, 0.17, 0.3, 0.22, 0.24)
    assert examined(TEN, *(guesses(TEN, error, i) for i, error in enumerate(errors))) == ((), "")


def test_little_was_learned() -> None:
    labels = labels_of(*(10 * (1000,)))
    found, verdict = examined(labels, guesses(labels, 0.85, 0), guesses(labels, 0.85, 1))
    assert not verdict and "only a little below that of always predicting" in found[0].sentence


def test_most_classes_are_never_answered() -> None:
    labels = labels_of(*(10 * (100,)))
    few = tuple(label if label < 3 else 0 for label in labels)
    found, verdict = examined(labels, few, few)
    assert not verdict and "Most of the 10 classes are never predicted" in found[-1].sentence


def test_test_images_of_one_class() -> None:
    _, verdict = examined([1] * 20, (1,) * 20, (1,) * 20)
    assert verdict.startswith("These networks have not learned: all test images are of one class, “b”")


def test_too_few_test_images_say_so() -> None:
    found, _ = examined([0, 0, 0, 1, 1, 1], (0, 1, 0, 1, 0, 1), (1, 0, 0, 1, 1, 0), classes=("a", "b"))
    assert "no network could be shown to be better" in found[0].advice


def test_memorised_images_are_told_from_unlearned_ones() -> None:
    memorised = curve(0.7, 0.3, 0.02, error=50)
    found, _ = examined(
        TWO, coin(TWO, 1, 2), coin(TWO, 2, 2), curves={0: memorised, 1: memorised}, classes=("a", "b")
    )
    assert "memorised" in found[0].advice and "--weights" in found[0].advice


def test_a_single_training_is_no_comparison() -> None:
    one = Answers(name="", network="", predictions=(1,) * 83, history=HEALTHY)
    found = examine([one], TWO, ("a", "b"), ConstantAnswer(label=1, error=45.78))
    assert found[0].sentence == "All test images are predicted as “b”."
    verdict = not_learned(found, [one])
    assert verdict is not None and verdict.sentence.startswith(
        "This network has not learned: all test images are predicted as “b”"
    )


@pytest.mark.parametrize(
    ("found", "losses", "end_rate"),
    [
        (True, (2.2, 1.9, 1.6), 0.1),
        (True, (2.2, 1.9, 1.6), 0.0),
        (True, (2.2, 1.6), 0.0),
        (True, (1.4, 0.9, 0.5), 0.0),
        (False, (1.5, 1.05, 0.8), 0.0),
        (False, (1.45, 1.0, 0.75), 0.0),
        (False, (1.4, 0.84, 0.69, 0.59, 0.54, 0.5), 0.0),
        (False, (1.4, 0.84, 0.69, 0.66, 0.65, 0.64), 0.1),
        (False, (2.0, 1.7, 1.6, 1.58, 1.57, 1.56), 0.0),
        (False, (0.5, 0.5, 0.5), 0.1),
        (False, (0.5, 0.0, 0.0), 0.1),
    ],
)
def test_learning_that_was_not_finished(found: bool, losses: tuple[float, ...], end_rate: float) -> None:
    said = unfinished([curve(*losses, end_rate=end_rate)], 10)
    assert said.startswith("Learning was not finished: the training loss was still falling by") == found
    assert not unfinished([], 10)


def test_memorising_is_no_unfinished_learning() -> None:
    flat = tuple(replace(each, top1_error=30.0) for each in curve(1.0, 0.5, 0.2, end_rate=0.1))
    assert not unfinished([flat], 10)


def test_one_epoch_shows_no_curve() -> None:
    found, verdict = examined(TEN, *GOOD[:2], curves={0: curve(1.0), 1: curve(1.0)})
    assert not verdict and found[0].sentence.startswith("One epoch is too few")


def test_losses_that_rose() -> None:
    rising = curve(1.0, 0.5, 0.9)
    found, verdict = examined(TEN, *GOOD[:2], curves={1: rising})
    assert not verdict and "The training loss rose from 0.50 in epoch 2 to 0.90." in found[0].sentence
