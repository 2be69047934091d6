"""What a comparison found, as plain data: the one results format.

Everything the terminal table and the page show is in a `Comparison`. It holds numbers and text
only (no tensors, no models), so that `senet.report` can read a ``results.json`` without torch.
Errors are in percent, times in the unit their name says, and a difference is always SE minus plain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from senet.insight.results_rows import short_table, training_rows
from senet.shown import Rows, Shown, Table

SCHEMA_VERSION = 1

Variant = Literal["plain", "se"]
Outcome = Literal["better", "worse", "inconclusive", "not learned"]


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One epoch of one training.

    Attributes:
        epoch: counted from 1.
        learning_rate: of the epoch's last step.
        train_loss: mean cross-entropy over the epoch's batches, as trained (label smoothing included).
        test_loss: mean cross-entropy over the test images, without label smoothing.
        top1_error: percent of test images whose first guess is wrong.
        top5_error: the same of five guesses; ``None`` with five classes or fewer.
        train_seconds: time spent training the epoch, waiting for data included.
        data_wait: share of that time spent waiting for data, 0 to 1; 0 in results that do not have it.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    test_loss: float
    top1_error: float
    top5_error: float | None
    train_seconds: float
    data_wait: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One finished training.

    Attributes:
        seed: of initial weights, order and augmentation.
        variant: which of the two networks.
        history: the learning curve.
        predictions: the last epoch's first guess for every test image.
        folder: with its checkpoints, relative to the comparison's folder.
        in_top5: whether each test image's class was among five guesses; ``None`` with five classes or fewer.
    """

    seed: int
    variant: Variant
    history: tuple[EpochMetrics, ...] = field(repr=False)
    predictions: tuple[int, ...] = field(repr=False)
    folder: str
    in_top5: tuple[bool, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Repeated measurements: the median, the 20th and the 80th percentile, and how many.

    Attributes:
        low: lower end of the 95 % interval of the median; ``None`` where none was computed.
        high: its upper end.
    """

    median: float
    p20: float
    p80: float
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """What one network costs.

    Attributes:
        parameters: trainable parameters.
        multiply_adds: of convolutions and fully connected layers, for one image.
        training_images_per_second: forward, backward and optimiser step, data loading excluded.
        inference_ms_per_image: forward in evaluation mode, milliseconds.
        peak_memory_bytes: most tensor memory alive during one training step.
    """

    parameters: int
    multiply_adds: int
    training_images_per_second: Spread
    inference_ms_per_image: Spread
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class MeasuredCost:
    """Both networks measured side by side: in one process, in turns.

    The median speeds of both networks are those of the median pair, so that they give the ratio.

    Attributes:
        training_time_ratio: SE over plain time of a training step, pair by pair, with its interval.
        inference_time_ratio: SE over plain time of inference, likewise.
        batch_size: images per training step and per inference call.
        device: for example ``"cpu, 2 threads"``.
    """

    plain: NetworkCost
    se: NetworkCost
    training_time_ratio: Spread
    inference_time_ratio: Spread
    batch_size: int
    device: str


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference (SE minus plain, percentage points) with its confidence interval.

    Attributes:
        confidence: for example 0.95.
        method: how it was computed, in words a reader can look up.
        over: what the interval generalises over.
        count: how many of those there were.
        p_value: of the test that belongs to the method, against no difference.
    """

    difference: float
    low: float
    high: float
    confidence: float
    method: str
    over: Literal["seeds", "test images"]
    count: int
    p_value: float

    @property
    def decimals(self) -> int:
        """Decimals to show: two, or as many as it takes to see on which side of zero a bound lies."""
        if self.low <= 0 <= self.high:
            return 2
        nearest_bound = min(abs(self.low), abs(self.high))
        return next((n for n in range(2, 6) if round(nearest_bound, n) > 0), 6)


@dataclass(frozen=True, kw_only=True)
class Detectable:
    """The smallest true difference that so many seeds would have shown, in percentage points.

    Attributes:
        points: by the spread of the differences seen; ``low`` and ``high`` by the ends of its 95 % interval.
        power: how often such a difference would be shown: 0.8.
    """

    points: float
    low: float
    high: float
    power: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the comparison shows, in one sentence.

    Attributes:
        outcome: of SE against plain, by top-1 error.
        sentence: for a reader who sees nothing else.
        detectable: what could have been shown; ``None`` where the seeds do not tell.
    """

    outcome: Outcome
    sentence: str
    detectable: Detectable | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about the trainings that a reader must know before their numbers.

    Attributes:
        grave: whether the numbers say nothing about the networks because of it.
        sentence: what was found.
        advice: what to change, as a sentence.
        trainings: names of those concerned; empty where it concerns all.
    """

    grave: bool
    sentence: str
    advice: str
    trainings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConstantAnswer:
    """What always predicting one class comes to: its index, and the error in percent."""

    label: int
    error: float


def constant_answer(test_labels: Sequence[int], train_counts: Sequence[int]) -> ConstantAnswer:
    """Return the answer of somebody who knows nothing but how many training images each class has.

    Of classes with equally many, it is the one with the most test images.
    """
    tests = Counter(test_labels)
    label = max(range(len(train_counts)), key=lambda each: (train_counts[each], tests[each]))
    return ConstantAnswer(label=label, error=100 * (1 - tests[label] / len(test_labels)))


@dataclass(frozen=True, kw_only=True)
class ChangedImage:
    """A test image that SE fixed (plain wrong, SE right) or broke (the reverse).

    Attributes:
        name: where the image is, for example a file's path.
        label: index of its class.
        plain_prediction: class index the plain network gave, most common over the seeds counted.
        se_prediction: the same of its SE twin.
        seeds_changed: in how many seeds the pair disagreed in this direction.
        thumbnail: ``data:image/png;base64,…``
    """

    name: str
    label: int
    plain_prediction: int
    se_prediction: int
    seeds_changed: int
    thumbnail: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """Which images were used.

    Attributes:
        name: short name for titles.
        location: what the user gave.
        split: how training and test images were told apart, as a sentence.
        unreadable: ``(name, reason)`` of every image that was skipped.
        train_counts: training images of each class, in class order.
        image_size: side in pixels of what the network sees.
        channels: 1 for greyscale, 3 for RGB.
        warnings: sentences about the images that a verdict must carry, such as test images that are also
            training images.
    """

    name: str
    location: str
    split: str
    classes: tuple[str, ...] = field(repr=False)
    train_counts: tuple[int, ...] = field(repr=False)
    test_labels: tuple[int, ...] = field(repr=False)
    image_size: int
    channels: int
    unreadable: tuple[tuple[str, str], ...] = field(repr=False)
    warnings: tuple[str, ...] = ()

    def constant_answer(self) -> ConstantAnswer:
        """Return what always predicting the most frequent training class comes to."""
        return constant_answer(self.test_labels, self.train_counts)


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Shown):
    """A plain network against its SE twin: the content of ``results.json``.

    Attributes:
        created: ISO 8601 time at which the comparison ended.
        command: the one command that repeats it.
        model: name of the plain network.
        se: the fields of the twin's `SEConfig`.
        recipe: the fields of the `Recipe` both were trained with, seed apart.
        seeds: one training of each network per seed.
        versions: of senet, Python, torch and what else decides the result.
        runs: all trainings, plain before SE, in the order of ``seeds``.
        top1: difference in top-1 error of the last epoch.
        top5: the same for top-5 error; ``None`` with five classes or fewer.
        fixed: test images SE fixed, those fixed in most seeds first.
        broken: test images SE broke.
        seconds: time spent training, over all trainings and resumptions; testing is not counted.
        findings: what must be said before the verdict, grave ones first.
        sampling_error: half the width in points of the 95 % interval of the top-1 difference over other test
            images; ``None`` where ``top1`` is over test images itself.
        looks: numbers of seeds at each conclusion, this one the last; a number comes again with more epochs.
    """

    schema_version: int = SCHEMA_VERSION
    created: str
    command: str
    model: str
    se: dict[str, Any]
    recipe: dict[str, Any]
    seeds: tuple[int, ...]
    versions: dict[str, str]
    data: DataSummary
    runs: tuple[TrainingRun, ...]
    cost: MeasuredCost
    top1: Interval
    top5: Interval | None
    verdict: Verdict
    fixed: tuple[ChangedImage, ...]
    broken: tuple[ChangedImage, ...]
    seconds: float
    findings: tuple[Finding, ...] = ()
    sampling_error: float | None = None
    looks: tuple[int, ...] = ()

    def runs_of(self, variant: Variant) -> list[TrainingRun]:
        """Return the trainings of one network in the order of the seeds."""
        return [run for run in self.runs if run.variant == variant]

    def to_rows(self) -> Rows:
        """Return one row for each training, with what its network costs."""
        return training_rows(self)

    def table(self) -> Table:
        """Return what is found and what it costs."""
        return short_table(self)
