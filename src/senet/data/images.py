"""The one door to images: `open_images`, whatever they are stored in."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from senet.data.decode import SUFFIXES
from senet.data.embedded import open_embedded
from senet.data.folder import open_folder
from senet.data.hub import is_hub_name, open_hub
from senet.data.parquet import open_parquet_files, open_parquet_folder
from senet.data.parts import SplitFiles
from senet.data.source import ImageData
from senet.errors import SenetError

DEFAULT_TEST_FRACTION = 0.2
ALLOWED = (
    "a folder of class folders, a parquet file or a folder of them, or a data set of the Hugging Face Hub "
    "such as owner/name"
)


def open_images(data: str | Path | None, *, test_fraction: float | None = None, seed: int = 0) -> ImageData:
    """Open training and test images.

    Args:
        data: a folder of class folders, a parquet file, a folder of parquet files, the name of a data
            set on the Hugging Face Hub (``owner/name`` or ``owner/name:config``; a string that is also a
            path here is the path), or ``None`` for the 6,000 Fashion-MNIST images that come with senet.
        test_fraction: of each class, where no validation or test part is given; ``None`` takes
            `DEFAULT_TEST_FRACTION`.
        seed: of that split.

    Raises:
        SenetError: there is nothing of that name, or it cannot be used, or a test fraction is asked for
            and there is a test part; the sentence says which.
    """
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise SenetError(f"The test fraction is {test_fraction}, and it must lie between 0 and 1.")
    fraction = DEFAULT_TEST_FRACTION if test_fraction is None else test_fraction
    opened = _open(data, test_fraction=fraction, seed=seed)
    if test_fraction is not None and opened.own_test:
        raise SenetError(
            f"A test fraction of {test_fraction} has no effect on {opened.location}: test images of "
            "their own come with them, so leave it out."
        )
    return opened


def _open(data: str | Path | None, *, test_fraction: float, seed: int) -> ImageData:
    if data is None:
        return open_embedded()
    path = Path(data).expanduser()
    if path.is_dir():
        # Without resolving, "." would have no name.
        opened = _open_folder(path.resolve(), test_fraction=test_fraction, seed=seed)
    elif path.is_file():
        opened = _open_file(path, test_fraction=test_fraction, seed=seed)
    elif isinstance(data, str) and is_hub_name(data):
        return open_hub(data, test_fraction=test_fraction, seed=seed)
    else:
        raise SenetError(f"There is no {data}: what may be given is {ALLOWED}.")
    return dataclasses.replace(opened, location=str(data))


def _open_file(path: Path, *, test_fraction: float, seed: int) -> ImageData:
    if path.suffix.lower() != ".parquet":
        raise SenetError(f"{path} is a file, but not a parquet file: what may be given is {ALLOWED}.")
    only = SplitFiles(train=(path.name,), test=(), others=())
    opened = open_parquet_files(path.parent, only, test_fraction=test_fraction, seed=seed)
    return dataclasses.replace(opened, name=path.stem)


def _open_folder(root: Path, *, test_fraction: float, seed: int) -> ImageData:
    has_parquet, has_pictures = _contents(root)
    if has_parquet and has_pictures:
        raise SenetError(
            f"{root} holds both parquet files and picture files: give the folder that holds the one or the "
            "other."
        )
    if has_parquet:
        return open_parquet_folder(root, test_fraction=test_fraction, seed=seed)
    return open_folder(root, test_fraction=test_fraction, seed=seed)


def _contents(root: Path) -> tuple[bool, bool]:
    """Tell whether there are parquet files and whether there are pictures, in one pass at most."""
    has_parquet = has_pictures = False
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = [name.lower() for name in files if not name.startswith(".")]
        has_parquet |= any(name.endswith(".parquet") for name in visible)
        has_pictures |= any(name.endswith(SUFFIXES) for name in visible)
        if (has_parquet and has_pictures) or (has_pictures and Path(folder) != root):
            break  # pictures inside folders: class folders, which have been read far enough
    return has_parquet, has_pictures
