"""What `senet.evaluate` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from senet.insight.results import ConstantAnswer
from senet.shown import Rows, Shown, Table, skipped
from senet.text import counted

CONFIDENCE = 0.95
METHOD = "Wilson score interval, 95 %"
HEADS = ("pixels", "shorter side", "top-1 error", "top-5 error", "loss")
IN_BRACKETS = "In brackets: 95 % interval of the error (Wilson)."


@dataclass(frozen=True, kw_only=True)
class Error:
    """A share of wrong answers with its interval.

    Attributes:
        wrong: images answered wrongly.
        images: of how many.
    """

    wrong: int
    images: int

    @property
    def percent(self) -> float:
        """The error in percent."""
        return 100 * self.wrong / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the error in percent, by Wilson's method (1927)."""
        from scipy import stats  # here, as its import takes half a second

        share = stats.binomtest(self.wrong, self.images).proportion_ci(CONFIDENCE, method="wilson")
        return 100 * float(share.low), 100 * float(share.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.percent:.2f} % ({low:.2f} to {high:.2f})"


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """One way of checking images.

    Attributes:
        view: its name, such as ``"224"``, or ``"224 + 320"`` where probabilities are averaged over sizes.
        sizes: sides in pixels of what the network saw.
        resizes: pixels of the shorter side before cropping, for each size.
        loss: mean cross-entropy.
        top1: error of the first guess.
        top5: error of five guesses, or ``None`` with five classes or fewer.
        predictions: the output that was the first guess, for each image.
        confidence: its probability, for each image.
        in_top5: whether the right output was among five guesses, for each image.
    """

    view: str
    sizes: tuple[int, ...]
    resizes: tuple[int, ...]
    loss: float
    top1: Error
    top5: Error | None
    predictions: tuple[int, ...] = field(repr=False)
    confidence: tuple[float, ...] = field(repr=False)
    in_top5: tuple[bool, ...] | None = field(repr=False)

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        top5 = "" if self.top5 is None else str(self.top5)
        return self.view, " + ".join(map(str, self.resizes)), str(self.top1), top5, f"{self.loss:.4f}"


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class of the images.

    Attributes:
        name: of the class.
        top1: error on its images.
        mistaken_for: what its images were most often predicted as wrongly, and how often; ``None`` if never.
    """

    name: str
    top1: Error
    mistaken_for: tuple[str, int] | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images of one class taken for another.

    Attributes:
        name: of the class.
        guess: what they were taken for.
        count: how many.
        images: of the class.
    """

    name: str
    guess: str
    count: int
    images: int


@dataclass(frozen=True, kw_only=True, repr=False)
class EvaluationReport(Shown):
    """Everything one evaluation found.

    Attributes:
        network: name of what was evaluated.
        source: of its weights.
        data: where the images are.
        part: which of them were looked at, as a sentence.
        preprocess: mean, std and resizing, as text.
        crops: of each image: 1 or 5.
        flip: whether mirror images were looked at as well.
        precision: of the arithmetic.
        names: of the outputs.
        labels: the right output for each image.
        images: name of each image.
        rows: one for each size, then the one of all sizes together where that was asked for.
        unreadable: ``(name, reason)`` of every image that was skipped.
        constant: what always predicting the most frequent class comes to.
        warnings: sentences that have to be said before the errors are.
        notes: sentences on what is not as usual, or assumed.
        command: that repeats it.
        versions: of what decides the numbers.
        seconds: the evaluation took.
    """

    network: str
    source: str
    data: str
    part: str
    preprocess: str
    crops: int
    flip: bool
    precision: str
    names: tuple[str, ...]
    labels: tuple[int, ...]
    images: tuple[str, ...]
    rows: tuple[EvaluationRow, ...]
    unreadable: tuple[tuple[str, str], ...]
    constant: ConstantAnswer
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    command: str
    versions: dict[str, str]
    seconds: float

    @property
    def beside(self) -> str:
        """What to hold the errors against, as a sentence."""
        return f"Always predicting “{self.names[self.constant.label]}”: {self.constant.error:.2f} %"

    def to_rows(self) -> Rows:
        """Return one row for each of `rows`, with what was evaluated."""
        about = {"network": self.network, "source": self.source, "data": self.data}
        return [
            {
                **about,
                "view": row.view,
                "images": row.top1.images,
                "loss": row.loss,
                **_columns("top1", row.top1),
                **_columns("top5", row.top5),
            }
            for row in self.rows
        ]

    def table(self) -> Table:
        """Return what must be known first, and a line for each of `rows`."""
        images = counted(len(self.labels), "image")
        return Table(
            warnings=self.warnings,
            title=(f"{self.network} ({self.source}) on {images} of {self.data}.",),
            head=HEADS,
            lines=[row.cells() for row in self.rows],
            notes=(self.beside, IN_BRACKETS, *skipped(self.unreadable), *self.notes),
        )

    def by_class(self, row: EvaluationRow | None = None) -> tuple[ClassRow, ...]:
        """Return the classes of the images, the one with the highest error first.

        Args:
            row: of `rows`; by default the last.
        """
        guesses_of: dict[int, Counter[int]] = {label: Counter() for label in self.labels}
        for (true, guess), count in self._wrong(row).items():
            guesses_of[true][guess] = count
        counts = Counter(self.labels)
        found = []
        for label, guesses in guesses_of.items():
            most = guesses.most_common(1)
            found.append(
                ClassRow(
                    name=self.names[label],
                    top1=Error(wrong=guesses.total(), images=counts[label]),
                    mistaken_for=(self.names[most[0][0]], most[0][1]) if most else None,
                )
            )
        return tuple(sorted(found, key=lambda each: (-each.top1.percent, each.name)))

    def confusions(self, row: EvaluationRow | None = None) -> tuple[Confusion, ...]:
        """Return the pairs of classes that were mixed up, the most frequent first."""
        counts = Counter(self.labels)
        found = [
            Confusion(name=self.names[true], guess=self.names[guess], count=count, images=counts[true])
            for (true, guess), count in self._wrong(row).items()
        ]
        return tuple(sorted(found, key=lambda each: (-each.count, each.name, each.guess)))

    def _wrong(self, row: EvaluationRow | None) -> Counter[tuple[int, int]]:
        predictions: Sequence[int] = (row or self.rows[-1]).predictions
        pairs = zip(self.labels, predictions, strict=True)
        return Counter((true, guess) for true, guess in pairs if true != guess)


def _columns(name: str, error: Error | None) -> dict[str, float | None]:
    low, high = (None, None) if error is None else error.interval
    return {
        f"{name}_error": None if error is None else error.percent,
        f"{name}_low": low,
        f"{name}_high": high,
    }
