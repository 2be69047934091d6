"""What senet itself writes: the metadata of its safetensors files, and the checkpoints of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

from torch import Tensor

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.networks.specs import NetworkSpec
from senet.networks.zoo import network_spec
from senet.weights.checkpoint import Checkpoint

METADATA_KEY = "senet"
"""Of the safetensors metadata: one JSON text with everything but the tensors."""

_VERSION = 1
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


def to_metadata(spec: NetworkSpec, preprocess: Preprocess, classes: tuple[str, ...] | None) -> dict[str, str]:
    """Return the metadata that `from_metadata` restores a network's spec from.

    Raises:
        SenetError: the network is none of `senet.list_models`, or its classes and their names differ
            in number.
    """
    name = spec_name(spec)
    base = network_spec(name)
    if type(base) is not type(spec):
        raise SenetError(f"This {name} is not the network that senet knows under this name.")
    if classes is not None and len(classes) != spec.num_classes:
        raise SenetError(
            f"{len(classes)} names of classes were given for a network of {spec.num_classes} classes."
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
    return {"format": "pt", METADATA_KEY: json.dumps(values, ensure_ascii=False)}


def from_metadata(text: str, state: dict[str, Tensor], source: str) -> Checkpoint:
    """Return the checkpoint that `senet.save_weights` wrote.

    Raises:
        SenetError: another version of senet wrote something this one does not know.
    """
    try:
        values = json.loads(text)
        if values["version"] != _VERSION:
            raise ValueError(f"format {values['version']}")
        classes = values["classes"]
        return Checkpoint(
            state=state,
            source=source,
            own=True,
            spec=_restored_spec(values["network"], values["spec"]),
            preprocess=Preprocess.from_values(values["preprocess"]),
            classes=None if classes is None else tuple(map(str, classes)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # SenetError is a ValueError: an unknown network, or a setting of a newer senet.
        raise SenetError(
            f"The metadata of {source} cannot be understood ({error}): another version of senet wrote it."
        ) from error


def is_training(value: Any) -> bool:
    """Tell whether ``value`` is what the training loop of senet saves."""
    return isinstance(value, Mapping) and value.keys() >= _TRAINING_KEYS


def from_training(value: Mapping[str, Any], source: str) -> Checkpoint:
    """Return the weights that a training of senet tested last.

    These are the moving average where the recipe asks for one. Mean and std of the training images stand
    in the run's images, not in its checkpoint.

    Raises:
        SenetError: the checkpoint was trained on a network that this senet does not know.
    """
    average, identity = value["average"], value["identity"]
    state: dict[str, Tensor] = dict(average["values"] if average else value["model"])
    notes = ["The moving average of the weights was taken, which the training evaluated."] if average else []
    if "model" not in identity:
        return Checkpoint(state=state, source=source, own=True, notes=tuple(notes))
    spec = restored_options(identity["model"], identity.get("weights", {}).get("options", {}))
    if identity["se"] is not None and identity.get("variant") != "plain":
        spec = replace(spec, se=SEConfig(**identity["se"]))
    recipe = identity["recipe"]
    side = recipe["image_size"]
    whole = side if recipe["crop"] == "pad" else _SHORTER_SIDES.get(side, round(side * _WHOLE_OVER_CENTRE))
    # Recipes from before it could be chosen do not tell the shorter side.
    shorter = recipe.get("test_resize") or whole
    notes.append(
        "The checkpoint does not tell mean and std of its training images: set model.preprocess to them."
    )
    preprocess = replace(Preprocess.of(spec), crop=side, resize=shorter)
    return Checkpoint(
        state=state, source=source, own=True, spec=spec, preprocess=preprocess, notes=tuple(notes)
    )


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
    restored = {key: _restored(hints[key], value) for key, value in changed.items()}
    return replace(base, **restored)


def _restored(hint: Any, value: Any) -> Any:
    """Return what JSON made of a field of type ``hint``."""
    if isinstance(value, list):
        return tuple(_restored(None, each) for each in value)
    if isinstance(value, dict):
        kind = next((each for each in (hint, *get_args(hint)) if is_dataclass(each)), None)
        if not isinstance(kind, type):
            raise TypeError(f"a setting {value!r}")
        return kind(**{key: _restored(None, each) for key, each in value.items()})
    return value
