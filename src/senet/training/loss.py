"""What a training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def training_loss(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy over N images.

    For probabilities t and log-probabilities log p it is the mean over the images of -sum_k w_k t_k log p_k;
    a label is the probability 1 of its class, and label smoothing (Szegedy and others, 2016) takes its share
    of t and spreads it over all classes before the weights come in. The sum is divided by the number of
    images and not, as PyTorch does for labels, by the sum of their weights: so the mean over two halves of a
    batch is the mean over the whole, and weights whose mean over the training images is 1 (`class_weights`)
    leave the size of the loss as it is. Without weights, this is ``torch.nn.functional.cross_entropy``.

    Args:
        scores: (N, K) floats.
        targets: (N,) int64 labels, or (N, K) probabilities in the type of ``scores``.
        weights: (K,) of the classes, or ``None`` where all weigh 1.
        label_smoothing: share of the target that is spread over all classes.
    """
    if weights is not None and targets.dim() == 1:
        summed = functional.cross_entropy(
            scores, targets, weights, reduction="sum", label_smoothing=label_smoothing
        )
        return summed / len(targets)
    return functional.cross_entropy(scores, targets, weights, label_smoothing=label_smoothing)
