"""Files of all kinds: what holds tensors is read, the rest is refused in a sentence, and nothing runs."""

import argparse
import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

import senet
from senet.errors import SenetError
from senet.weights.read import read_checkpoint
from tests.references import import_torchvision

STATE = {"conv1.weight": torch.arange(6.0).view(1, 2, 3, 1), "fc.bias": torch.ones(3)}


def saved(value, path, **options):
    torch.save(value, path, **options)
    return path


def assert_state(checkpoint, expected=STATE):
    assert checkpoint.state.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in checkpoint.state.items())


@pytest.mark.parametrize("suffix", ["pth", "pt", "pkl", "bin", "safetensors", "nothing"])
def test_the_content_decides_not_the_suffix(tmp_path, suffix):
    path = tmp_path / f"file.{suffix}"
    assert_state(read_checkpoint(saved(STATE, path)))
    assert_state(read_checkpoint(saved(STATE, path, _use_new_zipfile_serialization=False)))
    safetensors.torch.save_file(STATE, path)
    assert_state(read_checkpoint(path))


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": STATE},
        {"model": STATE, "optimizer": {"lr": 1}, "epoch": 3},
        {"net": {f"module.{key}": value for key, value in STATE.items()}, "acc": 93.1},
        {"state_dict": {f"module._orig_mod.{key}": value for key, value in STATE.items()}},
        {f"model.{key}": value for key, value in STATE.items()},
        {"model": {"state_dict": STATE}},
        OrderedDict((key, torch.nn.Parameter(value)) for key, value in STATE.items()),
        {"args": argparse.Namespace(lr=0.1, model="resnet50"), "arch": "resnet50", "state_dict": STATE},
    ],
    ids=range(8),
)
def test_wrappers_are_unwrapped(tmp_path, wrapped):
    checkpoint = read_checkpoint(saved(wrapped, tmp_path / "file.pth"))
    assert_state(checkpoint)
    assert not any(value.requires_grad for value in checkpoint.state.values())
    assert checkpoint.notes == ()


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema"])
def test_the_average_that_was_evaluated_is_taken(tmp_path, name):
    other = {key: value + 1 for key, value in STATE.items()}
    average = {"n_averaged": torch.tensor(7), **{f"module.{key}": value for key, value in STATE.items()}}
    checkpoint = read_checkpoint(saved({"state_dict": other, name: average}, tmp_path / "file.pth"))
    assert_state(checkpoint)
    assert f"average {name!r} is used" in checkpoint.notes[0]
    alone = read_checkpoint(saved({name: average}, tmp_path / "alone.pth"))
    assert_state(alone)
    assert alone.notes == ()


def test_a_prefix_of_some_keys_is_part_of_their_names(tmp_path):
    state = {"model.conv.weight": torch.ones(2), "head.weight": torch.ones(3)}
    assert_state(read_checkpoint(saved(state, tmp_path / "file.pth")), state)


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("wrapper", [lambda evil: evil, lambda evil: {"state_dict": STATE, "x": evil}])
def test_nothing_is_executed(tmp_path, new, wrapper):
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    saved(wrapper(Evil(f"touch {proof}")), path, _use_new_zipfile_serialization=new)
    with pytest.raises(SenetError, match=r"evil\.pth would run code from it \(posix\.system\), which senet"):
        senet.create_model("resnet18", weights=path)
    assert not proof.exists()
    path.write_bytes(pickle.dumps(Evil(f"touch {proof}")))
    with pytest.raises(SenetError, match="is not a checkpoint, or is damaged: give a safetensors"):
        senet.create_model("resnet18", weights=path)
    assert not proof.exists()


def test_a_whole_pickled_network_is_code_too(tmp_path):
    path = saved(import_torchvision().models.squeezenet1_1(), tmp_path / "model.pth")
    with pytest.raises(
        SenetError, match=r"run code from it \(torchvision.*ask its author for the state dict"
    ):
        read_checkpoint(path)


def test_torchscript(tmp_path):
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    with pytest.raises(SenetError, match="TorchScript program"):
        read_checkpoint(tmp_path / "script.pt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: download it again"),
        (b"<!DOCTYPE html><html>404</html>", "web page, not a checkpoint"),
        (b"\n  <html lang='en'>", "web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"hello, this is a text about networks", "is not a checkpoint, or is damaged: give"),
        (b"this is a list\nmilk\n" * 30, "is not a checkpoint, or is damaged: give"),
        (b"PK\x03\x04 and then nothing like a zip", "truncated .it ends after 32 bytes, before its list"),
        (b"\x80\x02}q\x00", "damaged"),
        (bytes(range(256)) * 20, "is not a checkpoint, or is damaged:"),
        (b"\xff" * 8 + b"{not json", "damaged safetensors file .*header"),
        (b"\x0a" + bytes(7) + b"{not json}" * 2, "damaged safetensors file .*header"),
        (b"\x0a" + bytes(7) + b'{"a":null}' * 2, "damaged safetensors file .*header"),
    ],
)
def test_what_downloads_leave_in_place_of_a_checkpoint(tmp_path, content, said):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(SenetError, match=said) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_files_that_are_cut_short_or_changed(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        saved(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for length in (*(len(whole) * share // 8 for share in range(1, 8)), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SenetError, match=re.escape(str(path))) as caught:
            read_checkpoint(path)
    sizes = {"zip": f"after {length:,} bytes", "safetensors": f"({length:,} bytes of {len(whole):,})"}
    assert sizes.get(kind, "is not a checkpoint, or is damaged (") in str(caught.value)
    if kind == "zip":
        changed = bytearray(whole)
        changed[whole.index(STATE["conv1.weight"].numpy().tobytes())] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(SenetError, match="wrong checksum"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1, 2, 3], "it contains a list but no named tensors"),
        ({"epoch": 3, "accuracy": 0.5}, "it contains the keys 'epoch', 'accuracy' but no named tensors"),
        ({}, "no named tensors"),
        (torch.ones(3), "it contains a Tensor but no named tensors"),
        ({"model": {}}, "'model' but no named tensors"),
    ],
)
def test_pickles_without_tensors_by_name(tmp_path, value, said):
    with pytest.raises(SenetError, match=f"is not a checkpoint: .*{said}"):
        read_checkpoint(saved(value, tmp_path / "file.pth"))


def test_a_file_saved_on_a_gpu_needs_none(tmp_path):
    saved(STATE, tmp_path / "cpu.pth")
    place, other = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    with (
        zipfile.ZipFile(tmp_path / "cpu.pth") as archive,
        zipfile.ZipFile(tmp_path / "gpu.pth", "w") as changed,
    ):
        assert sum(archive.read(name).count(place) for name in archive.namelist()) == 1
        for name in archive.namelist():
            changed.writestr(name, archive.read(name).replace(place, other))
    checkpoint = read_checkpoint(tmp_path / "gpu.pth")
    assert_state(checkpoint)
    assert {value.device.type for value in checkpoint.state.values()} == {"cpu"}


def test_another_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "file.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SenetError, match=r"is not a checkpoint, or is damaged \(.*in a subdirectory"):
        read_checkpoint(tmp_path / "file.pth")


def test_folders_and_files_that_are_not_there(tmp_path):
    with pytest.raises(SenetError, match="is a folder: give a file of weights"):
        read_checkpoint(tmp_path)
    with pytest.raises(SenetError, match="No such file"):
        read_checkpoint(tmp_path / "missing.pth")
    for wrong, said in ((STATE, "a value of type dict"), (True, "a value of type bool"), ("", "an empty")):
        with pytest.raises(SenetError, match=rf"weights must be a path, owner/name .*, not {said}"):
            senet.create_model("resnet18", weights=wrong)


def test_a_random_byte_never_surprises(tmp_path):
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=False)
    whole = buffer.getvalue()
    path = tmp_path / "file.pth"
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for position in torch.randint(len(whole), (150,), generator=generator).tolist():
        changed = bytearray(whole)
        changed[position] ^= 0x55
        path.write_bytes(bytes(changed))
        try:
            read_checkpoint(path)
        except SenetError:
            refused += 1
    assert refused > 50
