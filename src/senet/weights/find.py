"""Where weights are: a file, a repository of the Hub, or a row of the table of released checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

from senet.errors import SenetError, nearest
from senet.files import user_path
from senet.weights.checkpoint import Checkpoint
from senet.weights.download import download
from senet.weights.hub import hub_checkpoint, is_repository
from senet.weights.read import read_checkpoint
from senet.weights.released import PACKAGE_TAGS, Release, list_weights, release_of_file, release_of_tag

CHECKPOINT_NAME, PREVIOUS_NAME = "checkpoint.pt", "checkpoint.previous.pt"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_MOST_SHOWN = 8
_HUB_PREFIX = "hf-hub:"


def find_checkpoint(weights: str | Path, name: str) -> Checkpoint:
    """Read the checkpoint that ``weights`` means for the network ``name``.

    Raises:
        SenetError: there is no such file, repository or tag, or it cannot be had or read.
    """
    if not isinstance(weights, str | PurePath) or not str(weights):
        kind = "an empty string" if isinstance(weights, str) else f"a value of type {type(weights).__name__}"
        raise SenetError(
            "weights must be a path, owner/name on the Hugging Face Hub, or one of senet.list_weights(), "
            f"not {kind}."
        )
    path = user_path(weights)
    if path.is_dir() and (isinstance(weights, PurePath) or release_of_tag(weights, name) is None):
        return _of_folder(path)
    if isinstance(weights, PurePath) or path.is_file():
        return _with_release(read_checkpoint(path), release_of_file(path.name))
    file, _, chosen = str(path).rpartition("#")
    if file and Path(file).exists():
        path = Path(file)
        return read_checkpoint(run_checkpoint(path) if path.is_dir() else path, chosen=chosen)
    if weights.startswith(_HUB_PREFIX):
        return hub_checkpoint(weights.removeprefix(_HUB_PREFIX))
    release = release_of_tag(weights, name)
    if release is not None:
        return _released(release)
    if is_repository(weights):
        return _hub_or_hint(weights)
    tags = [*PACKAGE_TAGS, *list_weights(name)]
    shown = ", ".join(tags[:_MOST_SHOWN]) + (" or more of senet.list_weights" if tags[_MOST_SHOWN:] else "")
    raise SenetError(
        f"There is no file {weights!r}, and it is neither owner/name on the Hugging Face Hub nor a "
        f"released checkpoint of {name}: check the path, or choose one of {shown}.{nearest(weights, tags)}"
    )


def run_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint in a run folder.

    Raises:
        SenetError: there is none; the sentence names what there is.
    """
    for name in (CHECKPOINT_NAME, PREVIOUS_NAME):
        if (folder / name).is_file():
            return folder / name
    trainings = sorted(each.parent.name for each in folder.glob(f"*/{CHECKPOINT_NAME}"))
    if trainings:
        raise SenetError(
            f"{folder} contains several trainings: choose one of its folders {', '.join(trainings)}, such "
            f"as {folder / trainings[-1]}."
        )
    files = sorted(each.name for each in folder.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if files:
        shown = ", ".join(files[:_MOST_SHOWN])
        raise SenetError(f"{folder} is a folder without {CHECKPOINT_NAME}: choose a file in it ({shown}).")
    raise SenetError(
        f"{folder} is a folder without {CHECKPOINT_NAME} or another file of weights: give a run folder or "
        "a file of weights."
    )


def _of_folder(folder: Path) -> Checkpoint:
    path = run_checkpoint(folder)
    try:
        checkpoint = read_checkpoint(path)
    except SenetError:
        earlier = folder / PREVIOUS_NAME
        if path == earlier or not earlier.is_file():
            raise
        path, checkpoint = earlier, read_checkpoint(earlier)
    if path.name == CHECKPOINT_NAME:
        return checkpoint
    note = f"{folder / CHECKPOINT_NAME} is missing or damaged: {PREVIOUS_NAME} is used instead."
    return replace(checkpoint, notes=(*checkpoint.notes, note))


def _hub_or_hint(repository: str) -> Checkpoint:
    """Read from the Hub; where that fails, ``cadene/se_resnet5`` was meant to be a tag."""
    try:
        return hub_checkpoint(repository)
    except SenetError as error:
        is_like_a_tag = repository.split("/", maxsplit=1)[0] in PACKAGE_TAGS
        hint = nearest(repository, list_weights()) if is_like_a_tag else ""
        raise SenetError(f"{error}{hint}") from error


def _released(release: Release) -> Checkpoint:
    if release.url is None:
        checkpoint = hub_checkpoint(release.repository)
    else:
        checkpoint = read_checkpoint(download(release.url, hashed=release.hashed))
    return _with_release(checkpoint, release)


def _with_release(checkpoint: Checkpoint, release: Release | None) -> Checkpoint:
    """Add what the table knows about a published file."""
    if release is None or checkpoint.own:
        return checkpoint
    return replace(checkpoint, package=release.package, preprocess=release.preprocess)
