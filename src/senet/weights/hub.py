"""Checkpoints in repositories of the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from senet.errors import SenetError
from senet.networks.preprocess import WORDNET_ORDER, Preprocess
from senet.text import counted
from senet.weights.checkpoint import Checkpoint
from senet.weights.download import reachable, reason_of
from senet.weights.known import TIMM
from senet.weights.read import read_checkpoint

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_CONFIG = "config.json"
# The first of these that a repository has; otherwise its only file with one of the suffixes.
_NAMES = ("model.safetensors", "pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


def is_repository(weights: str) -> bool:
    """Tell whether ``weights`` has the form ``owner/name``."""
    return REPOSITORY.fullmatch(weights) is not None


def hub_checkpoint(repository: str) -> Checkpoint:
    """Read the checkpoint of a repository, downloaded once into the Hub's cache.

    Its ``config.json``, where there is one as timm writes it, tells the preprocessing and the network.

    Raises:
        SenetError: `huggingface_hub` is missing, the repository does not exist, needs permission or has no
            checkpoint, the network is down, or as `read_checkpoint`.
    """
    if not is_repository(repository):
        raise SenetError(
            f"{repository!r} is not the name of a repository on the Hugging Face Hub: give it as owner/name."
        )
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise SenetError(
            f"{repository!r} is not a file on this machine; to look for it on the Hugging Face Hub, first "
            'run pip install "senet[hub]".'
        ) from error
    files = _files(huggingface_hub, repository)
    name = _weights_file(files, repository)
    checkpoint = read_checkpoint(_fetched(huggingface_hub, repository, name), source=f"{repository}/{name}")
    if _CONFIG not in files or checkpoint.own:
        return checkpoint
    return _with_config(checkpoint, _fetched(huggingface_hub, repository, _CONFIG), repository)


def _weights_file(files: list[str], repository: str) -> str:
    for name in _NAMES:
        if name in files:
            return name
    found = sorted(file for file in files if file.endswith(_SUFFIXES))
    if len(found) == 1:
        return found[0]
    if not found:
        raise SenetError(
            f"{repository} on the Hugging Face Hub has no checkpoint that senet can read: "
            "download it and "
            "convert it to safetensors."
        )
    raise SenetError(
        f"{repository} on the Hugging Face Hub has {counted(len(found), 'checkpoint')}, {found[0]} and "
        "others: download one of them and give its path as weights."
    )


def _with_config(checkpoint: Checkpoint, path: Path, repository: str) -> Checkpoint:
    """Add what a ``config.json`` tells, if it is one that timm writes."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if "pretrained_cfg" not in config:
            return checkpoint
        return dataclasses.replace(
            checkpoint,
            package=TIMM,
            architecture=str(config.get("architecture", "")) or None,
            preprocess=timm_preprocess(config["pretrained_cfg"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SenetError(
            f"{_CONFIG} of {repository} is invalid ({reason_of(error)}): download only the checkpoint and "
            "give its path as weights."
        ) from error


def timm_preprocess(config: dict[str, Any]) -> Preprocess:
    """Return the preprocessing that timm's ``pretrained_cfg`` describes."""
    channels, crop, _ = config["input_size"]
    return Preprocess(
        crop=crop,
        resize=int(crop / config["crop_pct"]),
        interpolation=config["interpolation"],
        channels=channels,
        mean=config["mean"],
        std=config["std"],
        labels=WORDNET_ORDER if config["num_classes"] == 1000 else None,
    )


def _files(hub: ModuleType, repository: str) -> list[str]:
    """List a repository's files; without a network, those that an earlier download left in the cache."""
    if not reachable(hub.constants.ENDPOINT):
        cached = _cached(hub, repository)
        if not cached:
            raise SenetError(
                f"{repository!r} is not a file on this machine, and the Hugging Face Hub cannot be "
                "reached: check the spelling of the path, or the network."
            )
        return cached
    try:
        return list(hub.HfApi().list_repo_files(repository))
    except Exception as error:
        # The errors of a network that is down belong to the HTTP client, which differs by version.
        missing = isinstance(error, hub.errors.RepositoryNotFoundError)
        cached = [] if missing else _cached(hub, repository)
        if not cached:
            raise _explained(hub, repository, error) from error
        return cached


def _cached(hub: ModuleType, repository: str) -> list[str]:
    try:
        folder = Path(hub.snapshot_download(repository, local_files_only=True))
    except hub.errors.LocalEntryNotFoundError:
        return []
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _fetched(hub: ModuleType, repository: str, name: str) -> Path:
    try:
        return Path(hub.hf_hub_download(repository, name))
    except Exception as error:
        raise _explained(hub, repository, error) from error


def _explained(hub: ModuleType, repository: str, error: Exception) -> SenetError:
    if isinstance(error, hub.errors.GatedRepoError):
        return SenetError(
            f"{repository} is gated: request access at huggingface.co/{repository}, then log in with `hf "
            "auth login`."
        )
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return SenetError(
            f"{repository!r} is not a file on this machine, nor a repository on the Hugging Face Hub that "
            "you can access: check the spelling, or log in with `hf auth login`."
        )
    return SenetError(
        f"{repository!r} is not a file on this machine, and could not be downloaded from the Hugging Face "
        f"Hub ({reason_of(error)}): check the network and try again."
    )
