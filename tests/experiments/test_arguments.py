"""What callers in Python give: it works, or is one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import senet
from senet.errors import SenetError
from tests.small import small_photos

TINY: dict[str, Any] = {"epochs": 1, "batch_size": 8, "warmup_epochs": 0}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small_photos(tmp_path / "photos", 30)


def train(data: Any = "photos", **options: Any) -> Any:
    given: dict[str, Any] = {"model": "resnet8", "recipe": TINY, "workers": 0, "out": "run", "progress": None}
    return senet.train_one(data, **{**given, **options})


def test_numpys_numbers_paths_and_devices_work() -> None:
    run = train(
        Path("photos"),
        recipe=senet.Recipe(**TINY),
        seed=np.int64(3),
        workers=np.int32(0),
        test_fraction=np.float32(0.25),
        device=torch.device("cpu"),
        out=Path("run"),
    )
    report = senet.evaluate(run.folder, device=torch.device("cpu"), workers=np.int64(0), progress=False)
    assert report.rows[0].predictions == run.result.predictions
    network = senet.create_model("resnet8", num_classes=np.int64(3), in_channels=np.int64(1), weights="run")
    assert network.spec.num_classes == 3 and type(network.spec.in_channels) is int
    assert len(senet.open_images("photos", test_fraction=np.float32(0.5), seed=np.int64(1)).test) == 15


def test_a_recipe_by_its_name_its_file_or_its_settings() -> None:
    Path("mine.toml").write_text("epochs = 1\nbatch_size = 8\nwarmup_epochs = 0\n")
    first = train(recipe="mine.toml")
    assert train(recipe=Path("mine.toml")).result.predictions == train().result.predictions
    assert first.result.predictions == train(recipe=senet.Recipe(**TINY)).result.predictions
    with pytest.raises(SenetError, match=r"no recipe 'small-date'.*Did you mean 'small-data'"):
        train(recipe="small-date")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"test_fraction": float("nan")}, "test_fraction is nan; give a number"),
        ({"test_fraction": "a"}, "test_fraction is 'a'; give a number"),
        ({"test_fraction": True}, "test_fraction is True; give a number"),
        ({"workers": "2"}, "workers is '2'; give a whole number"),
        ({"workers": True}, "workers is True"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": -1}, "from 0 to"),
        ({"seed": 2**64}, "from 0 to"),
        ({"model": 3}, "model is 3; give the name of a network"),
        ({"model": None}, "model is None"),
        ({"model": torch.nn.ReLU()}, "model is of type ReLU"),
        ({"recipe": 3}, "recipe is of type int"),
        ({"recipe": {"epoch": 3}}, "recipe setting 'epoch'. Did you mean 'epochs'"),
        ({"data": 3}, "data is 3; give a path"),
        ({"out": ""}, "out is ''"),
        ({"weights": 3}, "weights is 3"),
        ({"device": 0}, "device is 0; choose auto, cpu"),
        ({"execution": {}}, "execution is of type dict; give a senet.Execution"),
        ({"progress": "yes"}, "an object with the methods of senet.ComparisonProgress"),
        ({"with_se": True, "se": "x"}, "se is 'x'; give a senet.SEConfig"),
    ],
)
def test_other_types_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SenetError, match=re.escape(sentence)) as caught:
        train(**options)
    assert "\n" not in str(caught.value) and not Path("run").exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: senet.compare("photos", seeds="3"), "seeds is '3'"),
        (lambda: senet.compare("photos", measure_seconds=float("nan")), "measure_seconds is nan"),
        (
            lambda: senet.compare("photos", measure_seconds=-1),
            "measure_seconds is -1; give 0 or more seconds",
        ),
        (lambda: senet.compare("photos", parallel=1.5), "parallel is 1.5"),
        (lambda: senet.compare_job("1/2", "photos", seeds=2.5), "seeds is 2.5"),
        (lambda: senet.create_model(3), "name is of type int"),
        (lambda: senet.create_model(None), "name is of type NoneType"),
        (lambda: senet.create_model("resnet8", se="x"), "se is 'x'"),
        (lambda: senet.create_model("resnet8", num_classes="10"), "not '10'"),
        (lambda: senet.create_model("resnet8", weights="~nosuchuser/w.pt"), "~nosuchuser"),
        (lambda: senet.open_images(3), "data is of type int"),
        (lambda: senet.open_images(["photos"]), "data is of type list"),
        (lambda: senet.open_images("photos", test_fraction="a"), "The test fraction is a"),
        (lambda: senet.open_images("photos", seed="a"), "seed is 'a'"),
        (lambda: senet.evaluate(None), "model is of type NoneType"),
        (lambda: senet.evaluate("x.pt", views="big"), "views is of type str"),
        (lambda: senet.evaluate(torch.nn.ReLU(), preprocess="imagenet"), "preprocess is of type str"),
        (lambda: senet.evaluate("~nosuchuser/run"), "~nosuchuser"),
        (lambda: senet.evaluate("x.pt", progress=3), "senet.EvaluationProgress"),
    ],
)
def test_so_they_are_elsewhere(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(SenetError, match=re.escape(sentence)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_progress_is_shown_unless_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for progress, lines in ((None, 0), (False, 0), (True, 1)):
        train(out=f"run{progress}", progress=progress)
        told = capsys.readouterr().out
        assert told.count("seed 0, plain: test error") == lines and bool(told) == bool(lines)
    senet.evaluate("runTrue", workers=0)
    assert "weights" in capsys.readouterr().out
    assert isinstance(senet.Display(), senet.ComparisonProgress)
    assert isinstance(senet.EvaluationDisplay(), senet.EvaluationProgress)
