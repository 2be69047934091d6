"""The one door to images: `open_images`, whatever they are stored in."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

from senet.checks import callable_or_none, finite_number, require_type, true_or_false, whole_number
from senet.data.arrow import open_arrow_files, open_arrow_folder
from senet.data.csv_list import open_csv
from senet.data.embedded import open_embedded
from senet.data.folder import open_folder
from senet.data.formats import SUFFIXES
from senet.data.hub import is_hub_name, open_hub
from senet.data.listing import ARCHIVES, files_below
from senet.data.parquet import open_parquet_files, open_parquet_folder
from senet.data.parts import SplitFiles, split_files
from senet.data.source import ImageData
from senet.data.tar import COMPRESSED_SUFFIXES, expand_braces, open_tar_files, open_tar_folder
from senet.data.tar_remote import open_remote_tar
from senet.errors import SenetError
from senet.files import user_path

DEFAULT_TEST_FRACTION = 0.2
ALLOWED = (
    "a folder of class folders; a parquet, Arrow or WebDataset tar file, or a folder of them; a CSV file "
    "of path,label; a brace pattern of tar files such as train-{0000..0099}.tar, also at https://; or a "
    "dataset on the Hugging Face Hub such as owner/name, or hf://owner/name to stream it"
)
STREAM_PREFIX = "hf://"
ADDRESS = re.compile(r"(?P<scheme>\w[\w+.-]*)://")
ALONE = {".parquet": open_parquet_files, ".arrow": open_arrow_files, ".tar": open_tar_files}
IN_FOLDERS = {".parquet": open_parquet_folder, ".arrow": open_arrow_folder, ".tar": open_tar_folder}
WORDS = {
    ".parquet": "parquet files",
    ".arrow": "Arrow files",
    ".tar": "tar files",
    "pictures": "image files",
}


def open_images(
    data: str | Path | None,
    *,
    test_fraction: float | None = None,
    seed: int = 0,
    stream: bool = False,
    cache_gb: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Open training and test images.

    Args:
        data: `ALLOWED` lists what may be given; a string that is also a path here is the path. Tar files
            are WebDataset shards (``007.jpg`` beside ``007.cls``); those at an address are fetched once
            into the cache folder, ``$SENET_CACHE`` or ``~/.cache/senet``. ``None`` opens the 6,000
            Fashion-MNIST images that come with senet.
        test_fraction: of each class, where no validation or test part is given; ``None`` takes
            `DEFAULT_TEST_FRACTION`.
        seed: of that split.
        stream: fetch each shard of a Hub data set when its first image is needed, not before; so does a
            name that begins with ``hf://``.
        cache_gb: gigabytes of streamed shards to keep on the disk, those opened last; ``None`` takes
            what is free there but for 1 GB.
        progress: called with shards fetched and shards in all where tar files are fetched.

    Raises:
        SenetError: there is nothing of that name, or it cannot be used, or an option has no effect on
            what is given; the sentence says which.
    """
    if data is not None:
        wanted = "a path, the name of a dataset on the Hub, or None for the built-in images"
        require_type("data", data, (str, os.PathLike), wanted)
    seed = whole_number("seed", seed)
    true_or_false("stream", stream)
    callable_or_none("progress", progress, "a function of the shards that are done and of all")
    if test_fraction is not None:
        share = "a number between 0 and 1"
        if not 0 < finite_number("test_fraction", test_fraction, share) < 1:
            raise SenetError(f"test_fraction must be {share}, not {test_fraction}.")
    if cache_gb is not None and not finite_number("cache_gb", cache_gb, "a number above 0") > 0:
        raise SenetError(f"cache_gb must be above 0, not {cache_gb}.")
    fraction = DEFAULT_TEST_FRACTION if test_fraction is None else test_fraction
    streamed = _streamed_name(data, stream, cache_gb)
    if streamed is not None:
        opened = open_hub(streamed, test_fraction=fraction, seed=seed, stream=True, cache_gb=cache_gb)
        opened = dataclasses.replace(opened, location=str(data))
    else:
        opened = _open(data, test_fraction=fraction, seed=seed, progress=progress)
    if test_fraction is not None and opened.own_test:
        raise SenetError(
            f"test_fraction {test_fraction} has no effect on {opened.location}, which has a test split: "
            "leave it out."
        )
    return opened


def _streamed_name(data: str | Path | None, stream: bool, cache_gb: float | None) -> str | None:
    """Return the Hub name that is to be streamed, or ``None`` where nothing is.

    Raises:
        SenetError: streaming, or a limit to it, is asked for where it has no effect.
    """
    prefixed = isinstance(data, str) and data.startswith(STREAM_PREFIX)
    if not stream and not prefixed:
        if cache_gb is not None:
            raise SenetError(
                f"cache_gb {cache_gb:g} has no effect on {data}: only datasets streamed from the Hub "
                "(hf://owner/name, or --stream) use a limited cache, so leave it out."
            )
        return None
    name = str(data).removeprefix(STREAM_PREFIX).removeprefix("datasets/")
    if data is None or not is_hub_name(name) or (not prefixed and user_path(data).exists()):
        raise SenetError(
            f"{data or 'The built-in dataset'} cannot be streamed: only datasets on the Hugging Face Hub, "
            "such as owner/name, can, so leave out --stream."
        )
    return name


def _open(
    data: str | Path | None,
    *,
    test_fraction: float,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> ImageData:
    if data is None:
        return open_embedded()
    path = user_path(data)
    if path.is_dir():
        # Without resolving, "." would have no name.
        opened = _open_folder(path.resolve(), test_fraction=test_fraction, seed=seed)
    elif path.is_file():
        opened = _open_file(path, test_fraction=test_fraction, seed=seed)
    elif str(data).startswith("pipe:"):
        raise SenetError(
            f"{data} would run a command, which senet never does: download the shards first, or give "
            "their https:// address."
        )
    elif isinstance(data, str) and ADDRESS.match(data):
        return _open_address(data, test_fraction=test_fraction, seed=seed, progress=progress)
    elif "{" in str(data) or "::" in str(data):
        opened = _open_shards(str(data), test_fraction=test_fraction, seed=seed)
    elif isinstance(data, str) and is_hub_name(data):
        return open_hub(data, test_fraction=test_fraction, seed=seed)
    else:
        raise SenetError(f"There is no {data}: give {ALLOWED}.")
    return dataclasses.replace(opened, location=str(data))


def _open_file(path: Path, *, test_fraction: float, seed: int) -> ImageData:
    kind = path.suffix.lower()
    if path.name.lower().endswith(COMPRESSED_SUFFIXES):
        raise SenetError(
            f"{path} is compressed, so single images in it cannot be read: decompress it to a .tar file "
            "(for example with gunzip) or unpack it to class folders."
        )
    if kind in ARCHIVES:
        raise SenetError(f"{path} is an archive: unpack it and give the folder with the images.")
    if kind in (".csv", ".tsv"):
        opened = open_csv(path, test_fraction=test_fraction, seed=seed)
    elif kind in ALONE:
        only = SplitFiles(train=(path.name,), test=(), others=())
        opened = ALONE[kind](path.parent, only, test_fraction=test_fraction, seed=seed)
    else:
        raise SenetError(f"{path}: unsupported file type; give {ALLOWED}.")
    return dataclasses.replace(opened, name=path.stem)


def _open_shards(pattern: str, *, test_fraction: float, seed: int) -> ImageData:
    """Open local tar files by a brace expression."""
    paths = [user_path(name) for name in expand_braces(pattern)]
    wrong = next((path for path in paths if path.suffix.lower() != ".tar"), None)
    if wrong is not None:
        raise SenetError(f"There is no {wrong}: brace patterns are only supported for .tar files.")
    root = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    names = [path.absolute().relative_to(root).as_posix() for path in paths]
    if len(set(names)) < len(names):
        raise SenetError(f"{pattern} lists a shard twice: list each one once.")
    files = split_files(names, "tar")
    return open_tar_files(root, files, test_fraction=test_fraction, seed=seed)


def _open_address(
    data: str, *, test_fraction: float, seed: int, progress: Callable[[int, int], None] | None
) -> ImageData:
    urls = expand_braces(data)
    for url in urls:
        match = ADDRESS.match(url)
        if match is None or match["scheme"].lower() not in ("http", "https"):
            raise SenetError(
                f"{url} cannot be downloaded: only https:// and http:// addresses and hf:// names are "
                "supported, so download it with another program first."
            )
        if not url.partition("?")[0].lower().endswith(".tar"):
            raise SenetError(f"{url} is not a tar file: give {ALLOWED}.")
    return open_remote_tar(data, urls, test_fraction=test_fraction, seed=seed, progress=progress)


def _open_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    kinds, compressed = _contents(root)
    if len(kinds) > 1:
        found = " and ".join(WORDS[kind] for kind in sorted(kinds))
        raise SenetError(f"{root} contains both {found}: give a folder that contains only one kind.")
    kind = next(iter(kinds), "pictures")
    if kind in IN_FOLDERS:
        return IN_FOLDERS[kind](root, test_fraction=test_fraction, seed=seed)
    if compressed and not kinds:
        return _open_file(root / compressed, test_fraction=test_fraction, seed=seed)
    return open_folder(root, test_fraction=test_fraction, seed=seed)


def _contents(root: Path) -> tuple[set[str], str]:
    """Tell which kinds of files there are, in one pass at most, and the first compressed tar file."""
    kinds: set[str] = set()
    compressed = ""
    for folder, files in files_below(root):
        for name in files:
            lower = name.lower()
            if lower.endswith(SUFFIXES):
                kinds.add("pictures")
            elif lower.endswith(tuple(IN_FOLDERS)):
                kinds.add(Path(lower).suffix)
            elif lower.endswith(COMPRESSED_SUFFIXES):
                compressed = compressed or str((folder / name).relative_to(root))
        if len(kinds) > 1 or ("pictures" in kinds and folder != root):
            break  # pictures inside folders: class folders, which have been read far enough
    return kinds, compressed
