"""Pictures made on the fly."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from senet.data.decode import LargeEnough
from senet.data.folder import FolderSource
from senet.data.source import ArraySource, EncodedSource, ImageSource


def quadrants(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    """Red, green, blue and grey quarters: every flip and turn shows."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    image.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    image.paste((0, 0, 255), (0, height // 2, width // 2, height))
    return image.convert(mode)


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values[:, :, 0] if channels == 1 else values)


def smooth(width: int, height: int) -> Image.Image:
    """Brightness rising to the right, green rising downwards."""
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, axis=1)
    return Image.fromarray(np.stack([across, down, across], axis=2).astype(np.uint8))


def photograph_like(width: int, height: int) -> Image.Image:
    """Detail at all scales, falling off as in photographs, and sharp edges between areas."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    detail = [
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) / frequency**1.3, (height, width))
        for _ in range(3)
    ]
    values = np.stack([40 * each / each.std() + 128 for each in detail], axis=2)
    for _ in range(20):
        top, left = random.integers(height), random.integers(width)
        values[top : top + height // 4, left : left + width // 4] += random.normal(0, 40, 3)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def write(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(quadrants(8, 8)) if content is None else content)
    return path


def class_folders(root: Path, counts: Mapping[str, int], seed: int = 0) -> Path:
    """``root/cat/000.png`` and so on, every picture different."""
    for position, (name, count) in enumerate(counts.items()):
        for number in range(count):
            picture = noise(8, 8, seed=seed * 1_000_000 + position * 1000 + number)
            write(root / name / f"{number:03}.png", encoded(picture))
    return root


def parquet(
    path: Path,
    labels: Sequence[Any],
    names: Sequence[str] | None = None,
    *,
    image: str = "image",
    label: str = "label",
    contents: Sequence[bytes | None] | None = None,
    label_type: Any = None,
) -> Path:
    """A file as Hugging Face's `datasets` writes them."""
    if contents is None:
        contents = [encoded(noise(8, 8, seed=number)) for number in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents)]
    table = pa.table({image: pa.array(rows, kind), label: pa.array(list(labels), label_type)})
    if names is not None:
        listed = ", ".join(f'"{name}"' for name in names)
        feature = f'{{"info": {{"features": {{"{label}": {{"names": [{listed}], "_type": "ClassLabel"}}}}}}}}'
        table = table.replace_schema_metadata({"huggingface": feature})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def numbered_arrays(count: int, size: int = 8, channels: int = 1) -> ArraySource:
    """Image i is filled with the value i (count below 256) and has the label i modulo 2."""
    images = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(size, 1).repeat(size, 2)
    return ArraySource(images.repeat(channels, 3), np.arange(count) % 2, ("even", "odd"))


def jpeg_folder(root: Path, count: int, side: int = 40) -> FolderSource:
    """One class folder pair of JPEG pictures, every one different."""
    files: list[list[str]] = [[], []]
    for number in range(count):
        name = f"{number:03}.jpg"
        write(root / name, encoded(noise(side, side + number % 7, seed=number), "JPEG"))
        files[number % 2].append(name)
    return FolderSource(root, files, ("even", "odd"))


class SpySource(EncodedSource):
    """Pictures made by a function, remembering what each was asked with."""

    def __init__(self, make: Callable[[int], bytes], labels: Sequence[int]) -> None:
        self.make = make
        self.labels = np.array(labels, dtype=np.int64)
        self.classes = tuple(str(label) for label in sorted(set(labels)))
        self.asked: list[LargeEnough | None] = []

    def content(self, index: int) -> bytes:
        return self.make(index)

    def read(self, index: int, large_enough: LargeEnough | None = None) -> Image.Image:
        self.asked.append(large_enough)
        return super().read(index, large_enough)

    def name(self, index: int) -> str:
        return f"spy {index}"


def names_of(source: ImageSource) -> list[str]:
    return [source.name(index) for index in range(len(source))]
