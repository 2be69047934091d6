"""Arrow files mapped from disk, checked before anything follows what stands in them.

pyarrow trusts the lengths and places it reads: one wrong bit in them ends the process by a signal, or
puts a column where other bytes lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from senet.errors import SenetError

# What the file format begins with; the stream format, which it contains, does not.
FILE_MAGIC = b"ARROW1\0\0"
# Cut off between two batches, a stream would pass as a shorter one.
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
# Between two buffers lies at most what fills them up to a multiple of 64 bytes.
MOST_PADDING = 63


def mapped_table(path: Path, columns: Callable[[Any], Sequence[str]]) -> tuple[Any, Any]:
    """Return some columns of an Arrow file, of the stream or the file format, mapped from disk.

    Args:
        path: the file.
        columns: returns the names of the columns that are wanted, from the schema.

    Returns:
        A pyarrow table of them, every length, place and text of which was checked, and the file's schema.

    Raises:
        SenetError: the file is damaged, or as ``columns``.
    """
    try:
        with pa.memory_map(str(path)) as stream:
            content = stream.read_buffer()
        batches, schema = _batches(content)
        for batch in batches:
            _require_apart(batch, content)
        names = list(columns(schema))
        table = pa.Table.from_batches(batches, schema).select(names)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise SenetError(
            f"{path} cannot be read as an Arrow file ({reason}): it is damaged, so copy or download it again."
        ) from error
    return table, schema


def _batches(content: Any) -> tuple[list[Any], Any]:
    is_file = content.slice(0, len(FILE_MAGIC)).to_pybytes() == FILE_MAGIC
    source = pa.BufferReader(content.slice(len(FILE_MAGIC)) if is_file else content)
    reader = pa.ipc.open_stream(source)
    batches = list(reader)
    end = source.tell()
    if is_file:
        # The file format says both again at its end.
        footer = pa.ipc.open_file(pa.BufferReader(content))
        if footer.num_record_batches != len(batches) or not footer.schema.equals(reader.schema, True):
            raise pa.ArrowInvalid("its header and footer differ")
    elif end != content.size or not _has_end(content):
        raise pa.ArrowInvalid(f"it ends at byte {end:,} of {content.size:,} without an end marker")
    return batches, reader.schema


def _has_end(content: Any) -> bool:
    old = content.slice(0, 4).to_pybytes() != END_OF_STREAM[:4]  # before pyarrow 0.15, without marks
    end: bytes = content.slice(max(content.size - 8, 0)).to_pybytes()
    return end.endswith(END_OF_STREAM[4:] if old else END_OF_STREAM)


def _require_apart(batch: Any, content: Any) -> None:
    """Raise unless a batch's buffers lie one behind the other, as every writer puts them."""
    found = [buffer for column in batch.columns for buffer in column.buffers() if buffer is not None]
    inside = [b for b in found if content.address <= b.address < content.address + content.size and b.size]
    # Those of a compressed file were unpacked elsewhere.
    complete = len(inside) == sum(1 for buffer in found if buffer.size)
    for before, behind in itertools.pairwise(inside):
        gap = behind.address - (before.address + before.size)
        if gap < 0 or (complete and gap > MOST_PADDING):
            raise pa.ArrowInvalid("its columns overlap or lie too far apart")
