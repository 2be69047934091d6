"""WebDataset shards on a web server: fetched once into the user's cache folder, then read as local ones."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from senet.data.cache import cache_folder
from senet.data.fetch import checked_url, fetch_all
from senet.data.parts import SplitFiles, split_files
from senet.data.source import ImageData
from senet.data.tar import open_tar_files
from senet.data.tar_index import require_whole
from senet.errors import SenetError


def open_remote_tar(
    location: str,
    urls: Sequence[str],
    *,
    test_fraction: float,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Fetch the shards that are not in the cache folder yet, and open them.

    Args:
        location: as given, for the data's description.
        urls: of the shards, ``http://`` or ``https://``.
        test_fraction: of each class, where no shard is named as a test part.
        seed: of that split.
        progress: called with shards fetched and shards in all.

    Raises:
        SenetError: a shard cannot be fetched or is no tar file, or as `open_tar_files`.
    """
    files = [(url, _place(url)) for url in urls]
    if len({path for _, path in files}) < len(files):
        raise SenetError(f"{location} lists a shard twice: list each one once.")
    fetch_all(files, check=_require_tar, progress=progress)
    root = Path(os.path.commonpath([path.parent for _, path in files]))
    names = [path.relative_to(root).as_posix() for _, path in files]
    # One shard is split whatever its name, as one parquet file is.
    whole = SplitFiles(train=tuple(names), test=(), others=())
    parts = whole if len(names) == 1 else split_files(names, "tar")
    opened = open_tar_files(root, parts, test_fraction=test_fraction, seed=seed)
    return dataclasses.replace(opened, location=location)


def _place(url: str) -> Path:
    """Return where a file belongs in the cache folder: two addresses never share a place."""
    address = urlsplit(checked_url(url))
    steps = [step for step in address.path.split("/") if step]
    if not address.hostname or not steps or any(step.startswith(".") for step in steps):
        raise SenetError(
            f"{url} is not the address of a file: give one such as https://host/folder/train-0000.tar."
        )
    server = address.hostname.replace(":", "_") + (f"_{address.port}" if address.port else "")
    if address.query:
        server += "_" + hashlib.blake2b(address.query.encode(), digest_size=6).hexdigest()
    return cache_folder("/".join(["shards", server, *steps[:-1]])) / steps[-1]


def _require_tar(path: Path) -> None:
    if not tarfile.is_tarfile(path):
        with path.open("rb") as stream:
            start = stream.read(60)
        raise SenetError(
            f"The server's response for {path.name.removesuffix('.part')} is not a tar file (it begins "
            f"with {start!r}): check the address, and whether the server requires a login."
        )
    require_whole(path)
