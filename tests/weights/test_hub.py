"""Without a network: `huggingface_hub` is replaced by a local folder, its real signatures are kept."""

import inspect
import json
import shutil
import socket
import sys

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

import senet
from senet.errors import SenetError
from senet.weights.hub import is_repository
from tests.references import import_timm, pytorchcv_model, randomise

REAL_LIST = inspect.signature(huggingface_hub.HfApi.list_repo_files)
REAL_SNAPSHOT = inspect.signature(huggingface_hub.snapshot_download)
REAL_DOWNLOAD = inspect.signature(huggingface_hub.hf_hub_download)
CONFIG = {
    "architecture": "resnet18",
    "num_classes": 1000,
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.4, 0.4, 0.4],
        "num_classes": 1000,
    },
}


def hub_error(kind, text):
    """Make an error without the HTTP response its constructor wants."""
    error = kind.__new__(kind)
    error.args = (text,)
    return error


class Hub:
    """A repository as a folder, and the cache of what was downloaded of it."""

    def __init__(self, root):
        self.root, self.cache = root / "owner", root / "cache"
        self.root.mkdir()
        self.failure = None
        self.downloaded = []

    def list_repo_files(self, *arguments, **options):
        given = REAL_LIST.bind(None, *arguments, **options).arguments
        assert given["repo_id"] == "owner/net"
        if self.failure is not None:
            raise self.failure
        return [path.name for path in self.root.iterdir()]

    def snapshot_download(self, *arguments, **options):
        given = REAL_SNAPSHOT.bind(*arguments, **options).arguments
        assert given["repo_id"] == "owner/net"
        assert given["local_files_only"]
        if not self.cache.exists():
            raise LocalEntryNotFoundError("not in the cache")
        return str(self.cache)

    def hf_hub_download(self, *arguments, **options):
        given = REAL_DOWNLOAD.bind(*arguments, **options).arguments
        assert given["repo_id"] == "owner/net"
        name = given["filename"]
        if not (self.cache / name).exists():
            self.cache.mkdir(exist_ok=True)
            shutil.copy(self.root / name, self.cache / name)
            self.downloaded.append(name)
        return str(self.cache / name)


@pytest.fixture
def listening():
    """Something that answers where the Hub is looked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def hub(tmp_path, listening, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    fake = Hub(tmp_path)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "list_repo_files", lambda api, *a, **o: fake.list_repo_files(*a, **o)
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.hf_hub_download)
    return fake


@pytest.fixture(scope="module")
def small():
    model = pytorchcv_model("resnet20_cifar10")
    randomise(model)
    return model


def created(weights="owner/net", name="resnet20"):
    return senet.create_model(name, weights=weights)


@pytest.mark.parametrize("name", ["timm/seresnet50.ra2_in1k", "owner/net", "a-b/c_d.e"])
def test_repositories(name):
    assert is_repository(name)


@pytest.mark.parametrize("name", ["net", "./net", "/a/b", "a/b/c", "../a", "a b/c", "", "~/net"])
def test_paths_are_no_repositories(name):
    assert not is_repository(name)


@pytest.mark.parametrize("weights", ["owner/net", "hf-hub:owner/net"])
def test_safetensors_come_before_pickles(hub, small, weights):
    safetensors.torch.save_file(small.state_dict(), hub.root / "model.safetensors")
    (hub.root / "pytorch_model.bin").write_bytes(b"never read")
    (hub.root / "README.md").write_text("a network")
    model = created(weights)
    assert torch.equal(model.fc.weight, small.output.weight)
    assert model.loaded.source == "owner/net/model.safetensors"
    assert hub.downloaded == ["model.safetensors"]
    created(weights)
    assert hub.downloaded == ["model.safetensors"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "resnet20.pth"])
def test_pickles_are_read_where_there_is_nothing_else(hub, small, name):
    torch.save(small.state_dict(), hub.root / name)
    assert torch.equal(created().fc.weight, small.output.weight)


def test_timms_config_tells_the_preprocessing(hub):
    theirs = import_timm().create_model("resnet18")
    safetensors.torch.save_file(theirs.state_dict(), hub.root / "model.safetensors")
    (hub.root / "config.json").write_text(json.dumps(CONFIG))
    model = created(name="resnet18")
    found = model.preprocess
    assert (found.crop, found.resize, found.interpolation) == (160, 168, "bicubic")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.4, 0.4, 0.4))
    assert found.labels == "ImageNet-1k, sorted by WordNet id"
    assert model.loaded.package == "timm"
    more = {**CONFIG, "pretrained_cfg": {**CONFIG["pretrained_cfg"], "num_classes": 21841}}
    (hub.cache / "config.json").write_text(json.dumps(more))
    assert created(name="resnet18").preprocess.labels is None
    (hub.cache / "config.json").write_text(json.dumps({**CONFIG, "architecture": "resnetblur18"}))
    with pytest.raises(
        SenetError, match="belongs to timm's resnetblur18, which has the tensors of resnet18 but blurs"
    ):
        created(name="resnet18")


def test_configs_that_tell_nothing(hub, small):
    safetensors.torch.save_file(small.state_dict(), hub.root / "model.safetensors")
    (hub.root / "config.json").write_text("[]")
    assert created().loaded.package == "pytorchcv"
    (hub.cache / "config.json").write_text('{"model_type": "other"}')
    assert created().loaded.package == "pytorchcv"
    strange = json.dumps({"pretrained_cfg": {**CONFIG["pretrained_cfg"], "interpolation": "nearest"}})
    for text in ("{", '{"pretrained_cfg": {"input_size": [3, 8, 8]}}', "3", strange):
        (hub.cache / "config.json").write_text(text)
        with pytest.raises(SenetError, match=r"config\.json of owner/net is invalid"):
            created()


def test_what_save_weights_wrote_comes_back(hub):
    model = senet.create_model("se_resnet8", se=senet.SEConfig(reduction=4), num_classes=2)
    senet.save_weights(model, hub.root / "model.safetensors", classes=["a", "b"])
    (hub.root / "config.json").write_text(json.dumps(CONFIG))  # which is somebody else's
    back = created(name="se_resnet8")
    assert (back.spec, back.preprocess) == (model.spec, model.preprocess)
    assert back.loaded.classes == ("a", "b")


def test_several_checkpoints_and_none(hub, small):
    with pytest.raises(SenetError, match="owner/net on the Hugging Face Hub has no checkpoint"):
        created()
    for name in ("a.pth", "b.pth"):
        torch.save(small.state_dict(), hub.root / name)
    with pytest.raises(SenetError, match=r"has 2 checkpoints, a\.pth and others"):
        created()


def test_without_a_network_an_earlier_download_is_used(hub, small, listening):
    safetensors.torch.save_file(small.state_dict(), hub.root / "model.safetensors")
    created()
    hub.failure = OSError("no route to host")
    assert torch.equal(created().fc.weight, small.output.weight)
    listening.close()
    assert torch.equal(created().fc.weight, small.output.weight)


def test_a_hub_out_of_reach(hub, listening):
    listening.close()  # nobody answers there any more
    with pytest.raises(
        SenetError, match="'owner/net' is not a file on this machine, and the Hugging Face Hub cannot be re"
    ):
        created()


def test_a_misspelt_tag_gets_a_hint(hub, listening, monkeypatch):
    def nothing(*_, **__):
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing)
    listening.close()
    with pytest.raises(SenetError, match=r"cannot be reached: .*Did you mean 'cadene/se_resnet50'"):
        created("cadene/se_resnet5")
    with pytest.raises(SenetError, match=r"spelling of the path, or the network\.$"):
        created("cadena/se_resnet5")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ValueError("name resolution failed"), r"could not be downloaded .*\(name resolution failed\)"),
        (
            hub_error(RepositoryNotFoundError, "404"),
            "is not a file on this machine, nor a repository on the Hugging",
        ),
        (hub_error(GatedRepoError, "403"), r"owner/net is gated: .*with `hf auth login`\."),
    ],
)
def test_failures_are_explained(hub, failure, said):
    hub.failure = failure
    with pytest.raises(SenetError, match=said):
        created()


def test_a_failing_download_is_explained(hub, small, monkeypatch):
    torch.save(small.state_dict(), hub.root / "a.pth")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(SenetError, match="No space left on device"):
        created()


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        SenetError, match=r'not a file on this machine; to look for it .*pip install "senet\[hub\]"'
    ):
        created()
    with pytest.raises(SenetError, match=r"'owner' is not the name of a repository .*give it as owner/name"):
        created("hf-hub:owner")
