"""The tensors a network needs, held against those a checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from senet.errors import SenetError
from senet.networks.network import Network

Shape = tuple[int | None, ...]
"""With ``None`` for a size that is free: the number of classes, and that of the images' channels."""

COUNTER = "num_batches_tracked"
"""Of BatchNorm; torch before 0.4.1 had none, and it changes nothing in evaluation."""

_NAMED = 3


class MisfitError(SenetError):
    """The checkpoint is of another network, or damaged. Whoever catches it looks for that network.

    The sentence has no full stop: what to do instead is still to be said.
    """


def expected_shapes(network: Network, classifier: str, stem: str, *, headless: bool) -> dict[str, Shape]:
    """Return the shape of each tensor that a checkpoint of ``network`` has.

    Args:
        network: built with any number of classes.
        classifier: name of its last layer, whose number of classes is free.
        stem: name of its first convolution, whose number of channels is free.
        headless: whether the checkpoint has no classifier.
    """
    expected: dict[str, Shape] = {key: tuple(each.shape) for key, each in network.state_dict().items()}
    weight, bias = f"{classifier}.weight", f"{classifier}.bias"
    if headless:
        del expected[weight], expected[bias]
    else:
        expected |= {weight: (None, *expected[weight][1:]), bias: (None,)}
    images = f"{stem}.weight"
    return expected | {images: (expected[images][0], None, *expected[images][2:])}


def checked_shapes(
    state: Mapping[str, Tensor], expected: Mapping[str, Shape], source: str, network: str
) -> dict[str, Tensor]:
    """Return ``state`` in the expected shapes; a 1x1 convolution becomes a matrix and the other way round.

    Raises:
        MisfitError: tensors are missing, too many, of another shape, or of whole numbers.
    """
    missing = [key for key in expected if key not in state and not key.endswith(COUNTER)]
    unknown = [key for key in state if key not in expected and not key.endswith(COUNTER)]
    reshaped = {}
    wrong = []
    for key, tensor in state.items():
        if key not in expected:
            continue
        fitting = _reshaped(tensor, expected[key])
        if fitting is None:
            wrong.append(f"{key} is {_text(tuple(tensor.shape))} where {_text(expected[key])} is expected")
        elif not tensor.is_floating_point() and not key.endswith(COUNTER):
            wrong.append(f"{key} has whole numbers of type {tensor.dtype}")
        else:
            reshaped[key] = fitting
    problems = [
        *([f"it lacks {_listed([f'{key} {_text(expected[key])}' for key in missing])}"] if missing else []),
        *([_listed(wrong)] if wrong else []),
        *([f"it has {_listed(unknown)} besides"] if unknown else []),
    ]
    if problems:
        raise MisfitError(f"{source} does not fit {network}: {'; '.join(problems)}")
    return reshaped


def _reshaped(tensor: Tensor, expected: Shape) -> Tensor | None:
    """Return ``tensor`` in the expected shape; ``None`` where it is another tensor."""
    if _agrees(tuple(tensor.shape), expected):
        return tensor
    flat = tensor.flatten(1) if tensor.dim() > 1 else tensor
    if len(expected) == 2 and _agrees(tuple(flat.shape), expected):
        return flat
    if len(expected) == 4 and tensor.dim() == 2 and _agrees((*tensor.shape, 1, 1), expected):
        return tensor[:, :, None, None]
    return None


def _agrees(found: tuple[int, ...], expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        there in (None, here) for here, there in zip(found, expected, strict=True)
    )


def _text(shape: Shape) -> str:
    return "×".join("any" if side is None else str(side) for side in shape) or "a single number"


def _listed(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
