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
from senet.blocks.relatives.gather_excite import GatherExcite
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


def test_so_do_a_mapping_for_se_and_arrays() -> None:
    network = senet.create_model("se_resnet8", num_classes=2, se={"reduction": np.int64(8)})
    assert network.spec.se is not None and network.spec.se.reduction == 8
    assert GatherExcite(8, dims=np.int64(1)).dims == 1
    normalised = senet.Preprocess(mean=np.full(3, 0.5), std=torch.ones(3), crop=np.int64(32))
    assert (
        normalised.mean == (0.5,) * 3 and type(normalised.mean[0]) is float and type(normalised.crop) is int
    )
    assert senet.cost("resnet8", np.int64(32)) == senet.cost("resnet8", [3, 32, 32])


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
        (lambda: senet.open_images("photos", test_fraction="a"), "test_fraction must be…not 'a'"),
        (lambda: senet.open_images("photos", seed="a"), "seed must be…not 'a'"),
        (
            lambda: senet.open_images("hf://a/b", cache_gb="big"),
            "cache_gb must be…above 0, not 'big'",
        ),
        (lambda: senet.open_images("photos", stream=1), "stream must be true or false, not 1"),
        (lambda: senet.create_model("resnet8", features_only="no"), "features_only must be true or false"),
        (lambda: senet.create_model("resnet8", se={"reductoin": 8}), "Did you mean 'reduction'?"),
        (lambda: senet.create_model("resnet8", se={"reduction": 0}), "reduction must be a whole number"),
        (lambda: senet.cost("resnet8", "32"), "The input size must be…not '32'"),
        (lambda: senet.cost("resnet8", 32.0), "The input size must be a whole number"),
        (lambda: senet.cost("resnet8", (3, 32)), "The input size must be…not (3, 32)"),
        (lambda: senet.cost(3), "model must be a network or the name of one, not a value of type int"),
        (
            lambda: senet.save_weights(senet.create_model("resnet8"), 3),
            "path must be…a value of type int",
        ),
        (
            lambda: senet.save_weights(senet.create_model("resnet8", num_classes=2), "a.pt", classes="ab"),
            "classes must be a list of names, not 'ab'",
        ),
        (
            lambda: senet.explain_kernels(senet.create_model("se_resnet8"), "image"),
            "Network cannot run on what was given",
        ),
        (lambda: senet.Preprocess(crop="224"), "crop of the preprocessing must be a whole number"),
        (lambda: senet.Preprocess(mean=0.5), "mean of the preprocessing must be a list of numbers, not 0.5"),
        (lambda: senet.Preprocess(scale=np.array([1.0, 2.0])), "scale of the preprocessing must be"),
        (lambda: senet.Preprocess(levels=3), "levels of the preprocessing must be…not 3"),
        (lambda: senet.Preprocess(labels=3), "labels of the preprocessing must be…not a value of type int"),
        (
            lambda: senet.Provenance(preprocess={}, classes=("a",)),
            "preprocess of a Provenance must be a senet.Preprocess",
        ),
        (lambda: senet.Provenance(preprocess=senet.Preprocess(), classes="ab"), "classes of a Provenance"),
        (
            lambda: senet.Provenance(preprocess=senet.Preprocess(), classes=("a",), batch=0.5),
            "batch of a Provenance must be a whole number",
        ),
        (lambda: senet.Execution(compile="yes"), "compile must be true or false, not 'yes'"),
        (lambda: senet.Execution(log=3), "log must be a list of texts, not 3"),
        (lambda: senet.Execution(log=("wanbd",)), "Did you mean 'wandb'?"),
        (lambda: senet.Recipe(class_weights=None), "class_weights must be a list of texts, not None"),
        (lambda: senet.Recipe(class_weights=(1,)), "class_weights must be a list of texts, not (1,)"),
        (lambda: senet.Recipe(schedule="step", step_epochs=3), "step_epochs must be a list of epochs"),
        (lambda: senet.Recipe(schedule=np.ones(2)), "schedule must be one of cosine, step, not"),
        (lambda: senet.ViewSettings(flip="no"), "flip must be true or false, not 'no'"),
        (lambda: senet.ViewSettings(crops=True), "crops must be one of 1, 5, 10, not True"),
        (lambda: senet.open_images("photos", progress=3), "progress must be a function of…not 3"),
        (lambda: senet.create_model("timm:resnet18"), "is a network of another package: build it there"),
        (
            lambda: senet.squeeze_excite(torch.nn.Sequential(), kind=np.ones(2)),
            "kind must be one of se, ese",
        ),
        (
            lambda: senet.prune_gates(senet.create_model("se_resnet8"), [], progress=3),
            "progress must be a function of…not 3",
        ),
        (
            lambda: senet.prune_gates(senet.create_model("se_resnet8"), [], dry_run="no"),
            "dry_run must be true or false, not 'no'",
        ),
        (lambda: senet.Execution(log_steps=1.5), "log_steps must be a whole number, not 1.5"),
        (lambda: GatherExcite(8, learned="no"), "learned must be true or false, not 'no'"),
        (lambda: GatherExcite(8, dims=2.0), "dims must be 1, 2 or 3"),
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
