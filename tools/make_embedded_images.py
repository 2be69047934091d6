"""Make the images that come with senet from Fashion-MNIST's four original files.

They are, for instance, in Debian's package dataset-fashion-mnist, under
/usr/share/datasets/fashion-mnist:

    python tools/make_embedded_images.py /usr/share/datasets/fashion-mnist

The same files give the same bytes (with the same version of zlib).
"""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from senet.data.embedded import CLASSES, FILE
from senet.errors import SenetError
from senet.files import write_bytes

# Part: prefix of the original files and images taken of each class.
PARTS = {"train": ("train", 500), "test": ("t10k", 100)}

UNSIGNED_BYTE = 8


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one gzip-compressed IDX file of unsigned bytes, the format of MNIST.

    Raises:
        SenetError: the file is missing or not of that format.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        kind, dimensions = struct.unpack_from(">HBB", content)[1:]
        shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise SenetError(f"{path} cannot be read as an IDX file ({error}).") from error
    if kind != UNSIGNED_BYTE:
        raise SenetError(f"{path} has values of kind {kind}, and unsigned bytes (8) are needed.")
    return values


def make(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Take the first images of each class and keep them in their original order.

    Args:
        folder: with Fashion-MNIST's four ``.gz`` files.

    Returns:
        For "train" and "test": images (N, 28, 28) uint8, labels (N,) uint8 and numbers (N,) uint16, the
        images' positions in the original files.

    Raises:
        SenetError: files are missing or hold too few images.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part, (prefix, count) in PARTS.items():
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        firsts = [np.flatnonzero(labels == label)[:count] for label in range(len(CLASSES))]
        if any(len(first) < count for first in firsts):
            raise SenetError(f"{folder} has fewer than {count} {part} images of a class.")
        numbers = np.sort(np.concatenate(firsts))
        arrays[f"{part}_images"] = images[numbers]
        arrays[f"{part}_labels"] = labels[numbers]
        arrays[f"{part}_numbers"] = numbers.astype(np.uint16)
    return arrays


def pack(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    """Return a compressed ``.npz`` file; unlike `numpy.savez_compressed` without the time of day."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # the same on every operating system
            file.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="with Fashion-MNIST's four .gz files")
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: in the package)")
    options = parser.parse_args(arguments)
    try:
        content = pack(make(options.folder))
        write_bytes(options.out, content)
    except SenetError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
