from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from senet.errors import SenetError
from senet.training.execution import Execution
from senet.training.logs import names as log_names
from senet.training.logs.make import Logs, make_logs
from tests.training.logs.records import FACTS, metrics, record
from tests.training.logs.stand_ins import FakeMlflow, FakeWandb, install


def make(folder: Path, *names: Any, step: int = 0, state: Any = None, notes: list[str] | None = None) -> Logs:
    said = [] if notes is None else notes
    return make_logs(
        names or None, folder, facts=FACTS, step=step, state=state or {}, every=10, note=said.append
    )


def test_several_logs_at_once(tmp_path: Path) -> None:
    logs = make(tmp_path)
    logs.step(record(10))
    logs.epoch(10, metrics(1))
    logs.flush()
    assert set(logs.state()) == {"steps.csv", "speed.csv"}
    logs.close()
    logs.close()
    assert (tmp_path / "steps.csv").read_text().count("\n") == 2
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_every_so_many_steps_are_due(tmp_path: Path) -> None:
    logs = make(tmp_path, "csv")
    assert [step for step in range(1, 31) if logs.due(step)] == [10, 20, 30]
    logs.close()
    nothing = make_logs((), tmp_path / "other", facts={}, step=0, state={}, every=10, note=print)
    assert [step for step in range(1, 31) if nothing.due(step)] == [10, 20, 30], "same on all processes"
    nothing.step(record(10))
    assert nothing.state() == {} and not (tmp_path / "other").exists()


def test_without_tensorboard_tables_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_names.default_names() == ("csv", "tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    make(tmp_path).close()
    assert (tmp_path / "steps.csv").exists() and not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tensorboard", 'pip install "senet[log]"'),
        ("wandb", 'pip install "senet[wandb]"'),
        ("mlflow", 'pip install "senet[mlflow]"'),
    ],
)
def test_what_is_not_installed_is_named(
    name: Any, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(module: str) -> object:
        return None if module == name else find_spec(module)

    monkeypatch.setattr(log_names, "find_spec", find)
    with pytest.raises(SenetError) as caught:
        make(tmp_path, "csv", name)
    assert command in str(caught.value) and "--log" in str(caught.value)
    assert not (tmp_path / "steps.csv").exists(), "nothing half-written"
    with pytest.raises(SenetError, match=name):
        Execution(log=("csv", name))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SenetError, match=r"log must .*not 'tensorbord'\. Did you mean 'tensorboard'\?"):
        Execution(log=("tensorbord",))  # type: ignore[arg-type]
    with pytest.raises(SenetError, match=r"log_steps must be .*, not 0"):
        Execution(log_steps=0)
    assert Execution(log=()).log == () and Execution().log is None


def failing(monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> FakeWandb | FakeMlflow:
    """Install a stand-in whose server goes away when ``fails`` is set to what this returns in it."""
    module: FakeWandb | FakeMlflow = FakeWandb() if name == "wandb" else FakeMlflow()
    install(monkeypatch, module)
    own = module.Error if isinstance(module, FakeWandb) else module.exceptions.MlflowException
    error = own if kind == "own" else ConnectionResetError
    module.error = error("the server is gone.\nmore")  # type: ignore[union-attr]
    return module


@pytest.mark.parametrize("kind", ["own", "connection"])
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_goes_away_ends_no_training(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = failing(monkeypatch, name, kind)
    notes: list[str] = []
    logs = make(tmp_path, "csv", name, notes=notes)
    logs.step(record(10))
    module.fails = module.error
    for step in (20, 30):
        logs.step(record(step))
    logs.epoch(30, metrics(1))
    logs.flush()
    state = logs.state()
    logs.close()
    assert notes == [f"The log {name} failed (the server is gone); training continues without it."]
    assert (tmp_path / "steps.csv").read_text().count("\n") == 4
    assert state[f"{name}_run"] == "run0", "the next start can go on with the run"

    # The server is still gone when the training is started again, and back the time after.
    again = make(tmp_path, "csv", name, step=30, state=state, notes=notes)
    assert len(notes) == 2 and notes[1] == notes[0] and again.state() == state
    again.step(record(40))
    again.close()
    module.fails = None
    back = make(tmp_path, "csv", name, step=30, state=state, notes=notes)
    back.step(record(50))
    back.close()
    assert len(notes) == 2 and len(module.runs) == 1
    points = module.runs["run0"]["points"]
    steps = points if name == "wandb" else [step for tag, step, _ in points if tag == "train/loss"]
    assert list(steps) == [10, 50]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_is_not_there_at_the_beginning_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = failing(monkeypatch, name, "own")
    module.fails = module.error
    with pytest.raises(SenetError, match=rf"The log {name} cannot be used \(the server is gone\): fix"):
        make(tmp_path, name)


def test_a_log_is_finished_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = FakeWandb()
    install(monkeypatch, module)
    logs = make(tmp_path, "wandb", "wandb")
    logs.close()
    logs.close()
    assert [run["finished"] for run in module.runs.values()] == [1]


def test_other_errors_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = failing(monkeypatch, "wandb", "own")
    logs = make(tmp_path, "wandb")
    module.fails = KeyError("a defect")
    with pytest.raises(KeyError):
        logs.step(record(10))


def test_tensorboard_that_cannot_write_ends_no_training(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder belongs")
    with pytest.raises(SenetError, match="The log tensorboard cannot be used"):
        make(tmp_path, "tensorboard")
    notes: list[str] = []
    logs = make(tmp_path, "csv", "tensorboard", step=5, notes=notes)
    logs.step(record(10))
    logs.close()
    assert any("The log tensorboard failed" in note for note in notes)
