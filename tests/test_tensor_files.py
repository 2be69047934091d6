"""Flipped bits, files that want to run code, and tensors that point outside themselves."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import senet
from senet import tensor_files
from senet.errors import SenetError
from senet.tensor_files import DamagedError, check_digests, digests_of, load_plain
from senet.training.checkpoint import load_checkpoint, save_checkpoint
from senet.weights.read import read_checkpoint

STATE = {
    "weight": torch.arange(64.0).view(8, 8),
    "count": torch.tensor(3),
    "none": torch.ones(0),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "plain": [1, (2.5, float("nan")), None, b"x", {"a": True}],
}


@pytest.mark.parametrize(
    "change",
    [
        {"weight": STATE["weight"].t().contiguous()},
        {"weight": STATE["weight"].view(4, 16)},
        {"weight": STATE["weight"].double()},
        {"count": torch.tensor(4)},
        {"none": torch.ones(0, 2)},
        {"plain": [1, (2.5, float("nan")), None, b"x", {"a": 1}]},
        {"plain": [1, [2.5, float("nan")], None, b"x", {"a": True}]},
        {"plain": [1, (2.5, 0.0), None, b"x", {"a": True}]},
        {"plain": [1, (2.5, float("nan")), None, b"x", {"b": True}]},
        {"plain": {1, 2}},
        {"more": 1},
    ],
)
def test_any_other_content_is_noticed(change: dict[str, Any]) -> None:
    digests = digests_of(STATE)
    check_digests(
        {**STATE, "weight": STATE["weight"].t().contiguous().t()}, digests
    )  # order in memory is free
    with pytest.raises(DamagedError, match="is damaged"):
        check_digests({**STATE, **change}, digests)
    for stored in (None, 3, {}, {**digests, "gone": "0"}):
        with pytest.raises(DamagedError, match="is damaged"):
            check_digests(STATE, stored)


def of_training(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "checkpoint.pt"
    save_checkpoint(path, {"format": 3, **STATE})
    return path, lambda path: (load_checkpoint(path) or ({},))[0]


def of_safetensors(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "weights.safetensors"
    senet.save_weights(senet.create_model("se_resnet8", num_classes=2), path, classes=["a", "b"])

    def load(path: Path) -> Any:
        found = read_checkpoint(path)
        return {"state": found.state, "rest": repr((found.spec, found.preprocess, found.classes))}

    return path, load


def of_others(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "weights.pth"
    torch.save({"state_dict": {"conv.weight": torch.ones(1, 1, 3, 3), "fc.bias": torch.arange(9.0)}}, path)
    return path, lambda path: read_checkpoint(path).state


@pytest.mark.parametrize("make", [of_training, of_safetensors, of_others])
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path, make: Any) -> None:
    """Most flips lie in headers and directories; a twentieth of the file may be of no consequence."""
    path, load = make(tmp_path)
    whole, expected = path.read_bytes(), digests_of(load(path))
    random_ = random.Random(0)
    start = len(whole) - 2500 if make is not of_safetensors else 0
    places = [random_.randrange(start, start + 2500) for _ in range(220)]
    places += [random_.randrange(len(whole)) for _ in range(80)]
    noticed = 0
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << random_.randrange(8)
        path.write_bytes(bytes(content))
        try:
            assert digests_of(load(path)) == expected, place
        except SenetError as error:
            assert "\n" not in str(error)
            noticed += 1
    assert noticed > 150


@pytest.mark.parametrize("checked", ["by its entry", "by digests"])
def test_an_entry_that_calls_itself_a_folder_loads_no_foreign_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: str
) -> None:
    path, load = of_training(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [each.filename for each in archive.infolist() if "/data/" in each.filename and each.file_size]
    if checked == "by digests":
        monkeypatch.setattr(tensor_files, "_check_archive", lambda path: None)
    assert len(names) == 3
    for name in names:
        content = bytearray(whole)
        entry = whole.rindex(b"PK\x01\x02", 0, whole.rindex(name.encode()))
        content[entry + 38] ^= 0x10
        path.write_bytes(bytes(content))
        with pytest.raises(SenetError, match="wrong entry of" if checked == "by its entry" else "is damaged"):
            load(path)


def test_a_checkpoint_of_this_format_has_digests_and_one_of_the_former_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 2, **STATE}, path)
    assert load_checkpoint(path) is not None
    torch.save({"format": 3, **STATE}, path)
    with pytest.raises(SenetError, match="is damaged"):
        load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(SenetError, match="contains a list, which is not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyError, OverflowError, AttributeError])
def test_whatever_reading_raises_the_checkpoint_before_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"format": 3, "epoch": 1})
    save_checkpoint(path, {"format": 3, "epoch": 2})
    good, size = torch.load, path.stat().st_size

    def load(file: Any, **options: Any) -> Any:
        if Path(file.name) == path:
            raise error("of a damaged byte")
        return good(file, **options)

    monkeypatch.setattr(torch, "load", load)
    found = load_checkpoint(path)
    assert found is not None and found[0]["epoch"] == 1 and found[1].name == "checkpoint.previous.pt"
    assert path.stat().st_size == size


class Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_what_wants_to_run_code_is_named_without_advice_to_let_it(tmp_path: Path) -> None:
    path, proof = tmp_path / "checkpoint.pt", tmp_path / "proof"
    torch.save({"format": 2, "evil": Evil(f"touch {proof}")}, path)
    with pytest.raises(
        SenetError, match=r"would run code from it \(posix\.system\), which senet never"
    ) as caught:
        load_checkpoint(path)
    assert not any(each in str(caught.value) for each in ("weights_only", "safe_globals", "\n", "trust"))
    assert not proof.exists()


def test_a_sparse_tensor_that_points_outside_itself_is_refused(tmp_path: Path) -> None:
    path, places = tmp_path / "file.pth", torch.tensor([[0, 3], [1, 10**9]])
    outside = torch.sparse_coo_tensor(places, torch.ones(2), (5, 8), check_invariants=False)
    torch.save({"fc.weight": outside}, path)
    with pytest.raises(DamagedError, match="size is inconsistent with indices"):
        load_plain(path)
