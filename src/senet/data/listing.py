"""What lies in a folder: pictures, and what is passed over, which is counted and named."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from senet.data.formats import SUFFIXES, UNREAD_FORMATS, is_picture_content
from senet.data.split import listed
from senet.errors import SenetError
from senet.text import counted

Kind = Literal["folder", "picture", "other", "special"]

# Folders of operating systems, archives and tools; those with a dot before their name are hidden anyway.
TOOL_FOLDERS = (
    "__MACOSX", "@eaDir", "__pycache__", "wandb", "mlruns", "lightning_logs", "tb_logs", "$RECYCLE.BIN",
    "System Volume Information", "lost+found",
)  # fmt: skip
# Written as the first file of every run folder (experiments/run_folder.py).
RUN_SETTINGS = "settings.json"
MOST_SETTINGS = 1 << 20
# What is never a picture, so that nobody need look into it.
_OTHERS = (
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .md .rst .html .htm .log .py .ipynb .m .mat .db "
    ".npy .npz .pt .pth .pkl .h5 .hdf5 .parquet .arrow .tar .zip .gz .tgz .7z .rar .bz2 .xz .zst .pdf .doc "
    ".docx .xls .xlsx .mp4 .avi .mov .mkv .webm .mp3 .wav .exe .sh .cls .aae .xmp .lock"
)
ARCHIVES = (".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
OTHER_SUFFIXES = frozenset(_OTHERS.split())
# Copies that editors and downloads leave beside the picture itself.
COPY_ENDINGS = ("_original", "~", ".bak", ".orig", ".old", ".tmp", ".part", ".partial", ".crdownload")
MOST_SUFFIXES = 4
HEAD_BYTES = 32


class Entry(NamedTuple):
    """One visible entry of a folder."""

    name: str
    kind: Kind


@dataclass
class Ignored:
    """What was passed over in folders that were read.

    Attributes:
        files: how many, by suffix.
        special: pipes, sockets, devices and links that lead nowhere, by name.
        folders: by name.
        outside: pictures outside of class folders, by the folder they lie in.
    """

    files: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)

    def add(self, folder: str, entry: Entry) -> None:
        """Take note of a file that is not a picture."""
        if entry.kind == "special":
            self.special.append(printable(os.path.join(folder, entry.name)))  # noqa: PTH118
        else:
            self.files[_suffix(entry.name) or "no suffix"] += 1

    def merge(self, other: Ignored) -> None:
        """Take over what another one has counted."""
        self.files.update(other.files)
        self.outside.update(other.outside)
        self.special += other.special
        self.folders += other.folders

    def found(self) -> str:
        """Return what there is instead of images: ``", only 3 files (.txt 2, .db 1)"``, or ``""``."""
        return f", only {self._files_named()}" if self.files else ""

    def named_folders(self) -> str:
        """Return ``" Ignored: 'runs'."``, or ``""``."""
        return Ignored(folders=self.folders).sentence()

    def _files_named(self) -> str:
        total = self.files.total()
        named = ", ".join(
            f"{printable(suffix)} {count:,}" for suffix, count in self.files.most_common(MOST_SUFFIXES)
        )
        more = ", …" if len(self.files) > MOST_SUFFIXES else ""
        return f"{counted(total, 'file')} ({named}{more})"

    def sentence(self) -> str:
        """Return for example ``" Ignored: 3 files (.txt 2, .db 1)."``, or ``""``."""
        parts = [listed(sorted(self.folders))] if self.folders else []
        parts += [
            f"{counted(count, 'image')} in {folder}/ outside its class folders"
            for folder, count in sorted(self.outside.items())
        ]
        if self.files:
            parts.append(self._files_named())
        if self.special:
            kinds = "pipe, device or broken link", "pipes, devices or broken links"
            parts.append(f"{counted(len(self.special), *kinds)} ({listed(sorted(self.special))})")
        return f" Ignored: {'; '.join(parts)}." if parts else ""

    def unread(self) -> str:
        """Return a sentence on pictures in formats that are not read here, or ``""``."""
        found = {suffix: count for suffix, count in self.files.items() if suffix in UNREAD_FORMATS}
        if not found:
            return ""
        total = sum(found.values())
        named = ", ".join(f"{suffix} {count:,}" for suffix, count in sorted(found.items()))
        advice = dict.fromkeys(UNREAD_FORMATS[suffix] for suffix in sorted(found))
        is_ = "is" if total == 1 else "are"
        return (
            f"{counted(total, 'image')} {is_} ignored because the format is not supported ({named}): "
            f"{'; '.join(advice)}."
        )


def printable(name: str) -> str:
    r"""Return a name in UTF-8; bytes that are none become ``\xe9``: different names stay different."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def entries(folder: Path) -> list[Entry]:
    """Return what is visible in a folder, by name; nothing in it is opened but files of unknown suffix.

    Raises:
        SenetError: the folder cannot be read.
    """
    with _scanned(folder) as found:
        return sorted(Entry(each.name, _kind(each)) for each in found if not each.name.startswith("."))


@contextmanager
def _scanned(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as found:
            yield found
    except OSError as error:
        raise _cannot_open(folder, error) from error


def _cannot_open(folder: Path, error: OSError) -> SenetError:
    return SenetError(
        f"The folder {printable(str(folder))} cannot be opened ({error.strerror}): check its permissions."
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def subfolders(folder: Path) -> list[str]:
    """Return the folders in a folder that may hold pictures: none of a tool's, and no run of senet.

    Raises:
        SenetError: the folder cannot be read.
    """
    with _scanned(folder) as found:
        names = [each.name for each in found if not each.name.startswith(".") and _is_folder(each)]
    return sorted(name for name in names if not is_foreign_folder(folder / name))


def files_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder from this one down with the names of its files, but for hidden ones and links.

    Raises:
        SenetError: a folder cannot be read.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        with _scanned(here) as found:
            visible = sorted((each for each in found if not each.name.startswith(".")), key=lambda e: e.name)
        yield here, [each.name for each in visible if not _is_folder(each)]
        inside = [here / each.name for each in visible if each.is_dir(follow_symlinks=False)]
        waiting += [each for each in reversed(inside) if not is_foreign_folder(each)]


def is_foreign_folder(folder: Path) -> bool:
    """Tell a folder that tools made, or that holds the results of trainings, from one with pictures."""
    return folder.name in TOOL_FOLDERS or _is_run(folder) or _holds_runs(folder)


def _is_run(folder: Path) -> bool:
    """Tell a run folder by its settings, which are not just any file of that name."""
    path = folder / RUN_SETTINGS
    if not os.path.isfile(path):  # noqa: PTH113, as Path.is_file raises where the folder may not be read
        return False
    try:
        head = path.read_bytes()[:MOST_SETTINGS]
    except OSError:
        return False
    return b'"identity"' in head and b'"checksum"' in head


def _holds_runs(folder: Path) -> bool:
    """Tell a folder such as ``runs/``: nothing in it but run folders and hidden files."""
    runs = False
    with _scanned(folder) as found:
        for each in found:
            if each.name.startswith("."):
                continue
            if not (_is_folder(each) and _is_run(folder / each.name)):
                return False
            runs = True
    return runs


def pictures_below(folder: Path, above: Iterable[Path], ignored: Ignored) -> Iterator[str]:
    """Yield the picture files of a class at any depth, relative to its folder, through links as well.

    Args:
        folder: of the class.
        above: the folders it lies in; a link back to one of them is not followed.
        ignored: told of everything else.

    Raises:
        SenetError: a folder cannot be read.
    """
    waiting = [("", frozenset(map(_identity, above)))]
    while waiting:
        below, seen = waiting.pop()
        here = folder / below
        identity = _identity(here)
        if identity in seen:  # a link back to a folder above
            continue
        for entry in entries(here):
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.kind == "picture":
                yield path
            elif entry.kind != "folder":
                ignored.add(f"{folder.name}/{below}", entry)
            elif is_foreign_folder(here / entry.name):
                ignored.folders.append(printable(f"{folder.name}/{path}"))
            else:
                waiting.append((path, seen | {identity}))


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise _cannot_open(folder, error) from error
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str]) -> Kind:
    if _is_folder(entry):
        return "folder"
    try:
        if not entry.is_file():
            return "special"
    except OSError:
        return "special"
    name = entry.name.lower()
    suffix = _suffix(name)
    if suffix in SUFFIXES:
        return "picture"
    if suffix in OTHER_SUFFIXES or suffix in UNREAD_FORMATS or name.endswith(COPY_ENDINGS):
        return "other"
    return "picture" if is_picture_content(_head(entry.path)) else "other"


def _suffix(name: str) -> str:
    return os.path.splitext(name.lower())[1]  # noqa: PTH122


def _head(path: str) -> bytes:
    """Return the first bytes of a file, none where it cannot be read."""
    try:
        descriptor = open_regular(path)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(HEAD_BYTES)


def open_regular(path: str | Path) -> int:
    """Return a descriptor of a regular file, to read; a pipe or device is never waited for.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "It is not a regular file")
    return descriptor
