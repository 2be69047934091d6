import numpy as np
import pytest

from senet.report.by_class import changed_answers, class_errors, confusion_counts, most_changed, most_confused
from tests.report import factory


@pytest.fixture(scope="module")
def comparison():
    return factory.build(images=300, epochs=2)


def test_confusions_count_true_by_guessed(comparison):
    counts = confusion_counts(comparison, "se")
    labels = comparison.data.test_labels
    for true, guessed in ((2, 4), (4, 2), (3, 3)):
        expected = sum(
            (t, g) == (true, guessed)
            for run in comparison.runs_of("se")
            for t, g in zip(labels, run.predictions, strict=True)
        )
        assert counts[true, guessed] == expected
    assert counts.sum() == 900


def test_class_errors_average_to_the_error_of_all(comparison):
    errors = class_errors(comparison)
    weights = [e.test_images for e in errors]
    assert sum(weights) == 300
    for variant in ("plain", "se"):
        overall = np.mean([run.history[-1].top1_error for run in comparison.runs_of(variant)])
        assert np.average([getattr(e, variant) for e in errors], weights=weights) == pytest.approx(overall)
    assert np.average([e.difference for e in errors], weights=weights) == pytest.approx(
        comparison.top1.difference
    )


def test_classes_without_test_images_have_no_error():
    comparison = factory.build(images=8, epochs=2)
    assert [e.name for e in class_errors(comparison)] == list(factory.CLOTHES[:8])


def test_most_changed_keeps_the_largest_changes_helped_first():
    errors = class_errors(factory.many_classes())
    chosen = most_changed(errors, 20)
    left_out = [abs(e.difference) for e in errors if e not in chosen]
    assert len(chosen) == 20
    assert min(abs(e.difference) for e in chosen) >= max(left_out)
    assert chosen == sorted(chosen, key=lambda e: e.difference)


def test_most_confused_never_lists_right_answers(comparison):
    pairs = most_confused(comparison, 5)
    assert len(pairs) == 5
    assert all(p.true != p.guessed for p in pairs)
    counts = confusion_counts(comparison, "plain")
    names = comparison.data.classes
    assert pairs[0].plain == counts[names.index(pairs[0].true), names.index(pairs[0].guessed)]
    worst = [max(p.plain, p.se) for p in pairs]
    assert worst == sorted(worst, reverse=True)


def test_fixed_minus_broken_is_the_difference(comparison):
    fixed, broken = changed_answers(comparison)
    assert (broken - fixed) / 9 == pytest.approx(comparison.top1.difference)
    assert fixed > broken
