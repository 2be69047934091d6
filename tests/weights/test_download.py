"""Without a network: published files come from a server in this process."""

import dataclasses
import hashlib
import http.server
import socket
import threading
from pathlib import Path

import pytest
import torch

import senet
from senet.errors import SenetError
from senet.weights import find, released
from senet.weights.download import download, reachable
from tests.references import pytorchcv_model, randomise


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends what the server's ``files`` has, claiming the length that ``claimed`` has, if any."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/garbage.pth":
            self.wfile.write(b"no answer that HTTP knows\r\n\r\n")
            return
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("Content-Length", str(len(content) + self.server.missing))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.missing = {}, [], 0
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def kept(tmp_path):
    folder = tmp_path / "hub" / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def named(content):
    return f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def test_a_file_is_fetched_once_and_its_hash_compared(server, tmp_path):
    content = b"weights" * 1000
    name = named(content)
    server.files[f"/{name}"] = content
    path = download(f"{server.url}/{name}")
    assert path.read_bytes() == content
    assert path.parent == Path(torch.hub.get_dir()) / "checkpoints"
    assert download(f"{server.url}/{name}") == path
    assert server.asked == [f"/{name}"]
    assert kept(tmp_path) == [name]


def test_another_content_is_refused_and_not_kept(server, tmp_path):
    server.files["/net-01234567.pth"] = b"something else"
    with pytest.raises(SenetError, match=r"The download of net-01234567\.pth from .* has a wrong checksum"):
        download(f"{server.url}/net-01234567.pth")
    assert kept(tmp_path) == []


def test_a_connection_that_breaks_leaves_nothing(server, tmp_path):
    content = b"weights" * 1000
    name = named(content)
    server.files[f"/{name}"], server.missing = content[:-5], 5
    with pytest.raises(SenetError, match=r"try again, or download http://.* elsewhere and give its path"):
        download(f"{server.url}/{name}")
    assert kept(tmp_path) == []


def test_a_file_without_a_hash_may_have_any(server):
    server.files["/net-60a8950a85b2b.pkl"] = b"weights"
    assert download(f"{server.url}/net-60a8950a85b2b.pkl", hashed=False).read_bytes() == b"weights"


def test_a_file_that_is_not_there(server, tmp_path):
    with pytest.raises(SenetError, match=r"net-01234567\.pth could not be downloaded from 127.0.0.1 \(.*404"):
        download(f"{server.url}/net-01234567.pth")
    assert kept(tmp_path) == []


def test_an_answer_that_is_none(server, tmp_path):
    with pytest.raises(SenetError, match=r"garbage\.pth could not be downloaded from 127\.0\.0\.1 \(no"):
        download(f"{server.url}/garbage.pth")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "port"), [("http://host/a", 80), ("https://host/a", 443), ("http://host:81/a", 81)]
)
def test_the_server_is_asked_at_its_port(server, monkeypatch, url, port):
    asked = []

    def connect(address, **_):
        asked.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert not reachable(url)
    assert asked == [("host", port)]


def test_a_server_out_of_reach(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(SenetError, match=r"127\.0\.0\.1 cannot be reached to download net-01234567\.pth"):
        download(f"http://127.0.0.1:{port}/net-01234567.pth")
    assert kept(tmp_path) == []


def test_a_proxy_may_answer_where_the_server_does_not(server, monkeypatch):
    address = "http://nowhere.invalid/net.pth"
    assert not reachable(address)
    monkeypatch.setenv("http_proxy", server.url)
    assert reachable(address)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "hub").write_text("a file in place of the folder")
    with pytest.raises(SenetError, match="could not be downloaded from"):
        download(f"{server.url}/net-01234567.pth")


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """A checkpoint of a small network in the table of releases."""
    model = pytorchcv_model("resnet20_cifar10")
    randomise(model)
    torch.save(model.state_dict(), tmp_path / "file")
    content = (tmp_path / "file").read_bytes()
    name = f"resnet20_cifar10-0597-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/{name}"] = content
    preprocess = dataclasses.replace(senet.Preprocess(crop=32, resize=32), labels="CIFAR-10")
    release = released.Release(
        tag="timm/small.v1",
        package="pytorchcv",
        network="resnet20",
        preprocess=preprocess,
        url=f"{server.url}/{name}",
    )
    for module in (released, find):
        monkeypatch.setattr(module, "RELEASES", (release,), raising=False)
    return model, release


@pytest.mark.parametrize("tag", ["timm", "timm/small.v1"])
@pytest.mark.parametrize("name", ["resnet20", "se_resnet20"])
def test_a_short_name_brings_weights_and_preprocessing(published, tag, name):
    theirs, release = published
    model = senet.create_model(name, weights=tag)
    assert torch.equal(model.fc.weight, theirs.output.weight)
    assert model.preprocess == release.preprocess
    assert model.loaded.package == "pytorchcv"
    assert model.loaded.source.endswith(release.file_name)
    again = senet.create_model("resnet20")
    assert senet.load_weights(again, tag).new == ()


def test_a_published_file_elsewhere_on_the_disk_is_recognised(published, server, tmp_path, monkeypatch):
    _, release = published
    path = tmp_path / release.file_name
    path.write_bytes(server.files[f"/{release.file_name}"])
    assert senet.create_model("resnet20", weights=path).preprocess == release.preprocess
    monkeypatch.setenv("HOME", str(tmp_path))
    assert senet.create_model("resnet20", weights=f"~/{path.name}").preprocess == release.preprocess
    other = path.rename(tmp_path / "mine.pth")
    own = senet.create_model("resnet20")
    senet.save_weights(own, path)  # ours under that name
    assert senet.create_model("resnet20", weights=path).preprocess == own.preprocess
    assert senet.create_model("resnet20", weights=str(other)).preprocess != release.preprocess
    assert server.asked == []


def test_a_published_file_whose_name_tells_no_hash(published, server, monkeypatch):
    theirs, release = published
    url = f"{server.url}/resnet20-60a8950a85b2b.pkl"
    server.files["/resnet20-60a8950a85b2b.pkl"] = server.files[f"/{release.file_name}"]
    for module in (released, find):
        releases = (dataclasses.replace(release, url=url, hashed=False),)
        monkeypatch.setattr(module, "RELEASES", releases, raising=False)
    model = senet.create_model("resnet20", weights="timm/small.v1")
    assert torch.equal(model.fc.weight, theirs.output.weight)


def test_a_folder_of_the_same_name_does_not_hide_a_tag(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "timm").mkdir()
    (tmp_path / "runs" / "pets").mkdir(parents=True)
    assert senet.create_model("resnet20", weights="timm").loaded.new == ()
    with pytest.raises(SenetError, match=r"runs/pets is a folder without checkpoint\.pt"):
        senet.create_model("resnet20", weights="runs/pets")


def test_what_is_neither_file_nor_tag_nor_repository(published):
    with pytest.raises(
        SenetError, match=r"no file 'timn', and it is neither .* choose one of cadene, timm, .*mean 'timm'"
    ):
        senet.create_model("resnet20", weights="timn")
    with pytest.raises(SenetError, match=r"no file 'runs/a/b\.pth'"):
        senet.create_model("resnet20", weights="runs/a/b.pth")
    with pytest.raises(SenetError, match=r"timm/small\.v1 has weights of resnet20, not of resnet8"):
        senet.create_model("resnet8", weights="timm/small.v1")
