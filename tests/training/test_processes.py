from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore

from senet.blocks.sync_norm import CpuSyncBatchNorm, synchronise, unsynchronise
from senet.errors import SenetError
from senet.training import processes as room
from senet.training.checkpoint import CHECKPOINT_NAME, load_checkpoint
from senet.training.execution import Execution
from senet.training.processes import (
    ALONE,
    Processes,
    is_first_process,
    join_processes,
    lost_processes_explained,
)
from tests.small import small_network
from tests.training.several import RECIPES, all_of_them, network_with_se, train_there

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run every scenario with one process and with two; return the folder of each."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    torch.save(all_of_them(one, ALONE), one / "losses.pt")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, "-m", "tests.training.several", str(two)], cwd=ROOT, check=True, timeout=300)
    return one, two


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(folders: tuple[Path, Path]) -> None:
    one, two = (torch.load(folder / "losses.pt") for folder in folders)
    assert two.pop("first") == [0.0, 0.0]
    assert two.keys() - {"own"} == one.keys()
    for name, losses in one.items():
        assert len(losses) == 12 and len(set(losses)) > 6
        # Seven digits are what single precision has, and less than three bfloat16.
        assert losses == pytest.approx(two[name], rel=5e-3 if name == "half" else 1e-6), name


@pytest.mark.slow
def test_two_processes_give_the_answers_of_one(folders: tuple[Path, Path]) -> None:
    for name in (*RECIPES, "se", "sharded", "unused"):
        one, two = (load_checkpoint(folder / name / CHECKPOINT_NAME) for folder in folders)
        assert one is not None and two is not None
        assert (one[0]["processes"], two[0]["processes"]) == (1, 2)
        assert one[0]["position"]["predictions"] == two[0]["position"]["predictions"]
        assert one[0]["model"].keys() == two[0]["model"].keys()
        assert one[0]["optimiser"].keys() == two[0]["optimiser"].keys()
        for part in ("model", "optimiser", "average"):
            assert close(one[0][part], two[0][part]), (name, part)
        se = [each for parameter, each in two[0]["optimiser"].items() if ".se." in parameter]
        assert bool(se) == (name in ("se", "sharded")), name
        for each in se:
            momentum = each["momentum_buffer"]
            assert torch.isfinite(momentum).all() and momentum.abs().max() > 0, "a block that never learnt"


@pytest.mark.slow
def test_two_processes_draw_other_numbers_and_end_with_the_same_statistics(
    folders: tuple[Path, Path],
) -> None:
    own = torch.load(folders[1] / "losses.pt")["own"]
    # Two epochs of six steps of two pieces; what the network was tried with before does not count.
    first, second = (each[-24:] for each in own["drawn"])
    assert len(set(first + second)) == 48
    for name, count in (("frozen", 1), ("statistics", 3)):
        assert len(own[name][0]) == count and all(map(torch.equal, *own[name])), name


def close(first: object, second: object) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(close(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.allclose(first, second, rtol=1e-4, atol=1e-5)
    return first == second


@pytest.mark.slow
def test_a_training_of_two_goes_on_with_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """A shared-out training is finished by one process, from its second epoch on."""
    _, two = folders
    found = load_checkpoint(two / "sharded" / "checkpoint.previous.pt")
    assert found is not None and found[0]["position"]["epoch"] == 1
    (tmp_path / CHECKPOINT_NAME).write_bytes((two / "sharded" / "checkpoint.previous.pt").read_bytes())
    train_there(tmp_path, network_with_se(), ema_decay=0.9, clip_norm=0.05, sync_norm=True)
    ended, whole = (load_checkpoint(each / CHECKPOINT_NAME) for each in (tmp_path, two / "sharded"))
    assert ended is not None and whole is not None
    for part in ("model", "optimiser", "average"):
        assert close(ended[0][part], whole[0][part]), part


def test_shard_without_torchrun_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SenetError, match="shard has no effect with a single process:"):
        train_there(tmp_path, small_network(), execution=Execution(shard=True))


def test_the_layers_themselves_are_synchronised_and_given_back() -> None:
    model = small_network()
    norm, kept = model[1], dict(model.state_dict())
    changed = synchronise(model, torch.device("cpu"))
    assert model[1] is norm and isinstance(norm, CpuSyncBatchNorm)
    unsynchronise(changed)
    assert type(norm) is nn.BatchNorm2d and "process_group" not in vars(norm)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_a_foreign_batch_norm_is_not_synchronised_by_halves() -> None:
    class Other(nn.BatchNorm2d):
        pass

    model = nn.Sequential(nn.BatchNorm2d(2), Other(2))
    with pytest.raises(SenetError, match="The layer 1 is a Other"):
        synchronise(model, torch.device("cpu"))
    assert type(model[0]) is nn.BatchNorm2d


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (2, 3, 5, 1)])
def test_one_process_synchronises_with_itself_to_the_same_numbers(
    shape: tuple[int, ...], momentum: float | None, tmp_path: Path
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
        plain, synchronised = (kind(3, momentum=momentum, dtype=torch.float64) for _ in range(2))
        synchronise(synchronised, torch.device("cpu"))
        for _ in range(2):
            assert torch.allclose(plain(x), synchronised(x), rtol=1e-12, atol=1e-12)
        assert all(map(torch.allclose, plain.buffers(), synchronised.buffers()))
        plain.eval(), synchronised.eval()
        assert torch.allclose(plain(x), synchronised(x), rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(synchronised.train(), (x,))
    finally:
        torch.distributed.destroy_process_group()


def test_synchronised_statistics_of_half_precision_are_kept_in_single(tmp_path: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        x = (torch.randn(4, 3, 5, 5) + 30).bfloat16().requires_grad_()
        plain, synchronised = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        synchronise(synchronised, torch.device("cpu"))
        expected, y = plain(x), synchronised(x)
        assert y.dtype == expected.dtype == torch.bfloat16
        assert torch.allclose(y, expected, rtol=2e-2, atol=2e-2)
        for wanted, found in zip(plain.buffers(), synchronised.buffers(), strict=True):
            assert wanted.dtype == found.dtype and torch.allclose(wanted, found, rtol=1e-5)
        y.sum().backward()
        assert x.grad is not None and x.grad.dtype == torch.bfloat16
    finally:
        torch.distributed.destroy_process_group()


def test_what_is_no_lost_connection_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shape"), lost_processes_explained():
        raise RuntimeError("shape '[2]' is invalid")


PEER = "Connection closed by peer [127.0.0.1]:10639"
MESSAGES = {
    f"[/x/gloo/transport/tcp/pair.cc:553] {PEER}. This is typically the case if the process crashed.": PEER,
    "[../third_party/gloo/gloo/transport/tcp/pair.cc:525] Read error [10.0.0.2]:4711: "
    "Connection reset by peer": "Read error [10.0.0.2]:4711: Connection reset by peer",
    "[/x/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 60000ms for recv operation to "
    "complete": "Timed out waiting 60000ms for recv operation to complete",
    "[/x/gloo/transport/tcp/pair.cc:1] something unheard of": "something unheard of",
    PEER: PEER,
    "NCCL communicator was aborted on rank 1.\nmore": "NCCL communicator was aborted on rank 1",
}


@pytest.mark.parametrize(("text", "shown"), MESSAGES.items())
def test_a_lost_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(SenetError) as caught, lost_processes_explained():
        raise RuntimeError(text)
    assert str(caught.value) == (
        f"Another process of this training ended or did not respond ({shown}): saved work is kept, and "
        "the same command resumes from there."
    )


def test_without_others_none_can_be_lost() -> None:
    with pytest.raises(RuntimeError, match="Broken pipe") as caught, lost_processes_explained():
        raise RuntimeError("Broken pipe")
    assert not isinstance(caught.value, SenetError)


def test_an_orphan_has_another_parent_than_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Processes(number=1, count=2, parent=os.getppid())
    assert not process.orphaned
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert process.orphaned
    assert not ALONE.orphaned, "nobody watches over it"


@pytest.mark.parametrize(
    ("size", "rank", "first"), [(None, None, True), ("1", "0", True), ("2", "0", True), ("2", "1", False)]
)
def test_the_first_process_is_the_only_one_or_number_0(
    monkeypatch: pytest.MonkeyPatch, size: str | None, rank: str | None, first: bool
) -> None:
    for name, value in (("WORLD_SIZE", size), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert is_first_process() == first


@pytest.fixture
def as_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> torch.distributed.HashStore:
    """Let this process find a store, and nobody else, as if torchrun had started it alone of one."""
    store = torch.distributed.HashStore()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(room, "rendezvous", lambda *_, **__: iter([(store, 0, 1)]))
    return store


@pytest.mark.parametrize(("restarts", "prefix"), [(None, "restart 0"), ("2", "restart 2")])
def test_processes_started_again_do_not_meet_those_that_ended(
    as_under_torchrun: torch.distributed.HashStore,
    monkeypatch: pytest.MonkeyPatch,
    restarts: str | None,
    prefix: str,
) -> None:
    prefixes: list[str] = []

    class Spy(PrefixStore):
        def __init__(self, name: str, store: torch.distributed.Store) -> None:
            prefixes.append(name)
            super().__init__(name, store)

    monkeypatch.setattr(room, "PrefixStore", Spy)
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    if restarts is not None:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restarts)
    with join_processes(5) as joined:
        assert (joined.number, joined.count, joined.parent) == (0, 1, os.getppid())
        with join_processes(5) as again:  # those a caller has joined are his to leave
            assert again == joined
        assert torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized()
    assert prefixes == [prefix]


def test_processes_that_are_not_found_are_one_sentence(
    as_under_torchrun: torch.distributed.HashStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise RuntimeError("[/x/TCPStore.cpp:138] Timed out after 6 seconds. Really.")

    monkeypatch.setattr(room, "rendezvous", nobody)
    with (
        pytest.raises(
            SenetError,
            match=r"Process 0 of 2 did not find the others within 5 seconds \(Timed out after 6 seconds\)",
        ),
        join_processes(5),
    ):
        pass


def test_alone_there_is_nobody_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes(5) as joined:
        assert joined is ALONE and not torch.distributed.is_initialized()
