"""Trainings in processes of their own: the numbers of those in this one, whatever happens to them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from senet.errors import SenetError, TrainingInterrupted
from senet.experiments import compare as compare_module
from senet.experiments import parallel
from senet.experiments.plan import Plan, make_plan
from senet.experiments.progress import SilentComparison
from senet.experiments.trainings import trainings_of
from senet.insight.results import EpochMetrics, Variant
from senet.training.execution import Execution
from senet.training.finished import read_training
from senet.training.processes import ALONE
from senet.training.progress import Silent
from senet.training.recipe import Recipe
from tests.experiments.test_collect import numbers
from tests.small import small_photos

pytestmark = pytest.mark.slow

RECIPE = Recipe(epochs=4, batch_size=8)
compare = partial(compare_module.compare, measure_seconds=0.05)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_photos(tmp_path_factory.mktemp("images") / "photos")


def planned(photos: Path, out: Path) -> Plan:
    return make_plan(
        photos,
        model="resnet8",
        with_se=True,
        se=None,
        recipe=RECIPE,
        out=out,
        device="cpu",
        workers=0,
        test_fraction=None,
        command=None,
        job="compare",
        execution=Execution(),
        processes=ALONE,
        seeds=1,
        checking=None,
        fetching=None,
    )


class Watching(SilentComparison):
    """Notes all events, and does something at the first one."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.events: dict[str, list[Any]] = {}
        self.then, self.begun = then, False

    def training(self, *, number: int, total: int, seed: int, variant: Variant) -> Silent:
        watching, events = self, self.events.setdefault(f"seed{seed}-{variant}", [(number, total)])

        class One(Silent):
            def note(self, text: str) -> None:
                events.append(text)
                watching.begin()

            def step(
                self, *, epoch: int, batch: int, loss: float, images: int, data_wait: float = 0.0
            ) -> None:
                events.append(images)
                watching.begin()

            def epoch(self, metrics: EpochMetrics) -> None:
                events.append(metrics)

        return One()

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.then()


@pytest.mark.usefixtures("layer_by_layer")
def test_a_process_that_lost_its_parent_saves_and_others_end_with_the_numbers_of_one_after_another(
    photos: Path, tmp_path: Path
) -> None:
    wanted, _ = compare(photos, recipe=RECIPE, seeds=1, out=tmp_path / "whole", workers=0)
    plan = planned(photos, tmp_path / "x")
    process = subprocess.Popen(
        [sys.executable, "-m", "senet.experiments.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(pickle.dumps(plan) + pickle.dumps(plan.device) + b'[0, "se"]\n')
    process.stdin.flush()
    while json.loads(process.stdout.readline())[0] != "step":
        pass
    # That is all the operating system does to a process whose parent was killed.
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    stored = read_training(plan.folder / "seed0-se", 2)
    assert stored is not None and stored.result is None

    watching = Watching()
    found, _ = compare(
        photos, recipe=RECIPE, seeds=1, out=plan.folder, parallel=2, progress=watching, workers=0
    )
    assert numbers(found) == numbers(wanted)
    for run in found.runs:
        told = [each for each in watching.events[run.folder] if isinstance(each, EpochMetrics)]
        assert told and tuple(told) == run.history[-len(told) :]
    images = sum(each for each in watching.events["seed0-plain"] if isinstance(each, int))
    assert images == RECIPE.epochs * 48
    assert "parallel=2" in found.command


class Processes:
    """Runs the processes of `parallel`, none of which trains anything."""

    def __init__(self, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan, self.monkeypatch = plan, monkeypatch
        self.started: list[Any] = []
        started = self.started

        class Recorded(parallel._Process):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                started.append(self)

        monkeypatch.setattr(parallel, "_Process", Recorded)
        monkeypatch.setattr(parallel, "WORKER", "tests.experiments.stand_in")

    def run(self, seeds: int, progress: Watching, **does: str) -> None:
        for name, each in does.items():
            self.monkeypatch.setenv(f"DOES_{name}", each)
        trainings = trainings_of(seeds)
        try:
            parallel.train_all(self.plan, trainings, parallel=2, progress=progress)
        finally:
            assert len(self.started) == 2
            assert all(each.process.poll() is not None for each in self.started)


@pytest.fixture
def processes(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(planned(photos, tmp_path / "x"), monkeypatch)


def test_each_training_is_handed_out_once(processes: Processes) -> None:
    watching = Watching()
    processes.run(4, watching)
    assert watching.events == {
        training.name: [(number, 8), f"at {training.name}"]
        for number, training in enumerate(trainings_of(4), start=1)
    }


@pytest.mark.parametrize(
    ("does", "error", "sentence"),
    [
        ("fail", SenetError, r"^seed1-plain became nan\.$"),
        (
            "die",
            SenetError,
            r"training seed1-plain in .*was killed \(signal 9\), most likely .*memory",
        ),
        ("crash", RuntimeError, "training seed1-plain ended with exit code 1"),
    ],
)
def test_what_ends_one_is_said_once_and_the_others_save(
    processes: Processes, does: str, error: type[Exception], sentence: str
) -> None:
    watching = Watching()
    with pytest.raises(error, match=sentence):
        processes.run(3, watching, seed0_plain="train", seed1_plain=does)
    assert watching.events["seed0-plain"][1:] == ["at seed0-plain", "saved seed0-plain"]
    assert set(watching.events) == {"seed0-plain", "seed0-se", "seed1-plain"}


def test_the_first_failure_is_the_one_that_is_told(processes: Processes) -> None:
    with pytest.raises(SenetError, match=r"^seed0-se became nan\.$"):
        processes.run(1, Watching(), seed0_plain="fail late", seed0_se="fail")


def test_ctrl_c_in_a_terminal_reaches_this_process_only(processes: Processes) -> None:
    sessions: set[int] = set()
    watching = Watching(lambda: sessions.update(os.getsid(each.process.pid) for each in processes.started))
    processes.run(1, watching)
    assert len(sessions) == 2 and os.getsid(0) not in sessions


def test_ctrl_c_lets_all_save_and_a_second_one_does_not_wait(processes: Processes) -> None:
    def press(times: int) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    watching = Watching(partial(press, 2))
    with pytest.raises(KeyboardInterrupt):
        processes.run(1, watching, seed0_plain="train", seed0_se="train")
    assert not any("saved" in str(each) for each in watching.events.values())
    processes.started.clear()
    watching = Watching(partial(press, 1))
    with pytest.raises(TrainingInterrupted):
        processes.run(1, watching, seed0_plain="train", seed0_se="train")
    for name, events in watching.events.items():
        assert events[-1] == f"saved {name}"


def test_gpus_are_shared_out_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    shared = parallel.devices(torch.device("cuda"), 3)
    assert [str(each) for each in shared] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [str(each) for each in parallel.devices(torch.device("cuda", 1), 2)] == ["cuda:1"] * 2
    assert [str(each) for each in parallel.devices(torch.device("cpu"), 2)] == ["cpu"] * 2


def test_impossible_numbers_are_refused_before_a_folder_is_made(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, sentence in (
        (0, "parallel must be from 1 .*, not 0"),
        (-2, "parallel must be from 1"),
        (5, "parallel must be at most the number of trainings, 4"),
    ):
        with pytest.raises(SenetError, match=sentence):
            compare(photos, seeds=2, out=tmp_path / "x", parallel=number)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SenetError, match="parallel cannot be 2 under torchrun"):
        compare(photos, seeds=2, out=tmp_path / "x", parallel=2)
    assert not (tmp_path / "x").exists()
