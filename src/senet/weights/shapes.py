"""The tensors a network needs, held against those a checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from senet.errors import SenetError
from senet.networks.build import build_network
from senet.networks.network import Network
from senet.networks.specs import NetworkSpec

Shape = tuple[int | None, ...]
"""With ``None`` for a size that is free: the number of classes, and that of the images' channels."""

COUNTER = "num_batches_tracked"
"""Of BatchNorm; torch before 0.4.1 had none, and it changes nothing in evaluation."""

_NAMED = 3


class MisfitError(SenetError):
    """The checkpoint is of another network, or damaged. Whoever catches it looks for that network.

    The sentence has no full stop: what to do instead is still to be said.
    """


@dataclass(frozen=True)
class Outline:
    """What a network's state dict looks like.

    Attributes:
        shapes: of each tensor; the numbers of classes and of channels are free.
        classifier: name of the layer that puts out the class scores.
        stem: name of the convolution that sees the images.
    """

    shapes: Mapping[str, Shape]
    classifier: str
    stem: str


def on_meta(spec: NetworkSpec) -> Network:
    """Build a network without memory."""
    with torch.device("meta"):
        return build_network(spec)


@lru_cache(maxsize=256)
def outline_of(spec: NetworkSpec) -> Outline:
    """Return the outline of the network of ``spec``, which has a classifier."""
    network = on_meta(spec)
    classifier, stem = network.classifier_name, first_convolution(network)
    assert classifier is not None, "there are no classes"
    shapes: dict[str, Shape] = {key: tuple(each.shape) for key, each in network.state_dict().items()}
    weight, bias, images = f"{classifier}.weight", f"{classifier}.bias", f"{stem}.weight"
    shapes |= {weight: (None, *shapes[weight][1:]), bias: (None,)}
    shapes |= {images: (shapes[images][0], None, *shapes[images][2:])}
    return Outline(shapes, classifier, stem)


def first_convolution(network: nn.Module) -> str:
    """Return the name of the layer that sees the images."""
    names: list[str] = [name for name, each in network.named_modules() if isinstance(each, nn.Conv2d)]
    return names[0]


def checked_shapes(
    state: Mapping[str, Tensor], expected: Mapping[str, Shape], source: str, network: str
) -> dict[str, Tensor]:
    """Return ``state`` in the expected shapes; a convolution becomes a matrix where one is expected.

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
            wrong.append(
                f"{key} has the shape {_text(tuple(tensor.shape))} instead of {_text(expected[key])}"
            )
        elif not tensor.is_floating_point() and not key.endswith(COUNTER):
            wrong.append(f"{key} contains integers ({tensor.dtype})")
        else:
            reshaped[key] = fitting
    problems = [
        *([f"it lacks {_listed([f'{key} {_text(expected[key])}' for key in missing])}"] if missing else []),
        *([_listed(wrong)] if wrong else []),
        *([f"it also has {_listed(unknown)}"] if unknown else []),
    ]
    if problems:
        raise MisfitError(f"{source} does not fit {network}: {'; '.join(problems)}")
    return reshaped


def _reshaped(tensor: Tensor, expected: Shape) -> Tensor | None:
    """Return ``tensor`` in the expected shape; ``None`` where it is another tensor."""
    if _agrees(tuple(tensor.shape), expected):
        return tensor
    flat = tensor.flatten(1) if tensor.dim() > 1 else tensor
    return flat if len(expected) == 2 and _agrees(tuple(flat.shape), expected) else None


def _agrees(found: tuple[int, ...], expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        there in (None, here) for here, there in zip(found, expected, strict=True)
    )


def _text(shape: Shape) -> str:
    return "×".join("any" if side is None else str(side) for side in shape) or "a single number"


def _listed(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
