from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from senet.data.arrow import open_arrow_folder
from senet.data.ipc import mapped_table
from senet.errors import SenetError

CLASSES = ["cat", "dog", "eel"]
PICTURE = b"\x89PNG" + bytes(range(56, 96))
# A child reads each damaged file as training would; what ends it by a signal leaves no line.
CHILD = """
import sys
from pathlib import Path
from senet.data.arrow import open_arrow_files
from senet.data.parts import SplitFiles
from senet.errors import SenetError
root = Path(sys.argv[1])
content = (root / "whole").read_bytes()
for bit in map(int, sys.stdin.read().split()):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    (root / "a.arrow").write_bytes(damaged)
    files = SplitFiles(train=("a.arrow",), test=(), others=())
    try:
        data = open_arrow_files(root, files, test_fraction=0.25, seed=0)
        for part in (data.train, data.test):
            for index in range(len(part)):
                bytes(part.source.content(int(part.indices[index]))), part.name(index)
        print(bit, *data.classes, *(len(part) for part in (data.train, data.test)), sep=",", flush=True)
    except SenetError as error:
        print(bit, "refused", sep=",", flush=True)
"""


def table(label: Any = None) -> Any:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": PICTURE + bytes([row]), "path": f"{row}.png"} for row in range(24)]
    labels = pa.array([row % 3 for row in range(24)]) if label is None else label
    feature = {"info": {"features": {"label": {"names": CLASSES, "_type": "ClassLabel"}}}}
    found = pa.table({"image": pa.array(rows, kind), "label": labels})
    return found if label is not None else found.replace_schema_metadata({"huggingface": json.dumps(feature)})


def written(path: Path, content: Any, *, stream: bool = False, **options: Any) -> bytes:
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(
        path, content.schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as writer:
        writer.write_table(content, max_chunksize=12)
    return path.read_bytes()


def damaged_everywhere(folder: Path, kind: str, flips: int) -> list[str]:
    """Flip bits outside the pictures, one in each copy, and return what a child says of each copy."""
    label = pa.array([CLASSES[row % 3] for row in range(24)]).dictionary_encode() if kind == "names" else None
    options = {"compression": "lz4"} if kind == "lz4" else {}
    content = written(folder / "whole", table(label), stream=kind == "stream", **options)
    places = [b for b in range(len(content)) if PICTURE[4:12] not in content[max(b - 40, 0) : b + 8]]
    bits = [8 * place + place % 8 for place in places[:: max(len(places) // flips, 1)]]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(folder)],
        input=" ".join(map(str, bits)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-500:])
    answers = [line.split(",", 1)[1] for line in ran.stdout.splitlines()]
    assert len(answers) == len(bits) >= flips
    return answers


@pytest.mark.parametrize(
    ("kind", "flips"),
    [("file", 120), ("stream", 120)]
    + [pytest.param(kind, 400, marks=pytest.mark.slow) for kind in ("names", "lz4")],
)
def test_no_flipped_bit_ends_the_process(tmp_path: Path, kind: str, flips: int) -> None:
    answers = damaged_everywhere(tmp_path, kind, flips)
    assert answers.count("refused") > flips / 3
    # No row is lost without a word.
    assert all(sum(map(int, each.split(",")[-2:])) == 24 for each in answers if each != "refused")


@pytest.mark.parametrize("stream", [True, False])
def test_a_file_that_lacks_its_last_rows_is_refused(tmp_path: Path, stream: bool) -> None:
    content = written(tmp_path / "a.arrow", table(), stream=stream)
    one = written(tmp_path / "one", table().slice(0, 12), stream=stream)
    # Cut between two batches, which a reader of streams takes for the end.
    (tmp_path / "a.arrow").write_bytes(content[: len(one) - 8] if stream else content[:-6])
    with pytest.raises(SenetError, match=r"a\.arrow cannot be read as an Arrow file .*copy or download it"):
        mapped_table(tmp_path / "a.arrow", lambda schema: schema.names)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"use_legacy_format": True}, {"compression": "zstd"}, {"emit_dictionary_deltas": True}]
)
def test_whole_files_of_every_kind_are_read(tmp_path: Path, stream: bool, options: dict[str, Any]) -> None:
    label = pa.array([CLASSES[row % 3] for row in range(24)]).dictionary_encode()
    expected = (
        table(label)
        .slice(5, 17)
        .append_column("none", pa.array([[row] if row % 2 else None for row in range(17)]))
    )
    written(tmp_path / "a.arrow", expected, stream=stream, **options)
    found, schema = mapped_table(tmp_path / "a.arrow", lambda schema: schema.names)
    assert found.equals(expected) and schema.equals(expected.schema)


def test_a_column_in_another_ones_place_is_refused(tmp_path: Path) -> None:
    columns = {"image": [PICTURE] * 8, "label": pa.array([1, 0] * 4), "other": pa.array([0, 1] * 4)}
    content = written(tmp_path / "a.arrow", pa.table(columns))
    # The places of the last two buffers, each 64 bytes long, as the batch's description gives them.
    places = [
        n
        for n in range(0, len(content) - 40, 8)
        if content[n + 8 : n + 16] == content[n + 40 : n + 48] == (64).to_bytes(8, "little")
    ]
    (label,) = [
        n
        for n in places
        if int.from_bytes(content[n + 32 : n + 40], "little") - int.from_bytes(content[n : n + 8], "little")
        == 64
    ]
    (tmp_path / "a.arrow").write_bytes(
        content[:label] + content[label + 32 : label + 40] + content[label + 8 :]
    )
    with pytest.raises(SenetError, match=r"an Arrow file \(its columns overlap or lie"):
        mapped_table(tmp_path / "a.arrow", lambda schema: schema.names)


def test_an_end_that_names_fewer_rows_is_refused(tmp_path: Path) -> None:
    two = written(tmp_path / "a.arrow", table())
    one = written(tmp_path / "b.arrow", table().slice(0, 12))
    ends = [len(each) - 10 - int.from_bytes(each[-10:-6], "little") for each in (two, one)]
    (tmp_path / "a.arrow").write_bytes(two[: ends[0]] + one[ends[1] :])
    with pytest.raises(SenetError, match=r"\(its header and footer differ\): it"):
        mapped_table(tmp_path / "a.arrow", lambda schema: schema.names)


def test_names_that_differ_between_beginning_and_end_are_refused(tmp_path: Path) -> None:
    content = written(tmp_path / "a.arrow", table())
    assert content.count(b'"dog"') == 2
    (tmp_path / "a.arrow").write_bytes(content.replace(b'"dog"', b'"dot"', 1))
    with pytest.raises(SenetError, match=r"\(its header and footer differ\): it"):
        open_arrow_folder(tmp_path, test_fraction=0.25, seed=0)
