"""Files changed by hand: every value of each replaced by many others gives a sentence or what was meant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments.run_folder import SETTINGS_NAME, read_experiment, read_settings
from senet.insight.results import EpochMetrics
from senet.networks.preprocess import Preprocess
from senet.networks.zoo import network_spec
from senet.report.results_json import from_json, to_json
from senet.schema import Schema, SchemaError, parse_json
from senet.training.checkpoint import FORMAT, checked_training
from senet.training.position import Position
from senet.weights.own import METADATA_KEY, from_metadata, to_metadata
from tests.mutations import mutations
from tests.report import factory
from tests.small import small_recipe


@dataclass(frozen=True, kw_only=True)
class Inner:
    kind: Literal["a", "b"]
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner | None
    pair: tuple[int, str]
    counts: tuple[int, ...] = ()
    more: dict[str, Any] | None = None


GOOD: dict[str, Any] = {"name": "x", "inner": {"kind": "a"}, "pair": [1, "y"], "counts": [1, 2]}


def test_what_fits_is_built() -> None:
    built = Schema().build(Outer, GOOD, "file")
    assert built == Outer(name="x", inner=Inner(kind="a"), pair=(1, "y"), counts=(1, 2))
    share = Schema().build(Inner, {"kind": "b", "share": 1}, "file").share
    assert share == 1 and isinstance(share, float)
    assert Schema(extensible=(Outer,)).build(Outer, {**GOOD, "new": 1}, "file") == built
    with pytest.raises(SchemaError, match=r"file\.inner\.new is not known"):
        Schema(extensible=(Outer,)).build(Outer, {**GOOD, "inner": {"kind": "a", "new": 1}}, "file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 1}, "file.name must be text, not 1"),
        ({"inner": {"kind": "c"}}, "file.inner.kind must be 'a' or 'b', not 'c'"),
        ({"inner": {"kind": ["a"]}}, "file.inner.kind must be 'a' or 'b', not ['a']"),
        ({"inner": {}}, "file.inner.kind is missing"),
        ({"inner": {"kind": "a", "share": True}}, "file.inner.share must be a number, not True"),
        ({"pair": [1]}, "file.pair must be a list of 2, not [1]"),
        ({"counts": [1, 2.5]}, "file.counts[1] must be a whole number, not 2.5"),
        ({"counts": [2**70]}, "file.counts[0] must be a smaller number, not 1180591620717411303424"),
        ({"more": {"a": {1: 2}}}, "file.more.a must be text as key, not 1"),
        ({"more": []}, "file.more must be an object, not []"),
        ({"name": b"x" * 100}, "file.name must be text, not b'" + "x" * 55 + "…"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Schema().build(Outer, {**GOOD, **change}, "file")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' twice"),
        ('{"a": NaN}', "bare NaN"),
        ('{"a": 1e400}', "1e400, a number too large"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{half", "not valid JSON"),
    ],
)
def test_json_that_means_nothing_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        parse_json(text)


RECIPE = small_recipe(epochs=1)
IDENTITY = json.loads(
    json.dumps(
        {"job": "one", "seed": 0, "model": "resnet8", "se": asdict(SEConfig()), "recipe": asdict(RECIPE)}
    )
)
SETTINGS = {
    "command": "senet train",
    "checksum": "abc",
    "identity": {"job": "one", "seed": 0, "model": "resnet8", "se": {"reduction": 4}},
    "arguments": {"data": None, "seeds": 1, "test_fraction": None},
    "threads": 1,
    "images": {"classes": ["a", "b"], "channels": 1, "mean": [0.5], "std": [0.2]},
    "versions": {"senet": "0.1.0"},
}
ROW = EpochMetrics(
    epoch=1,
    learning_rate=0.1,
    train_loss=1.0,
    test_loss=1.0,
    top1_error=50.0,
    top5_error=None,
    train_seconds=1.0,
)
TRAINING: dict[str, Any] = {
    "format": FORMAT,
    "identity": {"model": "resnet8"},
    "position": asdict(Position(epoch=1, step=6, history=[asdict(ROW)], predictions=[0, 1])),
    "optimiser": {"fc.weight": {"momentum_buffer": None}},
    "scaler": {"scale": 1.0},
    "log": {"steps.csv": 12},
    "threads": 1,
    "processes": 1,
}
SPEC = network_spec("se_resnet8")


def as_json(content: Any) -> str:
    """Return JSON also of numbers that Python refuses to write."""
    with _endless_numbers():
        return json.dumps(content)


@contextmanager
def _endless_numbers() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def read_as_settings(content: Any, folder: Path) -> None:
    (folder / SETTINGS_NAME).write_text(as_json(content))
    read_settings(folder)


def read_as_training(content: Any, folder: Path) -> None:
    state = {**content, "model": {"weight": torch.ones(1)}, "average": None}
    Position(**checked_training(state, folder)["position"]).result()


def read_as_results(content: Any, folder: Path) -> None:
    from_json(as_json(content))


def read_as_metadata(content: Any, folder: Path) -> None:
    from_metadata(as_json(content), {}, "file")


METADATA = json.loads(
    to_metadata(replace(SPEC, num_classes=2, depths=(2, 1, 1)), Preprocess.of(SPEC), ("a", "b"))[METADATA_KEY]
)
RESULTS = json.loads(to_json(factory.build(images=10, epochs=1)))


@pytest.mark.parametrize(
    ("content", "read", "every"),
    [
        (SETTINGS, read_as_settings, 1),
        (IDENTITY, lambda content, folder: read_experiment(content, folder) and None, 5),
        (TRAINING, read_as_training, 1),
        (METADATA, read_as_metadata, 1),
        (RESULTS, read_as_results, 19),
    ],
    ids=["settings", "identity", "training", "metadata", "results"],
)
def test_whatever_somebody_writes_into_a_file_is_a_sentence_or_meant(
    tmp_path: Path, content: Any, read: Callable[[Any, Path], None], every: int
) -> None:
    """Of large files some changes, each value at many places."""
    read(content, tmp_path)
    refused = count = 0
    for name, changed in mutations(content, every):
        count += 1
        try:
            read(changed, tmp_path)
        except SenetError as error:
            assert "\n" not in str(error) and len(str(error)) < 500 + len(str(tmp_path)), name
            refused += 1
    assert refused > count / 3
