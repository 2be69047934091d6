"""Which folder an experiment writes to, and the settings it keeps there."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy
import PIL
import torch

import senet
from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.files import make_folder, write_once, write_text
from senet.networks.foreign import package_version
from senet.schema import Schema, SchemaError, parse_json
from senet.text import counted
from senet.training.finished import read_training
from senet.training.identity import differences, extends, refuse_other_training
from senet.training.lock import lock_folder
from senet.training.recipe import FittedRecipe

SETTINGS_NAME = "settings.json"
_MOST_THREADS = 4096
_MOST_SEEDS = 1_000_000


def versions(model: str) -> dict[str, str]:
    """Return the version of everything that decides a result of this network."""
    return {
        "senet": senet.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        **package_version(model),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "system": platform.platform(terse=True),
        "processor": f"{platform.machine()}, {counted(torch.get_num_threads(), 'thread')}",
    }


def checksum(identity: Mapping[str, Any]) -> str:
    """Return a short hash of what a comparison is: recipe, images, networks and kind of device.

    Trainings of one checksum belong to one comparison, whichever machine they ran on.

    Args:
        identity: of the experiment, as plain values.
    """
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def claim_folder(
    out: Path | None,
    name: str,
    identity: Mapping[str, Any],
    command: str,
    *,
    model: str = "",
    arguments: Mapping[str, Any] | None = None,
    threads: int | None = None,
    images: Mapping[str, Any] | None = None,
) -> Path:
    """Return the folder for an experiment, with its settings written in it.

    An experiment of the same identity goes on in its folder, and in one that is named also one of more
    epochs that `extends` what it holds. Without ``out`` the first of ``runs/name``, ``runs/name-2``, … is
    taken that is free or holds this very experiment. Several
    jobs of one experiment may claim its folder at once, also on machines that share a file system.

    Args:
        out: the folder the user named.
        name: what to call it otherwise; made safe for a file system.
        identity: what the experiment is, as plain values.
        command: the one command that repeats it.
        model: name of the plain network, whose package's version is written down.
        arguments: what the identity does not tell and is needed to open the images again, or by
            `senet.collect`, as plain values.
        threads: of each training on the CPU. What was written down first stays: it decides rounding.
        images: what of the images belongs to a trained network, as plain values.

    Raises:
        SenetError: ``out`` holds another experiment or other files.
    """
    settings = {
        "command": command,
        "checksum": checksum(identity),
        "identity": identity,
        "arguments": arguments or {},
        "threads": threads,
        "images": images or {},
        "versions": versions(model),
    }
    return claim(out, name, settings)


def claim(out: Path | None, name: str, settings: Mapping[str, Any]) -> Path:
    """Return the folder for an experiment, given all that is to be written in it; see `claim_folder`."""
    identity = settings["identity"]
    folder = out or next(each for each in _candidates(name) if _free_or_same(each, identity))
    # Settings are written before anything else, so what is there without them is not a run.
    occupied = not _free(folder)
    stored = read_settings(folder)
    if stored is None:
        if occupied:
            raise SenetError(
                f"The folder {folder} contains files that are not a senet run: choose a new or empty one "
                "with --out."
            )
        make_folder(folder)
        if write_once(folder / SETTINGS_NAME, _as_text(settings)):
            return folder
        stored = read_settings(folder) or dict(settings)  # another job was quicker
    begun = stored["identity"]
    if extends(identity, begun):  # fewer epochs are asked for than these settings say
        begun = _longest_begun(folder, begun)
    refuse_other_training(begun, identity, folder)
    settings = {**settings, "threads": stored.get("threads") or settings["threads"]}
    if _as_text(settings) != _as_text(stored):
        with lock_folder(folder):
            write_text(folder / SETTINGS_NAME, _as_text(settings))
    return folder


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What an identity holds, as plain values; an older senet's may lack some.

    Attributes:
        model: name of the plain network.
        se: the fields of its twin's `SEConfig`.
        recipe: the fields of the recipe, every one with a value.
        variant: ``"plain"`` or ``"se"``, of one training of a comparison.
        weights: what `senet.experiments.start_weights.StartWeights.identity` tells.
    """

    model: str
    se: SEConfig | None
    recipe: FittedRecipe
    variant: Literal["plain", "se"] | None = None
    seed: int | None = None
    job: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    images: str = ""
    weights: _Start | None = None


@dataclass(frozen=True, kw_only=True)
class _Start:
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    data: str | None = None
    seeds: int | None = None
    test_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and not 1 <= self.seeds <= _MOST_SEEDS:
            raise SchemaError(f"settings.arguments.seeds must be from 1 to {_MOST_SEEDS}, not {self.seeds}")


@dataclass(frozen=True, kw_only=True)
class _Images:
    """What `senet.experiments.images.ReadyImages.kept` tells; an older senet wrote nothing."""

    classes: tuple[str, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if (
            not len(self.mean) == len(self.std) == self.channels >= 1
            or not all(map(math.isfinite, (*self.mean, *self.std)))
            or min(self.std) <= 0
        ):
            raise SchemaError(
                "settings.images must have a finite mean and a std above 0 for each of its channels"
            )


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The schema of ``settings.json``; more keys are allowed."""

    identity: dict[str, Any]
    command: str = ""
    checksum: str = ""
    arguments: _Arguments = _Arguments()
    threads: int | None = None
    images: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= _MOST_THREADS:
            raise SchemaError(f"settings.threads must be from 1 to {_MOST_THREADS}, not {self.threads}")


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Return what `claim_folder` wrote into a folder, or ``None`` where it wrote nothing.

    Raises:
        SenetError: the file is damaged, or somebody changed it into something that cannot be.
    """
    path = folder / SETTINGS_NAME
    if not path.exists():
        return None
    try:
        settings: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        schema = Schema(extensible=(_Settings, _Arguments, _Images))
        schema.build(_Settings, settings, "settings")
        if settings.get("images"):
            schema.build(_Images, settings["images"], "settings.images")
    except (ValueError, OSError) as error:  # SchemaError and wrong UTF-8 are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SenetError(
            f"{path} cannot be read ({reason}): start over in another folder with --out, or restore the "
            f"{SETTINGS_NAME} that the same command writes there."
        ) from error
    return settings


def read_experiment(identity: Mapping[str, Any], source: Path) -> Experiment:
    """Return what an identity holds.

    Args:
        identity: of an experiment or of one of its trainings, as plain values.
        source: where it stands.

    Raises:
        SenetError: it is none, or of another senet.
    """
    try:
        schema = Schema(extensible=(Experiment, _Start))
        experiment: Experiment = schema.build(Experiment, dict(identity), "identity")
        return experiment
    except SenetError as error:
        reason = str(error).rstrip(".")[:200]
        raise SenetError(
            f"{source} cannot be used ({reason}): use the senet version that wrote it, or train in "
            "another folder with --out."
        ) from error


def _longest_begun(folder: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Return ``identity`` with the recipe of the longest training that was begun.

    Where an extension was stopped before it saved anything, the settings say more epochs than that.
    """
    stored = [read_training(each, 1) for each in (folder, *folder.glob("seed*-*"))]
    recipes: list[dict[str, Any]] = [each.identity.get("recipe") or {} for each in stored if each]
    shorter = [recipe for recipe in recipes if extends({**identity, "recipe": recipe}, identity)]
    if not recipes or len(shorter) < len(recipes):
        return identity
    return {**identity, "recipe": max(shorter, key=lambda recipe: recipe["epochs"])}


def _as_text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def _candidates(name: str) -> Iterator[Path]:
    safe = re.sub(r"[^\w.]+", "-", name.lower()).strip("-.") or "run"
    yield Path("runs") / safe
    yield from (Path("runs") / f"{safe}-{number}" for number in count(2))


def _free_or_same(folder: Path, identity: Mapping[str, Any]) -> bool:
    try:
        free, stored = _free(folder), read_settings(folder)
    except SenetError:
        return False
    return free if stored is None else not differences(stored["identity"], identity, "", "")


def _free(folder: Path) -> bool:
    if not folder.exists():
        return True
    return folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir())
