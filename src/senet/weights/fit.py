"""Does a checkpoint fit a network, and with which options? Everything is looked at, nothing is copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.networks.preprocess import WORDNET_ORDER, Preprocess
from senet.networks.specs import NetworkSpec
from senet.text import counted
from senet.weights.checkpoint import Checkpoint
from senet.weights.fold import fold_biases
from senet.weights.naming import Naming
from senet.weights.own import spec_name
from senet.weights.packages import OWN
from senet.weights.se_of import agreed_se, inferred_se, se_blocks
from senet.weights.shapes import MisfitError, checked_shapes, on_meta, outline_of

NOT_OPTIONS = ("se", "num_classes", "in_channels")
"""Fields of a spec that a user chooses freely beside a checkpoint."""

_IMAGENET_CLASSES = 1000
_POOLS = {"padded": "The max pool is padded", "ceil": "The max pool is not padded, and rounds sizes up"}


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A checkpoint that fits a network.

    Attributes:
        spec: of the network to build: the one asked for, with the options and the SE that go with the
            checkpoint, and the checkpoint's numbers of classes and channels.
        state: the checkpoint's tensors under the network's keys and in its shapes.
        names: for each key of ours, the one in the file.
        dropped: keys of the file that no network needs, such as those of auxiliary classifiers.
        package: whose checkpoint it is.
        changes: sentences on what was taken from the checkpoint.
        assumed: sentences on what the checkpoint does not tell and the call decided.
        preprocess: that belongs to the weights.
        is_plain: whether it has no SE although the network has.
    """

    spec: NetworkSpec
    state: dict[str, Tensor]
    names: dict[str, str]
    dropped: tuple[str, ...]
    package: str
    changes: tuple[str, ...]
    preprocess: Preprocess
    is_plain: bool
    assumed: tuple[str, ...] = ()


def fit(
    checkpoint: Checkpoint,
    naming: Naming,
    spec: NetworkSpec,
    *,
    se_chosen: bool = False,
    needs_classifier: bool = True,
) -> Fitted:
    """Find the options with which ``spec`` is the checkpoint's network, and check every tensor.

    Args:
        checkpoint: what was read.
        naming: of its keys.
        spec: of the network that was asked for.
        se_chosen: whether its SE was asked for, and so must be the checkpoint's.
        needs_classifier: whether a checkpoint without one is refused.

    Raises:
        MisfitError: it is another network's, or tensors are missing or damaged.
        SenetError: the SE that was asked for is not the checkpoint's, or no network computes what it does.
    """
    if naming.refusal is not None:
        raise SenetError(f"{checkpoint.source} cannot be loaded: {naming.refusal}.")
    if not naming.form(spec):
        raise MisfitError(
            f"{checkpoint.source} has weights of networks {naming.form_text}, unlike {spec_name(spec)}"
        )
    base, option_changes = _with_options(checkpoint, naming, spec)
    state, names, dropped = _renamed(checkpoint, naming, base)
    se, se_changes = _fitted_se(checkpoint, naming, base, state, chosen=se_chosen)
    is_plain = spec.se is not None and not se_blocks(state)
    theirs = replace(base, se=None if is_plain else se, num_classes=base.num_classes or _IMAGENET_CLASSES)
    outline = outline_of(theirs)
    weight, bias = f"{outline.classifier}.weight", f"{outline.classifier}.bias"
    state, fold_changes = _folded(state, theirs, checkpoint.source) if naming.biased else (state, ())
    state, background = _without_background(state, naming, weight, bias)
    headless = weight not in state and not (needs_classifier and _has_classes(checkpoint))
    expected = {key: each for key, each in outline.shapes.items() if not (headless and key in (weight, bias))}
    state = checked_shapes(state, expected, checkpoint.source, spec_name(base))
    _refuse_not_finite(state, names, checkpoint.source)
    classes = 0 if headless else len(state[weight])
    channels = state[f"{outline.stem}.weight"].shape[1]
    return Fitted(
        spec=replace(base, se=se, num_classes=classes, in_channels=channels),
        state=state,
        names=names,
        dropped=dropped,
        package=checkpoint.package or naming.called,
        changes=(*checkpoint.notes, *option_changes, *se_changes, *fold_changes, *background),
        preprocess=_preprocess(checkpoint, naming, base, classes).with_channels(channels),
        is_plain=is_plain,
    )


def _option_sentence(name: str, value: object, origin: str) -> str:
    if name == "pool" and value in _POOLS:
        return f"{_POOLS[str(value)]}, as {origin} has it."
    return f"{name} is {value!r}, as {origin} has it."


def _has_classes(checkpoint: Checkpoint) -> bool:
    return checkpoint.spec is None or checkpoint.spec.num_classes != 0


def _with_options(
    checkpoint: Checkpoint, naming: Naming, spec: NetworkSpec
) -> tuple[NetworkSpec, tuple[str, ...]]:
    """Return ``spec`` with the checkpoint's options, and a sentence for each that differs."""
    if checkpoint.spec is not None:
        if checkpoint.spec.name != spec.name:
            raise MisfitError(
                f"{checkpoint.source} has weights of {spec_name(checkpoint.spec)}, not of {spec_name(spec)}"
            )
        base = replace(checkpoint.spec, **{name: getattr(spec, name) for name in NOT_OPTIONS})
    else:
        # A spec without the pool of a stem has no edge of it either.
        options = {name: value for name, value in naming.options.items() if getattr(spec, name) is not None}
        base = replace(spec, **options)
    origin = naming.called if checkpoint.spec is None else "the checkpoint"
    different = other_options(base, spec)
    return base, tuple(_option_sentence(name, getattr(base, name), origin) for name in different)


def other_options(one: NetworkSpec, other: NetworkSpec) -> list[str]:
    """Return the options in which two specs of one network differ."""
    names = [each.name for each in fields(one) if each.name not in NOT_OPTIONS]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _renamed(
    checkpoint: Checkpoint, naming: Naming, spec: NetworkSpec
) -> tuple[dict[str, Tensor], dict[str, str], tuple[str, ...]]:
    """Return the tensors by our keys, their keys by ours, and the keys without a counterpart."""
    key_map = naming.key_map(spec)
    state: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    dropped = []
    for theirs, tensor in checkpoint.state.items():
        ours = key_map(theirs)
        if ours is None:
            dropped.append(theirs)
        elif ours in state:
            raise MisfitError(
                f"{checkpoint.source} has two tensors for {ours}, {names[ours]} and {theirs}, so it does "
                "not belong to a single network"
            )
        else:
            state[ours], names[ours] = tensor, theirs
    return state, names, tuple(dropped)


def _fitted_se(
    checkpoint: Checkpoint, naming: Naming, spec: NetworkSpec, state: Mapping[str, Tensor], *, chosen: bool
) -> tuple[SEConfig | None, tuple[str, ...]]:
    """Return the SE of the network to build, and sentences on what of it the checkpoint decided."""
    blocks, source = se_blocks(state), checkpoint.source
    if spec.se is None:
        if blocks:
            raise MisfitError(f"{source} has SE blocks, but the plain {spec.name} has none")
        return None, ()
    if not blocks:
        if chosen and spec.se.gate != "double_sigmoid":
            raise SenetError(
                f"{source} has weights of the plain {spec.name}, which new SE blocks with the gate "
                f"{spec.se.gate!r} would disturb: choose SEConfig(gate='double_sigmoid', "
                "start='identity'), the default of senet.create_model when weights are given without se."
            )
        identity = replace(spec.se, gate="double_sigmoid", start="identity")
        return identity, ("The SE blocks are new; every gate is exactly 1 until trained.",)
    told = checkpoint.spec.se if checkpoint.spec is not None else None
    # Of our own state dicts nothing tells what tensors do not show, so it is what was asked for.
    found = told or inferred_se(blocks, spec.se if naming is OWN else spec.default_se)
    if found is None:
        shown = ", ".join(f"{block.hidden} of {block.channels}" for block in list(blocks.values())[:3])
        sentence = f"{source} has SE blocks with hidden units ({shown}) that no usual setting gives"
        if naming is OWN:
            raise SenetError(f"{sentence}: give the SEConfig that it was created with as se.")
        raise MisfitError(sentence)
    return agreed_se(
        spec.se,
        found,
        blocks,
        chosen=chosen,
        source=source,
        origin=naming.called if told is None else "the checkpoint",
    )


def _folded(
    state: dict[str, Tensor], spec: NetworkSpec, source: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    try:
        folded = fold_biases(state, on_meta(spec))
    except SenetError as error:
        raise MisfitError(f"{source} does not fit: {str(error).rstrip('.')}") from error
    count = len(state) - len(folded)
    changes = (
        f"{counted(count, 'convolution bias', 'convolution biases')} folded into the following BatchNorms.",
    )
    return folded, changes if count else ()


def _without_background(
    state: dict[str, Tensor], naming: Naming, *keys: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if not naming.background or any(
        key not in state or state[key].shape[:1] != (_IMAGENET_CLASSES + 1,) for key in keys
    ):
        return state, ()
    state = state | {key: state[key][1:] for key in keys}
    return state, ("The first of 1001 classes, the background, is left out.",)


def _refuse_not_finite(state: Mapping[str, Tensor], names: Mapping[str, str], source: str) -> None:
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SenetError(
                f"{source} has values that are not finite in {names[key]}: its training diverged or the "
                "file is damaged, so use another file."
            )


def _preprocess(checkpoint: Checkpoint, naming: Naming, spec: NetworkSpec, classes: int) -> Preprocess:
    """Return the preprocessing that belongs to the weights, for three channels where nobody tells more."""
    if checkpoint.preprocess is not None:
        return checkpoint.preprocess
    default = Preprocess.of(replace(spec, in_channels=3))
    is_imagenet = naming is not OWN and classes == _IMAGENET_CLASSES
    return replace(default, labels=WORDNET_ORDER if is_imagenet else None, **naming.preprocess)
