"""Whether weights that are evaluated know these classes at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from senet.experiments.evaluation_report import EvaluationRow
from senet.experiments.learning import Answers, examine
from senet.insight.results import ConstantAnswer, constant_answer

ADVICE = "Check that the weights, the class order and the preprocessing belong together."


def constant_of(labels: Sequence[int], outputs: int) -> ConstantAnswer:
    """Return what always predicting the most frequent of ``labels`` comes to.

    Args:
        labels: right output for each image.
        outputs: of the network.
    """
    counts = Counter(labels)
    return constant_answer(labels, [counts[each] for each in range(outputs)])


def warnings_about(
    rows: Sequence[EvaluationRow], labels: Sequence[int], names: Sequence[str], constant: ConstantAnswer
) -> tuple[str, ...]:
    """Return what has to be said before the errors are, as sentences.

    Args:
        rows: one for each size.
        labels: right output for each image.
        names: of the outputs.
        constant: what `constant_of` returned.
    """
    if len(set(labels)) == 1:
        return (f"All images are of one class, so the error is that of {names[labels[0]]} alone.",)
    several = len(rows) > 1
    answers = [
        Answers(
            name=f"{row.view} pixels" if several else "",
            network=f"{row.view} pixels" if several else "",
            predictions=row.predictions,
        )
        for row in rows
    ]
    found = examine(answers, labels, names, constant)
    return tuple(f"{each.sentence} {ADVICE}" if each.grave else each.sentence for each in found)
