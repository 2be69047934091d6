"""Image data sets of the Hugging Face Hub, downloaded as parquet files, or streamed shard by shard."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

from senet.data.parquet import open_parquet_files
from senet.data.parts import split_files
from senet.data.source import ImageData
from senet.data.split import listed, part_of
from senet.data.stream import open_stream
from senet.errors import SenetError, nearest

NAME = re.compile(r"(?P<repository>\w[\w.-]*(/\w[\w.-]*)?)(:(?P<config>[\w.-]+))?")

SHA256 = re.compile("[0-9a-f]{64}")
SECONDS_TO_ANSWER = 10.0
# The repository's own files, then the parquet copy the Hub makes of most other data sets.
REVISIONS = (None, "refs/convert/parquet")


def is_hub_name(data: str) -> bool:
    """Tell whether ``data`` has the form ``owner/name``, ``name`` or either with ``:config``."""
    return NAME.fullmatch(data) is not None


def open_hub(
    data: str, *, test_fraction: float, seed: int, stream: bool = False, cache_gb: float | None = None
) -> ImageData:
    """Download (once; the Hub's cache is used) and open a data set such as ``owner/name:config``.

    Args:
        data: the name.
        test_fraction: of each class, where there is no test part.
        seed: of that split.
        stream: download nothing now, but each shard when its first image is needed.
        cache_gb: of streamed shards, as `open_stream` says.

    Raises:
        SenetError: `huggingface_hub` is missing, the data set does not exist, needs permission or has
            no parquet files, the network is down, or as `open_parquet_files`.
    """
    match = NAME.fullmatch(data)
    assert match is not None, "open_images asks is_hub_name first"
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise SenetError(
            f"{data!r} is not a file or folder on this machine; to look for it on the Hugging Face Hub, "
            'first run pip install "senet[hub]".'
        ) from error
    repository = match["repository"]
    for revision in REVISIONS:
        files = [file for file in _files(huggingface_hub, repository, revision) if file.endswith(".parquet")]
        if files:
            break
    else:
        raise SenetError(
            f"The dataset {repository} on the Hugging Face Hub has no parquet files: download it and give "
            "its folder of class folders."
        )
    chosen = split_files(_of_config(files, match["config"], repository), "parquet")
    if stream and "/" not in repository:
        raise SenetError(f"To stream {repository!r}, give it with its owner, as owner/{repository}.")
    if stream:
        root = f"datasets/{repository}" + (f"@{quote(revision, safe='')}" if revision else "")
        hub_files = partial(_hub_files, huggingface_hub.constants.ENDPOINT)
        opened = open_stream(
            hub_files, root, chosen, cache_gb=cache_gb, test_fraction=test_fraction, seed=seed
        )
    else:
        wanted = [*chosen.train, *chosen.test]
        download = partial(_download, huggingface_hub, repository, revision, wanted)
        folder = _undamaged(download(), wanted, download)
        opened = open_parquet_files(folder, chosen, test_fraction=test_fraction, seed=seed)
    return dataclasses.replace(opened, name=repository.rsplit("/", maxsplit=1)[-1], location=data)


def _hub_files(endpoint: str) -> Any:
    """Return the Hub as a file system; within a process it is the same one each time."""
    from huggingface_hub import HfFileSystem

    return HfFileSystem(endpoint=endpoint)


def _of_config(files: list[str], wanted: str | None, repository: str) -> list[str]:
    """Choose the files of one configuration: the top folder, unless that only names a part."""
    configs: dict[str, list[str]] = {}
    for file in sorted(files):
        folders = PurePosixPath(file).parts[:-1]
        unnamed = not folders or folders[0].lower() == "data" or part_of(folders[0]) is not None
        configs.setdefault("default" if unnamed else folders[0], []).append(file)
    if wanted is None and len(configs) == 1:
        return next(iter(configs.values()))
    if wanted is None and "default" in configs:
        return configs["default"]
    if wanted is None:
        raise SenetError(
            f"The dataset {repository} has the configurations {listed(list(configs))}: choose one, such "
            f"as {repository}:{next(iter(configs))}."
        )
    if wanted not in configs:
        raise SenetError(
            f"The dataset {repository} has no configuration {wanted!r}; choose one of "
            f"{listed(list(configs))}." + nearest(wanted, configs)
        )
    return configs[wanted]


def _files(hub: ModuleType, repository: str, revision: str | None) -> list[str]:
    """List a repository's files; without a network, those that an earlier download left in the cache."""
    if not _reachable(hub):
        cached = _cached(hub, repository, revision)
        if not cached:
            raise SenetError(
                f"{repository!r} is not a file or folder on this machine, and the Hugging Face Hub cannot "
                "be reached: check the spelling of the path, or the network."
            )
        return cached
    try:
        return list(hub.HfApi().list_repo_files(repository, repo_type="dataset", revision=revision))
    except hub.errors.RevisionNotFoundError:
        return []
    except Exception as error:
        # The errors of a network that is down belong to the HTTP client, which differs by version.
        missing = isinstance(error, hub.errors.RepositoryNotFoundError)
        cached = [] if missing else _cached(hub, repository, revision)
        if not cached:
            raise _explained(hub, repository, error) from error
        return cached


def _reachable(hub: ModuleType) -> bool:
    """Tell whether the Hub answers; asked once, where huggingface_hub would try again for half a minute."""
    if getproxies():
        return True  # a proxy may answer where the Hub itself does not
    address = urlsplit(hub.constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True


def _cached(hub: ModuleType, repository: str, revision: str | None) -> list[str]:
    try:
        folder = hub.snapshot_download(
            repository, repo_type="dataset", revision=revision, local_files_only=True
        )
    except hub.errors.LocalEntryNotFoundError:
        return []
    return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.parquet")]


def _download(hub: ModuleType, repository: str, revision: str | None, files: list[str]) -> Path:
    try:
        return Path(
            hub.snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=files)
        )
    except Exception as error:
        raise _explained(hub, repository, error) from error


def _undamaged(folder: Path, files: list[str], download: Callable[[], Path]) -> Path:
    """Return the folder of downloaded files, fetched again where one is not what it was.

    Large files are kept under the hash of their content, to which names such as train-0.parquet are links.
    """
    for again in (True, False):
        wrong = [path for file in files if not _is_its_hash(path := (folder / file).resolve())]
        if not wrong:
            return folder
        if not again:
            break
        for path in wrong:
            path.unlink()
        folder = download()
    raise SenetError(
        f"{wrong[0]} is damaged even after downloading it again: check the disk, or set HF_HOME to a "
        "folder on another one."
    )


def _is_its_hash(path: Path) -> bool:
    if SHA256.fullmatch(path.name) is None:
        return True  # a small file, or a system without links: nothing to compare with
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == path.name


def _explained(hub: ModuleType, repository: str, error: Exception) -> SenetError:
    if isinstance(error, hub.errors.GatedRepoError):
        return SenetError(
            f"The dataset {repository} is gated: request access at huggingface.co/datasets/{repository}, "
            "then log in with `hf auth login`."
        )
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return SenetError(
            f"{repository!r} is not a file or folder on this machine, nor a dataset on the Hugging Face "
            "Hub that you can access: check the spelling, or log in with `hf auth login`."
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return SenetError(
        f"{repository!r} is not a file or folder on this machine, and could not be downloaded from the "
        f"Hugging Face Hub ({reason}): check the network and try again."
    )
