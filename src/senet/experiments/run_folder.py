"""Which folder an experiment writes to, and the settings it keeps there."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch

import senet
from senet.errors import SenetError
from senet.files import make_folder, write_text
from senet.networks.foreign import package_version
from senet.training.identity import refuse_other_training

SETTINGS_NAME = "settings.json"


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
        "processor": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }


def claim_folder(
    out: Path | None, name: str, identity: Mapping[str, Any], command: str, *, model: str = ""
) -> Path:
    """Return the folder for an experiment, with its settings written in it.

    An experiment of the same identity goes on in its folder. Without ``out`` the first of
    ``runs/name``, ``runs/name-2``, … is taken that is free or holds this very experiment.

    Args:
        out: the folder the user named.
        name: what to call it otherwise; made safe for a file system.
        identity: what the experiment is, as plain values.
        command: the one command that repeats it.
        model: name of the plain network, whose package's version is written down.

    Raises:
        SenetError: ``out`` holds another experiment or other files.
    """
    folder = out or next(each for each in _candidates(name) if _free_or_same(each, identity))
    stored = _stored_identity(folder)
    if stored is not None:
        refuse_other_training(stored, identity, folder)
    elif not _free(folder):
        raise SenetError(
            f"The folder {folder} holds files that are not a senet run: name a new or empty one with --out."
        )
    make_folder(folder)
    settings = {"command": command, "identity": identity, "versions": versions(model)}
    write_text(folder / SETTINGS_NAME, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return folder


def _candidates(name: str) -> Iterator[Path]:
    safe = re.sub(r"[^\w.]+", "-", name.lower()).strip("-.") or "run"
    yield Path("runs") / safe
    yield from (Path("runs") / f"{safe}-{number}" for number in count(2))


def _free_or_same(folder: Path, identity: Mapping[str, Any]) -> bool:
    try:
        stored = _stored_identity(folder)
        if stored is None:
            return _free(folder)
        refuse_other_training(stored, identity, folder)
    except SenetError:
        return False
    return True


def _free(folder: Path) -> bool:
    if not folder.exists():
        return True
    return folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir())


def _stored_identity(folder: Path) -> dict[str, Any] | None:
    path = folder / SETTINGS_NAME
    if not path.exists():
        return None
    try:
        identity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SenetError(
            f"{path} cannot be read: name a new folder with --out, or delete this one."
        ) from error
    return identity
