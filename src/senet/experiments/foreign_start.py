"""The weights that a training of another package's or a user's own network starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.twins import build_twins, seeded
from senet.networks.factory import PACKAGES
from senet.networks.foreign import create_foreign
from senet.networks.foreign_preprocess import foreign_preprocess
from senet.networks.preprocess import Preprocess
from senet.text import counted
from senet.weights.find import find_checkpoint
from senet.weights.load import for_channels
from senet.weights.shapes import COUNTER

PRETRAINED = "pretrained"
_SE = ".se."
_MOST_NAMED = 3
# What `senet.squeeze_excite` can be told and a comparison's twin cannot.
_NO_TWINS = ("kind", "where")


@dataclass(frozen=True, kw_only=True)
class ForeignStart:
    """A state dict that fits a network of another package or of a user's: a `Start`.

    Attributes:
        name: of the network.
        se: the twin's SE blocks, or ``None``.
        state: tensors by the network's keys.
        source: of the tensors, for sentences.
        classes: of the images.
        channels: of the images.
        mean: that the weights were trained with, 0 to 1, or ``None`` where nobody tells.
        std: likewise.
    """

    name: str
    se: SEConfig | None
    state: Mapping[str, Tensor]
    source: str
    classes: int
    channels: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def networks(self, seed: int) -> tuple[nn.Module, ...]:
        """Return the networks, as `Start` says."""
        networks = build_twins(self.name, self.se, classes=self.classes, channels=self.channels, seed=seed)
        for network in networks:
            self._fill(network)
        return networks

    def identity(self) -> dict[str, Any]:
        """Return the checksum of the tensors."""
        return {"checksum": checksum_of(self.state), "mean": self.mean, "std": self.std}

    def facts(self) -> str:
        """Return what came from the weights and what is new, as text."""
        networks = self.networks(seed=0)
        new = [key for key in self._fill(networks[-1]) if _SE not in key]
        unused = len(self.state.keys() - networks[-1].state_dict().keys())
        parts = [f"{self.name}: {counted(len(self.state) - unused - len(new), 'tensor')} from {self.source}"]
        if new:
            parts.append(f"new: {_some(new)}")
        if unused:
            parts.append(f"unused in the file: {unused}")
        if self.se is not None and not any(_SE in key for key in self.state):
            parts.append(f"the SE blocks start at {self.se.start}")
        if len(networks) > 1 and any(_SE in key for key in self.state):
            parts.append("the plain network starts from the same tensors without their SE blocks")
        return "; ".join(parts)

    def _fill(self, network: nn.Module) -> list[str]:
        """Copy what fits, and return the keys that stay new.

        Raises:
            SenetError: the tensors are another network's.
        """
        own, new = network.state_dict(), []
        with torch.no_grad():
            for key, target in own.items():
                given = self.state.get(key)
                if not isinstance(target, Tensor) or (
                    given is None and (_SE in key or key.endswith(COUNTER))
                ):
                    new += [key] if _SE in key else []
                elif given is None:
                    raise self._misfit(f"lack {key}")
                elif given.shape == target.shape:
                    target.copy_(given)
                elif _is_classifier(target, given, self.classes):
                    new.append(key)
                elif _is_stem(target, given, self.channels):
                    target.copy_(for_channels(given, self.channels))
                else:
                    raise self._misfit(f"have {key} as {tuple(given.shape)}, not {tuple(target.shape)}")
        strange = [key for key in self.state if key not in own and not _may_be_unused(key)]
        if strange:
            raise self._misfit(f"have {_some(strange)} besides")
        return new

    def _misfit(self, what: str) -> SenetError:
        return SenetError(
            f"The weights in {self.source} do not belong to {self.name}: they {what}; name the network "
            "that they belong to."
        )


def open_foreign_start(
    weights: str | Path,
    name: str,
    se: SEConfig | None,
    *,
    given: SEConfig | Mapping[str, Any] | None,
    classes: int,
    channels: int,
    stored: Mapping[str, Any] | None,
) -> ForeignStart:
    """Read weights for a foreign network, and look whether they fit.

    Args are those of `senet.experiments.start_weights.open_start`, besides:
        stored: what the run folder of the weights tells about its images, or ``None``.

    Raises:
        SenetError: the weights cannot be had or read, or are another network's.
    """
    released = weights == PRETRAINED
    inserted: Mapping[str, Any] | None = None
    told: Preprocess | None = None
    if released:
        state = create_foreign(name, pretrained=True).state_dict()
        source = f"{name}'s package"
    else:
        checkpoint = find_checkpoint(weights, name)
        state, source, inserted = checkpoint.state, checkpoint.source, checkpoint.inserted
        told = checkpoint.preprocess
    if se is not None:
        se = (
            _se_of(inserted, source, se, given)
            if any(_SE in key for key in state)
            else open_at_start(se, given)
        )
    mean, std = _normalisation(name, stored, told, channels)
    with seeded(0):
        own = create_foreign(name, num_classes=classes, in_channels=channels).state_dict().keys()
    start = ForeignStart(
        name=name,
        se=se,
        state=_by_own_keys({key: each for key, each in state.items() if isinstance(each, Tensor)}, own),
        source=source,
        classes=classes,
        channels=channels,
        mean=mean,
        std=std,
    )
    start.networks(seed=0)
    return start


def open_at_start(se: SEConfig, given: SEConfig | Mapping[str, Any] | None) -> SEConfig:
    """Return ``se`` with gates that start at exactly 1, unless a user chose ``gate`` or ``start``."""
    if isinstance(given, SEConfig) or {"gate", "start"} & set(given or {}):
        return se
    return replace(se, gate="double_sigmoid", start="identity")


def checksum_of(state: Mapping[str, Tensor]) -> str:
    """Return a digest of names, types, shapes and values."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def _se_of(
    inserted: Mapping[str, Any] | None,
    source: str,
    se: SEConfig,
    given: SEConfig | Mapping[str, Any] | None,
) -> SEConfig:
    """Return the SE blocks that the file of a network with SE tells, or those that were asked for."""
    if inserted is None:
        return open_at_start(se, given)
    other = [key for key in _NO_TWINS if inserted.get(key) not in (None, "se")]
    if other:
        raise SenetError(
            f"{source} was written with {other[0]} {inserted[other[0]]!r}, which the SE twin of a "
            "comparison cannot have: write it with SE at the usual places, or name a factory that "
            "returns the network."
        )
    settings = {key: value for key, value in inserted.items() if key not in _NO_TWINS}
    strange = settings.keys() - {each.name for each in fields(SEConfig)}
    if strange:
        raise SenetError(
            f"{source} has SE blocks with {sorted(strange)[0]!r}, which this senet version does not know: "
            "use the version that wrote it."
        )
    if isinstance(settings.get("stages"), list):
        settings["stages"] = tuple(settings["stages"])
    if "gate" not in settings:  # as `senet.squeeze_excite` makes them
        settings["gate"] = "sigmoid" if settings.get("start") == "random" else "double_sigmoid"
        settings.setdefault("start", "identity")
    chosen = {} if given is None or isinstance(given, SEConfig) else dict(given)
    different = [key for key, value in chosen.items() if settings.get(key, getattr(se, key)) != value]
    if isinstance(given, SEConfig) or different:
        raise SenetError(f"{source} already has SE blocks: leave out the SE settings.")
    return SEConfig(**settings)


def _normalisation(
    name: str, stored: Mapping[str, Any] | None, told: Preprocess | None, channels: int
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Return mean and std that the weights are used to, or ``None`` where only a factory knows."""
    if stored is not None:
        return tuple(stored["mean"]), tuple(stored["std"])
    if told is None:
        if name.partition(":")[0] not in PACKAGES:
            return None, None
        told, _ = foreign_preprocess(name, create_foreign(name))
    fitted = told.with_channels(channels)
    return fitted.mean, fitted.std


def _by_own_keys(state: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors with the first name of all the network's keys, where reading took it off."""
    first = {key.partition(".")[0] for key in own}
    if len(first) == 1 and not any(key in own for key in state):
        return {f"{next(iter(first))}.{key}": each for key, each in state.items()}
    return state


def _is_classifier(target: Tensor, given: Tensor, classes: int) -> bool:
    return len(target) == classes and target.dim() > 0 and target.shape[1:] == given.shape[1:]


def _may_be_unused(key: str) -> bool:
    """Tell whether a tensor may be left out: of SE, an auxiliary classifier, or a count of batches."""
    return _SE in key or key.lower().startswith("aux") or key.endswith(COUNTER)


def _is_stem(target: Tensor, given: Tensor, channels: int) -> bool:
    shapes = (target.shape[0], *target.shape[2:]), (given.shape[0], *given.shape[2:])
    return target.dim() == given.dim() == 4 and target.shape[1] == channels and shapes[0] == shapes[1]


def _some(keys: list[str]) -> str:
    rest = len(keys) - _MOST_NAMED
    return ", ".join(keys[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
