"""Every command and option that takes a path, with every kind of bad one: a sentence and exit code 2."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import senet
from senet.cli.main import EXIT_BAD_INPUT, main

LONG = "x" * 300
# Words of a command; PATH stands for the bad one.
READ = {
    "train DATA": "train PATH --model resnet8",
    "train --data": "train --data PATH --model resnet8",
    "train --recipe": "train data --model resnet8 --recipe PATH",
    "train --weights": "train data --model resnet8 --weights PATH",
    "compare DATA": "compare PATH",
    "compare --recipe": "compare data --recipe PATH",
    "compare --collect": "compare --collect PATH",
    "evaluate MODEL": "evaluate PATH data",
    "evaluate DATA": "evaluate resnet8 PATH --weights weights.pt",
    "evaluate --weights": "evaluate resnet8 data --weights PATH",
    "recipes": "recipes PATH",
    "models": "models PATH",
}
WRITTEN = {
    "train --out": "train data --model resnet8 --epochs 1 --workers 0 --out PATH",
    "compare --out": "compare data --model resnet8 --epochs 1 --workers 0 --out PATH",
    "evaluate --out": "evaluate resnet8 data --weights weights.pt --workers 0 --out PATH",
    "insert --out": "insert --model nets:tiny --out PATH.safetensors",
    "bench --csv": "bench --model resnet8 --csv PATH.csv",
    "bench --plot": "bench --model resnet8 --plot PATH.svg",
}
ANYWHERE = {
    "too long": LONG,
    "a folder too long": f"{LONG}/x",
    "deep": "/".join("d" for _ in range(3000)),
    "unknown user": "~nosuchuser/x",
    "NUL": "a\0b",
    "loop": "loop/x",
    "below a file": "file/x",
}
ONLY_READ = {
    "bytes": "no\udce9/x",
    "missing": "missing",
    "dangling": "dangling",
    "loop itself": "loop",
    "device": "/dev/null",
}
ONLY_WRITTEN = {"below /proc": "/proc/x/y", "below a device": "/dev/null/x"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.small import small_source

    root = tmp_path_factory.mktemp("paths")
    for name in ("cat", "dog"):
        (root / "data" / name).mkdir(parents=True)
        for index in range(10):
            small_source(10, side=10).read(index).save(root / "data" / name / f"{index}.png")
    (root / "file").write_text("nothing")
    torch.save(senet.create_model("resnet8", num_classes=2).state_dict(), root / "weights.pt")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    (root / "nets.py").write_text(
        "from torch import nn\n"
        "def tiny(num_classes=3):\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(16, num_classes))\n"
    )
    return root


CASES = [
    *((where, kind) for where in READ for kind in (*ANYWHERE, *ONLY_READ)),
    *((where, kind) for where in WRITTEN for kind in (*ANYWHERE, *ONLY_WRITTEN)),
]
PATHS = {**ANYWHERE, **ONLY_READ, **ONLY_WRITTEN}


@pytest.mark.parametrize(("where", "kind"), CASES, ids=lambda each: each.replace(" ", "_"))
def test_a_bad_path_is_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str, kind: str
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = [word.replace("PATH", PATHS[kind]) for word in {**READ, **WRITTEN}[where].split(" ")]
    before = sorted(place.rglob("*"))
    assert main(words) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("senet: ") and err.count("\n") == 1, err
    assert "Traceback" not in out + err and len(err) < 8000
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "words", [each.replace("PATH", "data") for each in (*READ.values(), *WRITTEN.values())]
)
def test_a_deleted_working_directory_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(words.replace("PATH", "data").split()) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert "working directory has been deleted" in err and err.count("\n") == 1


@pytest.fixture
def bound_by_permissions() -> Iterator[None]:
    """Hold root, too, to the permissions of files: without the capabilities 1 and 2, which override them."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may write everywhere, and only Linux lets it do without")
    system = ctypes.CDLL(None)
    version_3, this_thread = 0x20080522, 0
    header = (ctypes.c_uint32 * 2)(version_3, this_thread)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of 32 capabilities each; twice
    assert system.capget(header, held) == 0
    fewer = (ctypes.c_uint32 * 6)(held[0] & ~0b110, *held[1:])
    assert system.capset(header, fewer) == 0
    yield
    assert system.capset(header, held) == 0


@pytest.mark.usefixtures("bound_by_permissions")
@pytest.mark.parametrize("where", WRITTEN)
def test_a_folder_without_permission(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    monkeypatch.chdir(place)
    tmp_path.chmod(0o500)
    words = WRITTEN[where].replace("PATH", str(tmp_path / "x")).split()
    assert main(words) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("senet: ") and err.count("\n") == 1, err
    assert str(tmp_path) in err and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("bound_by_permissions")
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("where", READ)
def test_what_must_not_be_read(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    kind: str,
) -> None:
    monkeypatch.chdir(place)
    locked = tmp_path / ("locked.toml" if where == "recipes" else "locked")
    if kind == "folder":
        locked.mkdir()
    else:
        locked.touch()
    locked.chmod(0)
    assert main(READ[where].replace("PATH", str(locked)).split()) == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith("senet: ") and err.count("\n") == 1, err
    assert "locked" in err
