"""Without a network: `huggingface_hub` is replaced by a local folder, its real signatures are kept."""

from __future__ import annotations

import fnmatch
import hashlib
import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from senet.data.hub import is_hub_name, open_hub
from senet.data.source import ImageData
from senet.errors import SenetError

from .pictures import encoded, noise, parquet

REAL_LIST = inspect.signature(huggingface_hub.HfApi.list_repo_files)
REAL_SNAPSHOT = inspect.signature(huggingface_hub.snapshot_download)


def hub_error(kind: type[Exception], text: str) -> Exception:
    """Make an error without the HTTP response its constructor wants."""
    error = kind.__new__(kind)
    error.args = (text,)
    return error


class Hub:
    """Data sets as folders: ``<root>/<revision>/<file>``, and what was downloaded of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self.failure: Exception | None = None
        self.downloaded: list[str] = []
        self.damage: Callable[[bytes], bytes] = bytes

    def list_repo_files(self, *arguments: Any, **options: Any) -> list[str]:
        given = REAL_LIST.bind(None, *arguments, **options).arguments
        assert given["repo_type"] == "dataset" and given["repo_id"] == "owner/pets"
        if self.failure is not None:
            raise self.failure
        folder = self.root / (given.get("revision") or "main")
        if not folder.exists():
            raise hub_error(RevisionNotFoundError, "404")
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def snapshot_download(self, *arguments: Any, **options: Any) -> str:
        given = REAL_SNAPSHOT.bind(*arguments, **options).arguments
        assert given["repo_type"] == "dataset" and given["repo_id"] == "owner/pets"
        revision = given.get("revision") or "main"
        target = self.cache / revision
        if given.get("local_files_only") or self.failure is not None:
            if not target.exists():
                raise LocalEntryNotFoundError("not in the cache")
            return str(target)
        for file in (self.root / revision).rglob("*.parquet"):
            name = file.relative_to(self.root / revision).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in given["allow_patterns"]):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                blob = self.cache / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
                if not blob.exists():
                    blob.parent.mkdir(exist_ok=True)
                    blob.write_bytes(self.damage(file.read_bytes()))
                    self.downloaded.append(name)
                (target / name).unlink(missing_ok=True)
                (target / name).symlink_to(blob)
        return str(target)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Something that answers where the Hub is looked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def look_at(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.fixture
def hub(tmp_path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Hub:
    look_at(listening, monkeypatch)
    fake = Hub(tmp_path)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "list_repo_files", lambda api, *a, **o: fake.list_repo_files(*a, **o)
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def opened(data: str = "owner/pets") -> ImageData:
    return open_hub(data, test_fraction=0.2, seed=0)


def publish(folder: Path, *files: str) -> None:
    for number, file in enumerate(files):
        contents = [encoded(noise(8, 8, 10 * number + row)) for row in range(6)]
        parquet(folder / file, [0, 1] * 3, ["cat", "dog"], contents=contents)


def test_a_damaged_file_is_downloaded_again(hub: Hub) -> None:
    publish(hub.root / "main", "train.parquet", "test.parquet")
    labels = opened().train.labels.tolist()
    for blob in (hub.cache / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1])
    assert opened().train.labels.tolist() == labels
    assert sorted(hub.downloaded) == ["test.parquet"] * 2 + ["train.parquet"] * 2
    hub.damage = lambda content: content[:-1]
    for blob in (hub.cache / "blobs").iterdir():
        blob.unlink()
    with pytest.raises(SenetError, match="is damaged even after downloading it again: check"):
        opened()


@pytest.mark.parametrize(
    "name", ["mnist", "owner/name", "owner/name:config", "a-b/c.d_e", "mnist:plain_text"]
)
def test_hub_names(name: str) -> None:
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["./name", "/data/name", "a/b/c", "owner/", "~/name", "a b", "", "a:b:c", "../x"]
)
def test_paths_are_no_hub_names(name: str) -> None:
    assert not is_hub_name(name)


def test_the_repositorys_own_files_are_downloaded_and_opened(hub: Hub) -> None:
    publish(
        hub.root / "main",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
    )
    (hub.root / "main" / "README.md").write_text("pets")
    data = opened()
    assert data.classes == ("cat", "dog") and data.train.read(0).size == (8, 8)
    assert (data.name, data.location) == ("pets", "owner/pets")
    assert sorted(hub.downloaded) == [
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
    ]
    assert "Ignored: 'data/test-00000-of-00001.parquet'." in data.split


def test_otherwise_the_hubs_parquet_copy_is_used(hub: Hub) -> None:
    (hub.root / "main").mkdir()
    (hub.root / "main" / "images.zip").write_bytes(b"")
    publish(hub.root / "refs/convert/parquet", "default/train/0000.parquet", "default/test/0000.parquet")
    data = opened()
    assert len(data.train) == len(data.test) == 6
    assert data.train.name(0).startswith("default/train/0000.parquet row 0")


def test_no_parquet_files_anywhere(hub: Hub) -> None:
    (hub.root / "main").mkdir()
    with pytest.raises(SenetError, match="owner/pets on the Hugging Face Hub has no parquet files"):
        opened()


def test_configurations(hub: Hub) -> None:
    publish(hub.root / "main", "big/train-0.parquet", "big/test-0.parquet", "small/train-0.parquet")
    with pytest.raises(
        SenetError, match=r"configurations 'big', 'small': choose one, such as owner/pets:big\."
    ):
        opened()
    with pytest.raises(
        SenetError, match=r"no configuration 'smal'; choose .*'big', 'small'\. Did you mean 'small'\?"
    ):
        opened("owner/pets:smal")
    data = opened("owner/pets:small")
    assert hub.downloaded == ["small/train-0.parquet"] and data.location == "owner/pets:small"


def test_the_only_configuration_and_the_default_one_need_no_name(hub: Hub) -> None:
    publish(hub.root / "main", "plain_text/train-0.parquet", "plain_text/test-0.parquet")
    assert len(opened().test) == 6
    publish(hub.root / "main", "train-0.parquet", "test-0.parquet")
    assert opened().train.name(0).startswith("train-0.parquet")


def test_without_a_network_an_earlier_download_is_used(hub: Hub) -> None:
    publish(hub.root / "main", "train-0.parquet", "test-0.parquet")
    before = opened()
    hub.failure = OSError("no route to host")
    assert opened().train.labels.tolist() == before.train.labels.tolist()


class ForeignNetworkError(Exception):
    """As HTTP clients raise them: not an OSError."""


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            lambda: ForeignNetworkError("name resolution failed"),
            r"could not be downloaded .*\(name resolution failed\)",
        ),
        (
            lambda: hub_error(RepositoryNotFoundError, "404"),
            "'owner/pets' is not a file or folder",
        ),
        (lambda: hub_error(GatedRepoError, "403"), r"log in with `hf auth login`\."),
    ],
)
def test_failures_are_explained(hub: Hub, failure: Callable[[], Exception], said: str) -> None:
    hub.failure = failure()
    with pytest.raises(SenetError, match=said):
        opened()


def test_a_failing_download_is_explained(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(hub.root / "main", "train-0.parquet")

    def fail(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(SenetError, match="No space left on device"):
        opened()


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SenetError, match=r'a file or folder on .*run pip install "senet\[hub\]"\.'):
        opened()


def test_a_hub_out_of_reach_is_told_without_asking_again_and_again(
    hub: Hub, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub.root / "main", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    listening.close()  # nobody answers there any more
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_: pytest.fail("asked the Hub"))
    with pytest.raises(SenetError, match="'owner/pets' is not a file or folder"):
        opened()


def test_a_hub_out_of_reach_leaves_what_was_downloaded(hub: Hub, listening: socket.socket) -> None:
    publish(hub.root / "main", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    first = opened()
    listening.close()
    assert len(opened().train) == len(first.train)
