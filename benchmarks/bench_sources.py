"""Fetching a sample, without decoding it, from each kind of source: ``python -m benchmarks.bench_sources``.

Stores the same JPEG pictures, made from the embedded images, in every way that `senet.open_images` reads,
and fetches them in one random order, the sources in turns. All of it lies in the page cache: what is
measured is senet's and the format's own work. To ``benchmarks/results/sources.csv``.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.common import parse, save
from senet.data.cache import VARIABLE
from senet.data.images import open_images
from senet.data.parts import split_files
from senet.data.source import ImageSource
from senet.data.stream import open_stream
from senet.insight.machine import this_machine
from senet.insight.results_timing import Timing
from senet.insight.stopwatch import time_in_turns
from senet.insight.timing_rows import timing_rows

SIDE = 224
SAMPLES = 1000
SHARDS = 8
FOLDER, CSV, ARROW, PARQUET, TAR, STREAM = (
    "class folders",
    "CSV list",
    "Arrow files",
    "parquet files",
    "tar shards",
    "streamed shards, fetched",
)

Pictures = list[tuple[bytes, int]]


def pictures(count: int) -> Pictures:
    """Return JPEG files with their labels."""
    source = open_images(None).train
    found = []
    for index in np.linspace(0, len(source) - 1, count).round().astype(int).tolist():
        stream = io.BytesIO()
        source.read(index).resize((SIDE, SIDE)).save(stream, "JPEG", quality=90)
        found.append((stream.getvalue(), int(source.labels[index])))
    return found


def store(root: Path, made: Pictures) -> dict[str, Callable[[], ImageSource]]:
    """Write the pictures in every way; return what opens each."""
    lines = ["path,label"]
    for number, (content, label) in enumerate(made):
        path = root / "folder" / str(label) / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        lines.append(f"folder/{label}/{number:06}.jpg,{label}")
    (root / "list.csv").write_text("\n".join(lines))
    for name in ("arrow", "parquet", "tar"):
        (root / name).mkdir()
    for shard in range(SHARDS):
        _store_shard(root, shard, made[shard::SHARDS])
    parquet = [f"{shard}.parquet" for shard in range(SHARDS)]
    return {
        FOLDER: lambda: open_images(root / "folder").train,
        CSV: lambda: open_images(root / "list.csv").train,
        ARROW: lambda: open_images(root / "arrow").train,
        PARQUET: lambda: open_images(root / "parquet").train,
        TAR: lambda: open_images(root / "tar").train,
        STREAM: lambda: (
            open_stream(
                partial(fsspec.filesystem, "file"),
                str(root / "parquet"),
                split_files(parquet, "parquet"),
                cache_gb=None,
                test_fraction=0.2,
                seed=0,
            ).train
        ),
    }


def _store_shard(root: Path, shard: int, made: Pictures) -> None:
    rows = [{"bytes": content, "path": f"{number:06}.jpg"} for number, (content, _) in enumerate(made)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, kind), "label": [label for _, label in made]})
    pq.write_table(table, root / "parquet" / f"{shard}.parquet", row_group_size=100)
    with pa.ipc.new_stream(root / "arrow" / f"{shard}.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    with tarfile.open(root / "tar" / f"{shard}.tar", "w") as tar:
        for number, (content, label) in enumerate(made):
            for suffix, text in (("jpg", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{number:06}.{suffix}")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))


def fetching(source: ImageSource, samples: int) -> Callable[[], int]:
    """Return work that fetches the bytes of some images in random order, others at every call."""
    whole = getattr(source, "source", source)
    while hasattr(whole, "source"):
        whole = whole.source
    content = whole.content
    order = cycle(np.random.default_rng(0).permutation(len(whole)).tolist())

    def work() -> int:
        # Touching the bytes, as a decoder would, makes mapped files count.
        return sum(len(bytes(content(next(order)))) for _ in range(samples))

    return work


def rows(smoke: bool, seconds: float) -> list[Timing]:
    """Measure every source against class folders."""
    samples = 20 if smoke else SAMPLES
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as root:
        os.environ[VARIABLE] = str(Path(root) / "cache")
        try:
            opened = {name: open_() for name, open_ in store(Path(root), pictures(6 * samples)).items()}
            works = {name: fetching(source, samples) for name, source in opened.items()}
            turns = time_in_turns(works, device=torch.device("cpu"), seconds=seconds)
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before
    return timing_rows(
        turns,
        [(name, FOLDER) for name in works if name != FOLDER],
        note_of=dict.fromkeys(works, f"milliseconds for {samples:,} samples: microseconds for each"),
        benchmark="source",
        shape=f"1x{SIDE}x{SIDE}",
        batch=samples,
        precision="uint8",
        layout="contiguous",
        mode="infer",
        machine=this_machine(torch.device("cpu"), ("pyarrow", "numpy")),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the rows."""
    options = parse(__doc__, "sources", 12.0, argv)
    save(rows(options.smoke, options.seconds), options.out)


if __name__ == "__main__":
    main()
