"""What senet itself writes: the metadata of its safetensors files, and the checkpoints of its training."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

from torch import Tensor

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import Provenance
from senet.networks.specs import NetworkSpec
from senet.networks.zoo import network_spec
from senet.schema import Schema, SchemaError, parse_json
from senet.tensor_files import DamagedError, check_digests, digests_of
from senet.weights.checkpoint import Checkpoint

METADATA_KEY = "senet"
"""Of the safetensors metadata: one JSON text with everything but the tensors."""

_VERSION = 1
_DIGESTS_KEY = "senet_digests"
_LARGEST_SIDE = 2**20
_MOST_UNITS = 1000
_TRAINING_KEYS = {"identity", "position", "model", "optimiser", "average"}
# As `senet.training` tests where the recipe does not say: photographs by the centre, small images whole.
_SHORTER_SIDES = {224: 256, 299: 352}
_WHOLE_OVER_CENTRE = 256 / 224


def to_options(spec: NetworkSpec) -> dict[str, Any]:
    """Return, as plain values, the options in which a network differs from the one of its name.

    These are its fields but the SE and the numbers of classes and channels.
    """
    base = network_spec(spec.name)
    return {
        each.name: _plain(getattr(spec, each.name))
        for each in fields(spec)
        if each.name not in ("se", "num_classes", "in_channels")
        and getattr(spec, each.name) != getattr(base, each.name)
    }


def restored_options(name: str, options: Mapping[str, Any]) -> NetworkSpec:
    """Return the spec of the plain network ``name`` with what `to_options` told."""
    return _restored_spec(name, options)


def to_metadata(
    spec: NetworkSpec,
    preprocess: Preprocess,
    classes: tuple[str, ...] | None,
    provenance: Provenance | None = None,
) -> dict[str, str]:
    """Return the metadata that `from_metadata` restores a network's spec from.

    Raises:
        SenetError: the network is none of `senet.list_models`, or its classes and their names differ
            in number.
    """
    name = spec_name(spec)
    base = network_spec(name)
    if type(base) is not type(spec):
        raise SenetError(f"This {name} differs from the network that senet knows by that name.")
    if classes is not None and len(classes) != spec.num_classes:
        raise SenetError(
            f"classes must have one name per output, {spec.num_classes} in all, not {len(classes)}."
        )
    changed = {
        each.name: _plain(getattr(spec, each.name))
        for each in fields(spec)
        if getattr(spec, each.name) != getattr(base, each.name)
    }
    values = {
        "version": _VERSION,
        "network": name,
        "spec": changed,
        "preprocess": asdict(preprocess),
        "classes": classes,
    }
    if provenance is not None:  # a file to be shared does not tell where somebody keeps images
        values["provenance"] = asdict(
            replace(provenance, knows_images=False, data=None, test_fraction=None, test_images="")
        )
    return {"format": "pt", METADATA_KEY: json.dumps(values, ensure_ascii=False)}


def with_digests(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the metadata of a safetensors file with digests of it and of the tensors."""
    return {**metadata, _DIGESTS_KEY: json.dumps(digests_of(_sorted(metadata, tensors)))}


def check_metadata(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Compare tensors and metadata with the digests that `with_digests` added, where there are some.

    Raises:
        DamagedError: they differ.
    """
    if _DIGESTS_KEY not in metadata:
        return
    try:
        stored = parse_json(metadata[_DIGESTS_KEY])
    except SchemaError as error:
        raise DamagedError(f"is damaged ({error})") from error
    written = {name: text for name, text in metadata.items() if name != _DIGESTS_KEY}
    check_digests(_sorted(written, tensors), stored)


def _sorted(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return both in an order of their own: safetensors has another after reading."""
    return {"metadata": dict(sorted(metadata.items())), "tensors": dict(sorted(tensors.items()))}


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """The schema of the metadata."""

    version: int
    network: str
    spec: dict[str, Any]
    preprocess: Preprocess
    classes: tuple[str, ...] | None
    provenance: Provenance | None = None


def from_metadata(text: str, state: dict[str, Tensor], source: str) -> Checkpoint:
    """Return the checkpoint that `senet.save_weights` wrote.

    Raises:
        SenetError: another version of senet wrote something this one does not know.
    """
    try:
        values: _Metadata = Schema().build(_Metadata, parse_json(text), "metadata")
        if values.version != _VERSION:
            raise SchemaError(f"its format is {values.version}, not {_VERSION}")
        _refuse_unusable(values.preprocess)
        spec = _restored_spec(values.network, values.spec)
        _refuse_huge(spec)
        return Checkpoint(
            state=state,
            source=source,
            own=True,
            spec=spec,
            preprocess=values.preprocess,
            classes=values.classes,
            provenance=values.provenance,
        )
    except SenetError as error:
        # Of the schema, of an unknown network, or of a setting of a newer senet.
        reason = str(error).rstrip(".")[:200]
        raise SenetError(
            f"The metadata of {source} is invalid ({reason}): it was written by another version of senet "
            "or edited by hand, so use the original file."
        ) from error


def is_training(value: Any) -> bool:
    """Tell whether ``value`` is what the training loop of senet saves."""
    return isinstance(value, Mapping) and value.keys() >= _TRAINING_KEYS


@dataclass(frozen=True, kw_only=True)
class _Options:
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _TestedAs:
    image_size: int
    crop: str
    # Recipes from before it could be chosen do not tell the shorter side.
    test_resize: int = 0


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """The schema of a training's identity, as far as it tells the network."""

    model: str
    se: SEConfig | None
    recipe: _TestedAs
    variant: str | None = None
    weights: _Options = _Options()


@dataclass(frozen=True, kw_only=True)
class _Average:
    values: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class _Training:
    """The schema of a training's checkpoint, as far as weights are read from it."""

    identity: dict[str, Any]
    model: dict[str, Tensor]
    average: _Average | None
    provenance: Provenance | None = None


def from_training(value: Mapping[str, Any], source: str, chosen: str | None = None) -> Checkpoint:
    """Return the weights that a training of senet tested last.

    These are the moving average where the recipe asks for one.

    Args:
        value: the checkpoint.
        source: to name it in sentences.
        chosen: ``"model"`` takes the weights that were trained, also where there is an average of them.

    Raises:
        SenetError: the checkpoint was trained on a network that this senet does not know, or somebody
            changed it.
    """
    if chosen not in (None, "model", "average"):
        raise SenetError(f"{source} has no entry {chosen!r}: choose 'model' or 'average'.")
    try:
        return _from_training(value, source, chosen)
    except SchemaError as error:
        raise SenetError(f"{source} cannot be used ({error}): use the original checkpoint.") from error


def _from_training(value: Mapping[str, Any], source: str, chosen: str | None) -> Checkpoint:
    schema = Schema(extensible=(_Training, _Average, _Trained, _TestedAs, _Options))
    training: _Training = schema.build(_Training, dict(value), "checkpoint")
    if chosen == "average" and training.average is None:
        raise SenetError(f"{source} has no moving average: leave out '#average'.")
    average = None if chosen == "model" else training.average
    notes = []
    if average:
        notes.append(
            "The moving average of the weights is used, as in the training's own evaluation (use "
            f"weights={f'{source}#model'!r} for the weights themselves)."
        )
    state, told = average.values if average else training.model, training.provenance
    known: dict[str, Any] = {"state": state, "source": source, "is_training": True, "provenance": told}
    if told is not None:
        _refuse_unusable(told.preprocess)
        known |= {"preprocess": told.preprocess, "classes": told.classes}
    name = training.identity.get("model")
    # A network of another package has the names of its layers.
    if not isinstance(name, str) or ":" in name:
        inserted = training.identity.get("se") if training.identity.get("variant") != "plain" else None
        return Checkpoint(**known, own=name is None, notes=tuple(notes), inserted=inserted)
    trained: _Trained = schema.build(_Trained, training.identity, "checkpoint.identity")
    spec = restored_options(trained.model, trained.weights.options)
    if trained.se is not None and trained.variant != "plain":
        spec = replace(spec, se=trained.se)
    _refuse_huge(spec)
    if told is None:
        known["preprocess"] = _preprocess_of(spec, trained.recipe)
        notes.append(
            f"{source} was written by an older senet and lacks the mean and std of its training images: "
            "set model.preprocess to them."
        )
    return Checkpoint(**known, own=True, spec=spec, notes=tuple(notes))


def _preprocess_of(spec: NetworkSpec, recipe: _TestedAs) -> Preprocess:
    """Return what a checkpoint of an older senet tells: sizes."""
    side = recipe.image_size
    whole = side if recipe.crop == "pad" else _SHORTER_SIDES.get(side, round(side * _WHOLE_OVER_CENTRE))
    return replace(Preprocess.of(spec), crop=side, resize=recipe.test_resize or whole)


def _refuse_unusable(preprocess: Preprocess) -> None:
    if not all(map(math.isfinite, (*preprocess.mean, *preprocess.std))):
        raise SchemaError("metadata.preprocess has a mean or std that is not finite")
    if preprocess.resize > _LARGEST_SIDE:
        raise SchemaError(
            f"metadata.preprocess.resize must be at most {_LARGEST_SIDE}, not {preprocess.resize}"
        )


def _refuse_huge(spec: NetworkSpec) -> None:
    """Refuse a network that could not be built, before anybody tries."""
    depths = getattr(spec, "depths", ())
    if min(depths, default=1) < 1 or sum(depths) > _MOST_UNITS:
        raise SchemaError(f"depths must have at most {_MOST_UNITS} units, not {depths}")
    numbers = [each for value in asdict(spec).values() for each in _numbers(value)]
    if max(numbers, default=0) > _LARGEST_SIDE or min(numbers, default=0) < 0:
        raise SchemaError(f"{spec_name(spec)} has a size of {max(numbers, key=abs)}")


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(each)
    elif isinstance(value, int):
        yield value


def marks_own(state: Mapping[str, Any]) -> bool:
    """Tell whether ``torch.save(model.state_dict())`` of a senet network wrote ``state``.

    State dicts list their modules, also those without tensors, and only in senet a layer called
    ``flatten`` follows one called ``avgpool``. Keys alone would not tell a ResNet from torchvision's,
    which pads its max pool.
    """
    modules: Mapping[str, Any] = getattr(state, "_metadata", {})
    return {"avgpool", "flatten"} <= set(modules)


def spec_name(spec: NetworkSpec) -> str:
    """Return the name of the network with the SE it has, or of the plain one."""
    return spec.name if spec.se is None else spec.se_name


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _restored_spec(name: str, changed: Mapping[str, Any]) -> NetworkSpec:
    base = network_spec(name)
    hints = get_type_hints(type(base))
    unknown = sorted(changed.keys() - hints.keys())
    if unknown:
        raise SchemaError(f"{name} has no setting {unknown[0]!r}")
    return replace(base, **{key: Schema().build(hints[key], each, key) for key, each in changed.items()})
