"""Where each sample of a WebDataset shard lies, found once by reading the headers of the tar file.

A sample is all files of one key, the path up to the first full stop of the file's name: ``007.jpg`` and
``007.cls``, or ``007.jpg`` and ``007.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from senet.data.cache import kept_table
from senet.data.formats import SUFFIXES
from senet.data.parts import role_of
from senet.data.source import Indices
from senet.data.split import listed
from senet.data.tables import short
from senet.errors import SenetError

# Changes whenever an index would come out differently.
VERSION = 3
LABEL_FILE = "cls"
LABEL_FIELDS = ("label", "class", "cls")
# A label takes a few bytes, a description in JSON a few thousand; more is something else.
MOST_LABEL_BYTES = 1_000_000
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}
UNPACK = (
    "decompress it once, for example with gunzip, since single images in a compressed file cannot be read"
)


class ShardIndex(NamedTuple):
    """The samples of one shard, in their order.

    Attributes:
        names: N paths of the pictures inside the tar file (a pyarrow array of strings).
        labels: N texts, likewise.
        offsets: (N,) int64, where the picture's bytes begin.
        sizes: (N,) int64, bytes of the picture.
    """

    names: Any
    labels: Any
    offsets: Indices
    sizes: Indices


class _Member(NamedTuple):
    name: str
    offset: int
    size: int


def shard_index(path: Path) -> ShardIndex:
    """Return the index of a shard, from the user's cache folder where the shard is unchanged since.

    Raises:
        SenetError: the shard is compressed, damaged or no tar file, or a sample has no picture or no label.
    """
    status = path.stat()
    what = f"{VERSION}\0{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    key = hashlib.blake2b(what.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    table = kept_table("tar", key, lambda: pa.table(read_index(path)._asdict()))
    return ShardIndex(
        names=table["names"].combine_chunks(),
        labels=table["labels"].combine_chunks(),
        offsets=table["offsets"].to_numpy(),
        sizes=table["sizes"].to_numpy(),
    )


def read_index(path: Path) -> ShardIndex:
    """Read the headers and labels of a shard; raises as `shard_index`."""
    with _opened(path) as stream:
        samples = _samples(stream, path)
        found = [_sample(stream, path, key, files) for key, files in samples.items()]
    if not found:
        raise SenetError(f"{path} contains no samples: it needs pairs of files such as 007.jpg and 007.cls.")
    members, labels = zip(*found, strict=True)
    return ShardIndex(
        names=pa.array([member.name for member in members], type=pa.string()),
        labels=pa.array(labels, type=pa.string()),
        offsets=np.array([member.offset for member in members], dtype=np.int64),
        sizes=np.array([member.size for member in members], dtype=np.int64),
    )


def require_whole(path: Path) -> None:
    """Raise `SenetError` unless a file is a tar file that can be read up to the zeros at its end."""
    with _opened(path) as stream:
        for _ in _members(stream, path):
            pass


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            _require_tar(stream, path)
            yield stream
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, RecursionError) as error:
        if isinstance(error, SenetError):
            raise
        # tarfile turns damaged numbers and texts of a header into errors of several kinds.
        raise SenetError(
            f"{path} cannot be read as a tar file ({short(error)}): it is truncated or damaged, so "
            "download it again."
        ) from error


def _require_tar(stream: BinaryIO, path: Path) -> None:
    start = stream.read(6)
    stream.seek(0)
    for magic, method in COMPRESSED.items():
        if start.startswith(magic):
            raise SenetError(f"{path} is compressed with {method}: {UNPACK}.")


def _samples(stream: BinaryIO, path: Path) -> dict[str, dict[str, _Member]]:
    """Return key → what follows the key's full stop → the file."""
    samples: dict[str, dict[str, _Member]] = {}
    for member in _members(stream, path):
        folder, _, file = member.name.rpartition("/")
        if member.isdir() or file.startswith(".") or "__MACOSX" in folder:
            continue
        if not member.isreg() or member.issparse():
            kind = "sparse file" if member.issparse() else "link or device"
            raise SenetError(
                f"{path} contains the {kind} {member.name}, which stores no bytes of its own: write the "
                "archive again with the files themselves (tar --dereference --hard-dereference, without "
                "--sparse)."
            )
        stem, _, kind = file.partition(".")
        files = samples.setdefault(f"{folder}/{stem}", {})
        if kind.lower() in files:
            raise SenetError(f"{path} contains {member.name} twice: the key of each sample must be unique.")
        files[kind.lower()] = _Member(member.name, member.offset_data, member.size)
    _require_one_part(samples, path)
    return samples


def _members(stream: BinaryIO, path: Path) -> Iterator[tarfile.TarInfo]:
    size, last = os.fstat(stream.fileno()).st_size, -1
    with tarfile.open(fileobj=stream, mode="r:", errors="replace") as tar:
        for member in tar:
            # Some versions of tarfile go back for a negative length, and round for ever.
            if member.offset <= last or member.size < 0 or member.offset_data + member.size > size:
                raise tarfile.ReadError(f"the size of {member.name} is given as {member.size:,} bytes")
            last = member.offset
            yield member
        _require_end(stream, tar.offset, path)


def _require_one_part(keys: Iterable[str], path: Path) -> None:
    """Raise where folders inside a shard are named as several parts, so that no test image is trained on."""
    folders = {key.rpartition("/")[0] for key in keys}
    parts = {part: folder for folder in sorted(folders) if (part := role_of(f"{folder.strip('/')}/_"))}
    if len(parts) > 1:
        raise SenetError(
            f"{path} contains several splits ({listed(sorted(parts.values()))}): write each to tar files "
            "of its own, named train-….tar and test-….tar."
        )


def _require_end(stream: BinaryIO, offset: int, path: Path) -> None:
    """Raise unless the headers end with zeros, and the file with these.

    tarfile takes a damaged header for the end, and so it does a file that was cut between two members.
    """
    stream.seek(offset)
    if not stream.read(1):
        raise tarfile.ReadError("it has no end marker")
    while rest := stream.read(1 << 20):
        if rest.strip(b"\0"):
            raise SenetError(
                f"{path} continues after its end marker at byte {offset:,}: it is damaged, or several tar "
                "files were joined; download or write it again."
            )


def _sample(stream: BinaryIO, path: Path, key: str, files: dict[str, _Member]) -> tuple[_Member, str]:
    name = key.lstrip("/")
    pictures = [kind for kind in files if f".{kind}".endswith(SUFFIXES)]
    # Of 007.jpg and 007.mask.png, the first is the image.
    plain = [kind for kind in pictures if f".{kind}" in SUFFIXES] or pictures
    if len(plain) != 1:
        which = f"several images ({', '.join(plain)})" if plain else "no image"
        raise SenetError(
            f"Sample {name} in {path} has {which}: it needs exactly one, such as {Path(name).name}.jpg."
        )
    return files[plain[0]], _label(stream, path, name, files)


def _label(stream: BinaryIO, path: Path, name: str, files: dict[str, _Member]) -> str:
    if LABEL_FILE in files:
        label = _content(stream, path, files[LABEL_FILE]).strip()
    elif "json" in files:
        label = _json_label(_content(stream, path, files["json"]), files["json"].name, path)
    else:
        label = ""
    if not label or "\n" in label:
        stem = Path(name).name
        raise SenetError(
            f"Sample {name} in {path} has no label: add {stem}.{LABEL_FILE} with a number or name, or "
            f"{stem}.json with a field {', '.join(LABEL_FIELDS)} (a tar file of class folders must be "
            "unpacked)."
        )
    return label


def _content(stream: BinaryIO, path: Path, member: _Member) -> str:
    if member.size > MOST_LABEL_BYTES:
        raise SenetError(f"{member.name} in {path} has {member.size:,} bytes, too many for a label.")
    stream.seek(member.offset)
    try:
        return stream.read(member.size).decode()
    except UnicodeDecodeError as error:
        raise SenetError(f"{member.name} in {path} is not UTF-8 text: correct it.") from error


def _json_label(text: str, name: str, path: Path) -> str:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SenetError(f"{name} in {path} is not valid JSON ({short(error)}): correct it.") from error
    found = (
        [content[field] for field in LABEL_FIELDS if field in content] if isinstance(content, dict) else []
    )
    if not found:
        return ""
    if isinstance(found[0], bool) or not isinstance(found[0], int | str):
        raise SenetError(
            f"The label in {name} in {path} must be a whole number or a name, not a value of type "
            f"{type(found[0]).__name__}."
        )
    return str(found[0]).strip()
