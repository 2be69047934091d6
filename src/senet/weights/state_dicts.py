"""Which tensors of a file are the network's: wrappers, averages and prefixes, and what lies beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from senet.errors import SenetError, nearest
from senet.text import counted
from senet.weights.checkpoint import Checkpoint
from senet.weights.own import marks_own
from senet.weights.packages import namings_of

# Where training scripts keep the weights. The average comes first: it is what they evaluate.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module")
_AVERAGE = re.compile(r"(.*_)?(ema|swa|averaged?|shadow)(_.*)?")
# What DataParallel, torch.compile, training frameworks and users put before every key.
_PREFIXES = {"module", "_orig_mod", "model", "net", "network", "_forward_module"} | {
    *("backbone", "encoder", "timm_model", "base_model", "classifier", "student", "feature_extractor"),
    *("cnn", "resnet", "trunk", "body", "visual"),
}
# AveragedModel of torch counts its updates; some modules keep a state that is no weight.
_NO_WEIGHTS = ("n_averaged", "_extra_state")
_THOP = ("total_ops", "total_params")
# Of the loss and the metrics that a LightningModule has beside its network.
_METRIC = re.compile(
    r"(.*_)?(criterion|loss|losses|loss_fn|metrics?|acc|accuracy|auroc|f1|recall|confmat|confusion_matrix)"
    r"(_.*|\d*)"
)
_OPTIMISER = re.compile(r"(.*_)?(optim|scheduler|scaler).*")
_CLASSIFIER = re.compile(r"(?:[\w.]*\.)?(?:head|heads|fc|linear|classifier|cls_head)\.(?:fc\.)?(weight|bias)")
_AS_ASKED = "The weights under {!r} are used, as requested."
_DEEPEST = 6
_NAMED = 3
_LARGEST = 2**28
"""Elements of a tensor that is stored sparsely; no layer has as many."""


def network_weights(value: Any, source: str, chosen: str | None = None) -> Checkpoint:
    """Return the weights among what a file held.

    Args:
        value: what was read.
        source: to name the file in sentences.
        chosen: the state dict or the prefix to take, where a file holds several networks.

    Raises:
        SenetError: there are none, none of the name chosen, several networks of which none is usual, or
            tensors that senet cannot use.
    """
    found = dict(_state_dicts(value))
    found = {path: each for path, each in found.items() if _has_weights(each)} or found
    if not found:
        held = f"a {type(value).__name__}"
        if isinstance(value, Mapping) and value:
            held = f"the keys {', '.join(repr(key)[:40] for key in list(value)[:4])}"
        raise SenetError(f"{source} is not a checkpoint: it contains {held} but no named tensors.")
    named = _named(found, chosen)
    taken = named or _usual(found, source, chosen)
    notes = [] if named else _told(found, taken, source)
    state = {str(key): each.detach() for key, each in found[taken].items() if isinstance(each, Tensor)}
    state, beside = _network_part(state, source, None if named else chosen)
    if chosen is not None and not named and _AS_ASKED.format(chosen) not in beside:
        names = [name for name in found if name]
        raise SenetError(
            f"{source} has no entry {chosen!r}: choose "
            f"{' or '.join(map(repr, names)) or 'no name'}.{nearest(chosen, names)}"
        )
    state, converted = usable_tensors(state, source)
    return Checkpoint(
        state=state, source=source, own=marks_own(found[taken]), notes=(*notes, *beside, *converted)
    )


def usable_tensors(state: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return ordinary tensors with the same values, and sentences on what was converted.

    Raises:
        SenetError: a tensor has no values, or complex or nested ones, or is of another package's kind.
    """
    usable, converted = dict(state), dict[str, list[str]]()
    for key, tensor in state.items():
        kind, reason = _kind(tensor), _refusal(tensor)
        if reason is None and kind is not None:
            try:
                usable[key] = _converted(tensor)
            except (RuntimeError, NotImplementedError):
                reason = f"is {kind}, which this version of torch cannot convert"
            converted.setdefault(kind, []).append(key)
        if reason is not None:
            raise SenetError(
                f"{key} in {source} {reason}: save the state dict with ordinary tensors, such as float32."
            )
    notes = (
        f"{_listed(keys)} {'was' if len(keys) == 1 else 'were'} converted from {kind} to float32."
        for kind, keys in converted.items()
    )
    return usable, tuple(notes)


def _state_dicts(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield each mapping with tensors, by its path such as ``"ema/module"``."""
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    if any(isinstance(each, Tensor) for each in value.values()):
        yield path, value
    for key, each in value.items():
        if isinstance(key, str) and not _OPTIMISER.fullmatch(key):
            yield from _state_dicts(each, f"{path}/{key}" if path else key, depth + 1)


def _named(found: Mapping[str, Any], chosen: str | None) -> str | None:
    if chosen is None:
        return None
    return next((path for path in found if chosen in (path, *path.split("/"))), None)


def _usual(found: Mapping[str, Any], source: str, chosen: str | None) -> str:
    """Return the path of the state dict that people mean: an average, or what has a usual name."""

    def rank(path: str) -> tuple[bool, bool, int]:
        known = [_WRAPPERS.index(part) for part in path.split("/") if part in _WRAPPERS]
        return not _is_average(path), not known and path != "", min(known, default=len(_WRAPPERS))

    best = min(found, key=rank)
    if best != "" and rank(best) == (True, True, len(_WRAPPERS)) and len(found) > 1:
        raise _several(list(found), source, chosen)
    return best


def _several(names: list[str], source: str, chosen: str | None) -> SenetError:
    held = f"several networks, {_listed(names)}" if chosen is None else f"no entry {chosen!r}"
    return SenetError(f"{source} contains {held}: choose one, such as weights={f'{source}#{names[0]}'!r}.")


def _is_average(path: str) -> bool:
    return any(_AVERAGE.fullmatch(part) for part in path.split("/"))


def _told(found: Mapping[str, Mapping[Any, Any]], taken: str, source: str) -> list[str]:
    """Say which of several state dicts was taken, and how to take another."""
    others = [path for path in found if path not in ("", taken) and _has_weights(found[path])]
    if not others:
        return []
    what = f"state dict {taken!r} is used"
    if _is_average(taken):
        what = f"moving average {taken!r} is used, as in its training's evaluation"
    return [f"The {what}; the file also contains {_listed(others)} (weights={f'{source}#{others[0]}'!r})."]


def _has_weights(state: Mapping[Any, Any]) -> bool:
    return any(isinstance(each, Tensor) and each.dim() > 1 for each in state.values())


def _network_part(
    state: dict[str, Tensor], source: str, chosen: str | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the network's tensors without what was put before their keys, and sentences on the rest."""
    left: list[str] = []
    counters = {key for key in state if _last(key) in _THOP}
    state = {key: each for key, each in state.items() if _last(key) not in (*_THOP, *_NO_WEIGHTS)}
    notes = (
        [f"Left out: {counted(len(counters), 'counter')} of thop ({' and '.join(_THOP)})."]
        if counters
        else []
    )
    while True:
        metrics = [key for key in state if _METRIC.fullmatch(_first(key)) and "." in key]
        if len(metrics) < len(state):
            left += metrics
            state = {key: each for key, each in state.items() if key not in set(metrics)}
        prefix, note = _prefix(state, source, chosen)
        if prefix is None:
            break
        inner = _inside(prefix, state)
        outer = {key: each for key, each in state.items() if _first(key) != prefix}
        if note:  # which names the other networks
            notes.append(note)
            chosen, networks = None, _networks(outer)
            outer = {key: each for key, each in outer.items() if _first(key) not in networks}
        classifier = _classifier(inner, outer)
        if classifier:
            notes.append(f"The network's classifier is {classifier[0].rpartition('.')[0]}.")
        inner |= {f"fc.{_last(key)}": outer.pop(key) for key in classifier}
        left += outer
        state = inner
    if left:
        notes.append(f"Ignored, as not part of the network: {_listed(left)}.")
    return state, notes


def _prefix(state: Mapping[str, Tensor], source: str, chosen: str | None) -> tuple[str | None, str | None]:
    """Return the first part of the network's keys, where it is none of its layers, and a sentence on it."""
    firsts, networks = list(dict.fromkeys(_first(key) for key in state)), _networks(state)
    if chosen in firsts and chosen not in state:
        return chosen, _AS_ASKED.format(chosen)
    if len(firsts) == 1 and not networks and firsts[0] in _PREFIXES and firsts[0] not in state:
        return firsts[0], None
    if len(networks) == 1:
        return (networks[0] if _is_prefix(networks[0], state) else None), None
    averages = [name for name in networks if _AVERAGE.fullmatch(name)]
    usual = [name for name in networks if name in _PREFIXES]
    if len(averages) == 1 and usual:
        return averages[0], (
            f"The moving average {averages[0]!r} is used; the file also contains {_listed(usual)} "
            f"(weights={f'{source}#{usual[0]}'!r})."
        )
    whole = [name for name in networks if name in _PREFIXES or _recognised(_inside(name, state))]
    if len(whole) > 1 and not _recognised(state):
        raise _several(whole, source, chosen)
    return None, None


def _networks(state: Mapping[str, Tensor]) -> list[str]:
    """Return the first parts of keys behind which there are convolutions."""
    return list(dict.fromkeys(_first(key) for key, each in state.items() if each.dim() == 4))


def _is_prefix(name: str, state: Mapping[str, Tensor]) -> bool:
    """Tell whether a name before all convolutions is no layer's."""
    if any(_first(key) == name and "." not in key for key in state):
        return False
    if name in _PREFIXES or _AVERAGE.fullmatch(name):
        return True
    return not _recognised(state) and _recognised(_inside(name, state))


def _inside(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): each for key, each in state.items() if _first(key) == name}


def _recognised(state: Mapping[str, Tensor]) -> bool:
    return bool(namings_of(Checkpoint(state=dict(state), source="")))


def _classifier(inner: Mapping[str, Tensor], outer: Mapping[str, Tensor]) -> list[str]:
    """Return the keys of the one linear layer beside a ResNet that takes its features, if there is one."""
    if "layer4.0.conv1.weight" not in inner or "fc.weight" in inner:
        return []
    features = max(each.shape[0] for key, each in inner.items() if key.startswith("layer4.") and each.dim())
    keys = [key for key in outer if _CLASSIFIER.fullmatch(key)]
    weights = [key for key in keys if key.endswith("weight")]
    fits = len(weights) == 1 and outer[weights[0]].dim() == 2 and outer[weights[0]].shape[1] == features
    layer = weights[0].removesuffix("weight") if fits else ""
    return [key for key in keys if key in (f"{layer}weight", f"{layer}bias")] if fits else []


def _kind(tensor: Tensor) -> str | None:
    """Return how a tensor is stored, where that is not as ordinary numbers."""
    if tensor.is_quantized:
        return str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided:
        return f"{str(tensor.layout).removeprefix('torch.')} {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_floating_point() and tensor.element_size() == 1:
        return str(tensor.dtype).removeprefix("torch.")
    return None


def _refusal(tensor: Tensor) -> str | None:
    """Return why no network can take a tensor."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"is a {type(tensor).__module__}.{type(tensor).__name__}"
    if tensor.is_meta:
        return "has no values, because it was saved from the meta device"
    if tensor.is_nested:
        return "is a nested tensor"
    if tensor.is_complex():
        return f"holds complex numbers ({tensor.dtype})"
    if tensor.layout != torch.strided and tensor.numel() > _LARGEST:
        return f"is sparse, of {tensor.numel():,} elements"
    return None


def _converted(tensor: Tensor) -> Tensor:
    if tensor.is_quantized:
        return tensor.dequantize()
    dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return dense.float() if dense.is_floating_point() else dense


def _first(key: str) -> str:
    return key.partition(".")[0]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _NAMED
    return ", ".join(map(repr, keys[:_NAMED])) + (f" and {rest} more" if rest > 0 else "")
