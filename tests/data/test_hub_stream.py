"""Streaming by the real `huggingface_hub` from a server here that answers as the Hub does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest

from senet.data import stream
from senet.data.hub import open_hub
from senet.data.source import ImageData
from senet.errors import SenetError

from .pictures import encoded, names_of, noise, parquet
from .web import Web, serving

REPOSITORY = "api/datasets/owner/pets"


def publish(web: Web, revision: str, files: list[str]) -> None:
    """Put parquet files where a branch has them, and list them as the Hub's API does."""
    quoted = quote(revision, safe="")
    entries = []
    for number, file in enumerate(files):
        contents = [encoded(noise(60, 60, 100 * number + row)) for row in range(12)]
        path = web.root / f"datasets/owner/pets/resolve/{quoted}" / file
        parquet(path, [0, 1] * 6, ["cat", "dog"], contents=contents)
        entries.append(
            {"type": "file", "path": file, "size": path.stat().st_size, "oid": f"{revision}{number}"}
        )
    info = {"id": "owner/pets", "sha": "0" * 40, "siblings": [{"rfilename": file} for file in files]}
    for address in (f"/{REPOSITORY}/revision/{quoted}", *([f"/{REPOSITORY}"] if revision == "main" else [])):
        web.pages[address] = json.dumps(info).encode()
    folders = {file.rpartition("/")[0] for file in files}
    web.pages[f"/{REPOSITORY}/tree/{quoted}"] = json.dumps(entries).encode()
    for folder in folders - {""}:
        web.pages[f"/{REPOSITORY}/tree/{quoted}/{quote(folder, safe='')}"] = json.dumps(entries).encode()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("SENET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stream, "PAUSES", (0.0,) * 2)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(tmp_path / "hub") as started:
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        address = template.replace(huggingface_hub.constants.ENDPOINT, started.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", started.url)
        api = huggingface_hub.HfApi

        class Api(api):
            def __init__(self, endpoint: str | None = None, **options: object) -> None:
                super().__init__(endpoint or started.url, **options)

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        yield started


def opened(name: str = "owner/pets") -> ImageData:
    return open_hub(name, test_fraction=0.25, seed=0, stream=True)


def files_asked(web: Web) -> list[str]:
    return sorted({path.rpartition("/")[2] for path, _ in web.asked if "/resolve/" in path})


def test_shards_come_when_they_are_needed(web: Web) -> None:
    files = [
        f"data/{part}-{number}.parquet"
        for part, count in (("train", 3), ("test", 1))
        for number in range(count)
    ]
    publish(web, "main", files)
    data = opened()
    assert (data.name, data.location, data.classes) == ("pets", "owner/pets", ("cat", "dog"))
    assert len(data.train) == 36 and len(data.test) == 12 and data.own_test
    assert names_of(data.train)[13] == "data/train-1.parquet row 1"
    assert all(asked for path, asked in web.asked if "/resolve/" in path)
    web.asked.clear()
    for index in (13, 12, 23):
        assert np.array_equal(np.asarray(data.train.read(index)), np.asarray(noise(60, 60, 88 + index)))
    assert files_asked(web) == ["train-1.parquet"]
    web.asked.clear()
    opened().train.read(14)
    assert files_asked(web) == []


def test_the_hubs_parquet_copy_is_streamed_as_well(web: Web) -> None:
    publish(web, "main", [])
    publish(web, "refs/convert/parquet", ["default/train/0000.parquet"])
    data = opened()
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.train.read(0).size == (60, 60) and data.train.name(0).startswith(
        "default/train/0000.parquet row "
    )


def test_a_hub_that_stumbles(web: Web) -> None:
    publish(web, "main", ["train-0.parquet", "test-0.parquet"])
    data = opened()
    web.statuses = [404] * 40
    with pytest.raises(SenetError, match=r"datasets/owner/pets/train-0\.parquet could not be read .*404"):
        data.train.read(0)
    web.statuses = []
    assert data.train.read(0).size == (60, 60)


def test_a_name_without_its_owner(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("senet.data.hub._files", lambda *_: ["train-0.parquet"])
    with pytest.raises(SenetError, match=r"stream 'pets', give it .*its owner, as owner/pets\."):
        opened("pets")
