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
        ({"test_fraction": float("nan")}, "test_fraction must be a number…not nan"),
        ({"test_fraction": "a"}, "test_fraction must be a number…not 'a'"),
        ({"test_fraction": True}, "test_fraction must be a number…not True"),
        ({"workers": "2"}, "workers must be a whole number…not '2'"),
        ({"workers": True}, "workers must be…not True"),
        ({"seed": "a"}, "seed must be…not 'a'"),
        ({"seed": 1.5}, "seed must be…not 1.5"),
        ({"seed": -1}, "from 0 to"),
        ({"seed": 2**64}, "from 0 to"),
        ({"model": 3}, "model must be the name of a network…not 3"),
        ({"model": None}, "model must be…not None"),
        ({"model": torch.nn.ReLU()}, "model must be…not a value of type ReLU"),
        ({"recipe": 3}, "recipe must be…not a value of type int"),
        ({"recipe": {"epoch": 3}}, "recipe setting 'epoch'. Did you mean 'epochs'"),
        ({"data": 3}, "data must be a path…not 3"),
        ({"out": ""}, "out must be…not ''"),
        ({"weights": 3}, "weights must be…not 3"),
        ({"device": 0}, "device must be auto, cpu…not 0"),
        ({"execution": {}}, "execution must be a senet.Execution…not a value of type dict"),
        ({"progress": "yes"}, "an object with the methods of senet.ComparisonProgress"),
        ({"with_se": True, "se": "x"}, "se must be a senet.SEConfig…not 'x'"),
    ],
)
def test_other_types_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SenetError, match=re.escape(sentence).replace("…", ".*")) as caught:
        train(**options)
    assert "\n" not in str(caught.value) and not Path("run").exists()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: senet.compare("photos", seeds="3"), "seeds must be…not '3'"),
        (lambda: senet.compare("photos", measure_seconds=float("nan")), "measure_seconds must be…not nan"),
        (
            lambda: senet.compare("photos", measure_seconds=-1),
            "measure_seconds must be 0 or more seconds…not -1",
        ),
        (lambda: senet.compare("photos", parallel=1.5), "parallel must be…not 1.5"),
        (lambda: senet.compare_job("1/2", "photos", seeds=2.5), "seeds must be…not 2.5"),
        (lambda: senet.create_model(3), "name must be…not a value of type int"),
        (lambda: senet.create_model(None), "name must be…not a value of type NoneType"),
        (lambda: senet.create_model("resnet8", se="x"), "se must be…not 'x'"),
        (lambda: senet.create_model("resnet8", num_classes="10"), "not '10'"),
        (lambda: senet.create_model("resnet8", weights="~nosuchuser/w.pt"), "~nosuchuser"),
        (lambda: senet.open_images(3), "data must be…not a value of type int"),
        (lambda: senet.open_images(["photos"]), "data must be…not a value of type list"),
        (lambda: senet.open_images("photos", test_fraction="a"), "test_fraction must be…not a"),
        (lambda: senet.open_images("photos", seed="a"), "seed must be…not 'a'"),
        (lambda: senet.evaluate(None), "model must be…not a value of type NoneType"),
        (lambda: senet.evaluate("x.pt", views="big"), "views must be…not a value of type str"),
        (
            lambda: senet.evaluate(torch.nn.ReLU(), preprocess="imagenet"),
            "preprocess must be…not a value of type str",
        ),
        (lambda: senet.evaluate("~nosuchuser/run"), "~nosuchuser"),
        (lambda: senet.evaluate("x.pt", progress=3), "senet.EvaluationProgress"),
    ],
)
def test_so_they_are_elsewhere(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(SenetError, match=re.escape(sentence).replace("…", ".*")) as caught:
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
