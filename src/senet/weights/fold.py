"""Biases of convolutions before a BatchNorm, which a network built without them can do without."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from senet.errors import SenetError


def fold_biases(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return ``state`` without the convolution biases that ``network`` has no place for.

    BatchNorm subtracts the mean, so a bias b before it is the same as a running mean that is smaller by b:
    in evaluation to rounding, and in training, where the batch's mean is subtracted, in any case. The
    BatchNorm behind a convolution is the layer after it in the same module, with as many channels.

    Args:
        state: under the names of ``network``; it is left as it is.
        network: the one that is to load the state.

    Returns:
        The state with the remaining tensors in their order. What else does not fit ``network`` is kept.

    Raises:
        SenetError: there is no BatchNorm behind the convolution, or the state has no running mean for it.
    """
    followers = _batch_norms_behind(network)
    folded = dict(state)
    for name, norm in followers.items():
        bias = folded.pop(f"{name}.bias", None)
        if bias is None:
            continue
        mean = None if norm is None else state.get(f"{norm}.running_mean")
        if mean is None:
            raise SenetError(
                f"The bias {name}.bias cannot be folded: this network's {name} has none, and the weights "
                "have no running mean of a following BatchNorm; load them into a network with that bias."
            )
        folded[f"{norm}.running_mean"] = mean - bias.to(mean)
    return folded


def _batch_norms_behind(network: nn.Module) -> dict[str, str | None]:
    """Return, for each convolution without a bias, the BatchNorm that takes its output, or ``None``."""
    found: dict[str, str | None] = {}
    for parent, module in network.named_modules():
        prefix = f"{parent}." if parent else ""
        children = [(prefix + name, child) for name, child in module.named_children()]
        for (name, child), (after, next_child) in pairwise([*children, ("", None)]):
            if isinstance(child, nn.Conv2d) and child.bias is None:
                is_behind = isinstance(next_child, nn.BatchNorm2d) and (
                    next_child.num_features == child.out_channels
                )
                found[name] = after if is_behind else None
    return found
