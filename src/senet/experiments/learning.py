"""Whether networks have learned anything, which is asked before their difference is.

`examine` looks at the answers and the learning curves of all trainings and returns what a reader has to
know first. It knows nothing of SE: one network, or several trainings of two, are examined alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from senet.experiments.chance import LEVEL, Predictions, TestImages, agreement, mcnemar
from senet.experiments.curves import diverged, guessing, unfinished, unsteady
from senet.insight.results import ConstantAnswer, EpochMetrics, Finding, Verdict

# An error above this share of the constant answer's is next to nothing learned.
LITTLE = 0.9
# A network that gives one answer to more images than this, and has not learned, is stuck.
ONE_ANSWER = 0.95
# Below this share of the usual agreement with the labels (kappa) a seed has failed.
FAILED = 0.5

MORE_TRAINING = (
    "Train longer (--epochs) or with a lower --learning-rate; with few images, start from pretrained "
    "weights (--weights)."
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one training came to.

    Attributes:
        name: of the training, such as ``"plain seed 0"``.
        network: whose training it is, such as ``"plain"``: others of it differ in their seed only.
        predictions: first guess for every test image.
        history: the learning curve; empty where there is none, as for weights from elsewhere.
    """

    name: str
    network: str
    predictions: Sequence[int]
    history: Sequence[EpochMetrics] = ()


@dataclass
class _Network:
    """All trainings of one network; those that failed by themselves are not counted as its own."""

    name: str
    trainings: list[Answers]
    failed: set[str] = field(default_factory=set)

    @property
    def good(self) -> list[Answers]:
        return [each for each in self.trainings if each.name not in self.failed]

    @property
    def predictions(self) -> Predictions:
        return np.array([each.predictions for each in self.good], dtype=np.int64)

    def error(self, test: TestImages) -> float:
        return 100 * (1 - float((self.predictions == test.labels).mean()))


def examine(
    trainings: Sequence[Answers], labels: Sequence[int], classes: Sequence[str], constant: ConstantAnswer
) -> tuple[Finding, ...]:
    """Return what has to be said before the results of ``trainings`` are, grave findings first.

    Grave is what makes their errors worthless: errors that are not clearly below those of a constant
    answer, losses that diverged, one answer to everything, a seed that failed among others that did not.
    Learning that was not finished, or came to little, is a warning.

    Args:
        trainings: all of them.
        labels: right class index of each test image.
        classes: names of the classes.
        constant: what always predicting one class comes to.
    """
    test = TestImages(np.asarray(labels, dtype=np.int64), classes, constant)
    if len(set(labels)) == 1:
        sentence = f"All test images are of one class, {test.name(labels[0])}."
        return (Finding(grave=True, sentence=sentence, advice="Test on images of at least two classes."),)
    names = dict.fromkeys(each.network for each in trainings)
    networks = [_Network(name, [each for each in trainings if each.network == name]) for name in names]
    alone = len(trainings) == 1
    found = [
        *_diverged(networks, len(classes), alone),
        *_one_answer(networks, test, alone),
        *_failed_seeds(networks, test),
        *_no_better(networks, test),
        *_unfinished(networks, len(classes)),
        *_few_answers(networks, test),
    ]
    return tuple(sorted(found, key=lambda each: not each.grave))


def not_learned(findings: Sequence[Finding], trainings: Sequence[Answers]) -> Verdict | None:
    """Return the verdict on trainings that cannot be compared, or ``None`` where they can."""
    grave = [each for each in findings if each.grave]
    if not grave:
        return None
    every = {each.name for each in trainings}
    failed = {name for each in grave for name in each.trainings or every}
    networks = dict.fromkeys(each.network for each in trainings)
    lost = [
        name for name in networks if all(each.name in failed for each in trainings if each.network == name)
    ]
    # A sentence that names trainings of both networks does not tell why one of them has not learned.
    own = {each.name for each in trainings if each.network in lost}
    telling = [each for each in grave if own.issuperset(each.trainings or every)]
    told = grave[0]
    if len(trainings) == 1:
        claim = "This network has not learned"
    elif failed == every:
        claim = "These networks have not learned"
    elif telling:
        told = telling[0]
        claim = f"The {lost[0]} network has not learned"
    else:
        claim = f"{len(failed)} of {len(trainings)} trainings failed"
    reason = told.sentence[0].lower() + told.sentence[1:].rstrip(".")
    rest = "; this says nothing about SE" if len(trainings) > 1 else ""
    return Verdict(outcome="not learned", sentence=f"{claim}: {reason}{rest}.")


def _diverged(networks: Sequence[_Network], classes: int, alone: bool) -> Iterable[Finding]:
    reasons = {}
    for network in networks:
        for each in network.trainings:
            reason = diverged(each.history, classes)
            if reason:
                reasons[each.name] = reason
                network.failed.add(each.name)
    if reasons:
        rates = [
            epoch.learning_rate
            for network in networks
            for each in network.trainings
            for epoch in each.history
        ]
        yield Finding(
            grave=True,
            sentence=f"Training diverged ({next(iter(reasons.values()))}){_of(reasons, alone)}.",
            advice=f"Use a tenth of the learning rate (--learning-rate {max(rates) / 10:.2g}).",
            trainings=tuple(reasons),
        )


def _one_answer(networks: Sequence[_Network], test: TestImages, alone: bool) -> Iterable[Finding]:
    stuck: dict[str, str] = {}
    for network in networks:
        for each in network.trainings:
            (label, count), *_ = Counter(each.predictions).most_common(1)
            share = count / len(test.labels)
            if share == 1 or (share > ONE_ANSWER and not test.learned(np.array([each.predictions]))):
                images = (
                    "All test images are predicted as"
                    if share == 1
                    else (f"{100 * share:.0f} % of the test images are predicted as")
                )
                stuck[each.name] = f"{images} {test.name(label)}"
                network.failed.add(each.name)
    if stuck:
        yield Finding(
            grave=True,
            sentence=f"{next(iter(stuck.values()))}{_of(stuck, alone)}.",
            advice=_advice([], test),
            trainings=tuple(stuck),
        )


def _failed_seeds(networks: Sequence[_Network], test: TestImages) -> Iterable[Finding]:
    """Find seeds that failed where others of the same network did not."""
    failed = {}
    for network in networks:
        good = network.good
        agreements = [agreement(np.asarray(each.predictions), test.labels)[0] for each in good]
        if len(good) < 2 or not test.learned(network.predictions):
            continue
        right = [np.asarray(each.predictions) == test.labels for each in good]
        best = int(np.argmax(agreements))
        usual = max(agreements) if len(good) == 2 else float(np.median(agreements))
        for each, value, answers in zip(good, agreements, right, strict=True):
            if value < FAILED * usual and mcnemar(answers, right[best]) < LEVEL / 5:
                errors = [100 * (1 - float(which.mean())) for which in (answers, right[best])]
                failed[each.name] = f"{errors[0]:.1f} % error instead of {errors[1]:.1f} %"
                network.failed.add(each.name)
    if failed:
        shown = ", ".join(f"{name} ({errors})" for name, errors in failed.items())
        yield Finding(
            grave=True,
            sentence=f"Training failed with some seeds but not with others: {shown}.",
            advice="Lower --learning-rate or raise --warmup-epochs until every seed learns.",
            trainings=tuple(failed),
        )


def _no_better(networks: Sequence[_Network], test: TestImages) -> Iterable[Finding]:
    """Find networks that are not clearly better than the constant answer."""
    running = [each for each in networks if each.good]
    lost = [each for each in running if not test.learned(each.predictions)]
    level = [each for each in running if each not in lost and not test.better_than_constant(each.predictions)]
    little = [
        each
        for each in running
        if each not in lost + level and each.error(test) > LITTLE * test.constant.error
    ]
    answer = f"always predicting {test.name(test.constant.label)} ({test.constant.error:.2f} %)"
    if lost:
        yield Finding(
            grave=True,
            sentence=f"Top-1 error ({_errors(lost, test)}) is not clearly below that of {answer}.",
            advice=_advice(lost, test),
            trainings=tuple(each.name for network in lost for each in network.trainings),
        )
    if level:
        yield Finding(
            grave=False,
            sentence=f"Top-1 error ({_errors(level, test)}) is not clearly below that of {answer}, although "
            "the network does distinguish classes.",
            advice="Look at the errors by class, or use more test images.",
        )
    if little:
        yield Finding(
            grave=False,
            sentence=f"Top-1 error ({_errors(little, test)}) is only a little below that of {answer}.",
            advice=MORE_TRAINING,
        )


def _unfinished(networks: Sequence[_Network], classes: int) -> Iterable[Finding]:
    curves = [each.history for network in networks for each in network.good if each.history]
    reason = unfinished(curves, classes)
    if reason:
        later = "; the difference may change." if len(networks) > 1 else "."
        yield Finding(grave=False, sentence=reason, advice=f"Train longer (--epochs){later}")
    reason = unsteady(curves, classes)
    if reason:
        yield Finding(grave=False, sentence=reason, advice="Lower --learning-rate.")


def _few_answers(networks: Sequence[_Network], test: TestImages) -> Iterable[Finding]:
    """Find networks that never give most of the answers."""
    true = len(np.unique(test.labels))
    counts = {
        each.name: max(len(np.unique(answers)) for answers in each.predictions)
        for each in networks
        if each.good
    }
    few = {name: count for name, count in counts.items() if count < true / 2}
    if true > 3 and few:
        shown = ", ".join(f"{name} {count:,}".strip() for name, count in few.items())
        sentence = f"Most of the {true:,} classes are never predicted (classes predicted: {shown})."
        yield Finding(grave=False, sentence=sentence, advice=MORE_TRAINING)


def _advice(networks: Sequence[_Network], test: TestImages) -> str:
    """Return what may help networks that are no better than the constant answer."""
    if 0.5 ** int((~test.constant_right).sum()) >= LEVEL:
        return "Use more test images: with so few, no network could be shown to be better."
    most = float(test.constant_right.mean())
    if most > max(0.7, 1.5 / len(test.classes)):
        return (
            f"{100 * most:.0f} % of the test images are of one class: try --class-weights auto or "
            "--sampling balanced, and look at the errors by class."
        )
    losses = [each.history[-1].train_loss for network in networks for each in network.good if each.history]
    if losses and max(losses) < 0.5 * guessing(len(test.classes)):
        return (
            "The training loss shows that the training images were memorised: use more images, or start "
            "from pretrained weights (--weights)."
        )
    return MORE_TRAINING


def _errors(networks: Sequence[_Network], test: TestImages) -> str:
    return ", ".join(f"{each.name} {each.error(test):.2f} %".strip() for each in networks)


def _of(names: Mapping[str, str], alone: bool) -> str:
    """Return the names behind a colon, three at most, and nothing where there is one training only."""
    if alone:
        return ""
    shown = list(names)[:3] + ([f"{len(names) - 3} more"] if len(names) > 3 else [])
    return ": " + " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
