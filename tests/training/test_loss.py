from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from senet.training.loss import training_loss

WEIGHTS = torch.tensor([0.3, 2.0, 1.0, 0.7, 1.6])


def examples(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 5, generator=generator), torch.arange(count) % 5


def one_hot(labels: Tensor) -> Tensor:
    return functional.one_hot(labels, 5).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_it_is_torchs_to_the_bit(smoothing: float) -> None:
    scores, labels = examples()
    expected = functional.cross_entropy(scores, labels, label_smoothing=smoothing)
    assert torch.equal(training_loss(scores, labels, None, smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("mixed", [False, True])
def test_it_is_the_formula_written_out(smoothing: float, weights: Tensor | None, mixed: bool) -> None:
    scores, labels = examples()
    targets = one_hot(labels).double()
    if mixed:
        targets = 0.3 * targets + 0.7 * targets.flip(0)
    given = targets.float() if mixed else labels
    smooth = (1 - smoothing) * targets + smoothing / 5
    weighed = smooth * (1 if weights is None else weights.double())
    expected = -(weighed * scores.double().log_softmax(dim=1)).sum() / len(scores)
    assert training_loss(scores, given, weights, smoothing).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_the_mean_over_pieces_is_that_over_the_whole(smoothing: float, soft: bool) -> None:
    scores, labels = examples()
    targets = one_hot(labels) if soft else labels
    whole = training_loss(scores, targets, WEIGHTS, smoothing)
    for size in (6, 3):
        parts = [
            training_loss(scores[at : at + size], targets[at : at + size], WEIGHTS, smoothing)
            for at in range(0, 12, size)
        ]
        assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-6)


def test_labels_and_their_probabilities_give_the_same() -> None:
    scores, labels = examples()
    for smoothing in (0.0, 0.1):
        hard = training_loss(scores, labels, WEIGHTS, smoothing)
        soft = training_loss(scores, one_hot(labels), WEIGHTS, smoothing)
        assert hard.item() == pytest.approx(soft.item(), rel=1e-6)
