"""Results at the prompt, in notebooks and as rows for a data frame."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from torch import nn

import senet
from senet.blocks.cost import Cost
from senet.compiler.accelerate import AccelerationReport, AccelerationRow
from senet.data.source import ArraySource, ImageData
from senet.experiments.evaluation_report import Error, EvaluationReport, EvaluationRow
from senet.experiments.jobs import JobReport
from senet.experiments.prune_report import PrunedModel, PruneReport, PruneRow
from senet.experiments.single import TrainedNetwork
from senet.insight.results import ConstantAnswer, EpochMetrics, Finding, Spread
from senet.kernels.explain import KernelReport, KernelRow
from senet.shown import MOST_LINES, WIDTH, Shown, Table, aligned
from senet.surgery.insertion_report import InsertionReport, Site, Skipped
from senet.training.position import TrainingResult
from senet.training.recipe import Recipe
from senet.weights.report import LoadReport
from tests.report import factory

SCRIPT = "<script>alert('x')</script>"
NAUGHTY = f"{SCRIPT}\x1b[2J\n\u202e\udce9 & “日本語”"
LONG = "a very long name of something that goes on and on " * 9


def spread(value: float) -> Spread:
    return Spread(median=value, p20=0.9 * value, p80=1.1 * value, count=30)


def result(epochs: int = 3, *, top5: float | None = 1.5, loss: float = 0.5) -> TrainingResult:
    history = tuple(
        EpochMetrics(
            epoch=epoch,
            learning_rate=0.1 / epoch,
            train_loss=loss,
            test_loss=loss,
            top1_error=100 / (epoch + 1),
            top5_error=top5,
            train_seconds=4.25,
        )
        for epoch in range(1, epochs + 1)
    )
    return TrainingResult(history=history, predictions=(0,) * 1000, in_top5=None)


def trained(**changes) -> TrainedNetwork:
    made = TrainedNetwork(
        model=nn.Conv2d(1, 1, 1),
        classes=("ants", "bees"),
        result=result(),
        unreadable=(),
        findings=(),
        warnings=(),
        constant=ConstantAnswer(label=1, error=45.8),
        folder=Path("runs/photos"),
    )
    return replace(made, **changes)


def evaluation(classes: int = 10, **changes) -> EvaluationReport:
    images = 2 * classes
    row = EvaluationRow(
        view="224",
        sizes=(224,),
        resizes=(256,),
        loss=0.31,
        top1=Error(wrong=classes // 2, images=images),
        top5=None,
        predictions=(0,) * images,
        confidence=(1.0,) * images,
        in_top5=None,
    )
    made = EvaluationReport(
        network="se_resnet20",
        source="runs/photos",
        data="photos",
        part="the test images",
        preprocess="",
        crops=1,
        flip=False,
        precision="fp32",
        names=tuple(f"class {n}" for n in range(classes)),
        labels=tuple(range(classes)) * 2,
        images=tuple(map(str, range(images))),
        rows=(row,),
        unreadable=(),
        constant=ConstantAnswer(label=1, error=90.0),
        warnings=(),
        notes=(),
        command="senet evaluate",
        versions={},
        seconds=1.0,
    )
    return replace(made, **changes)


def insertion(places: int = 3, *, name: str = "layer1", **changes) -> InsertionReport:
    site = Site(
        name=name,
        host=f"{name}.bn2",
        position="after",
        kind="basic",
        stage=None,
        channels=64,
        hidden=None,
        parameters=1024,
        multiply_adds=None,
    )
    skipped = Skipped(name=name, kind="", reason=f"it is {name}")
    made = InsertionReport(
        model="ResNet", block="se, reduction 16", sites=(site,) * places, skipped=(skipped,)
    )
    return replace(made, **changes)


def pruning(blocks: int = 3, *, name: str = "layer1.0.se") -> PruneReport:
    ran = PruneRow(
        block=name,
        channels=64,
        parameters=580,
        mean_gate=0.5,
        gate_deviation=0.01,
        loss_change=-0.001,
        error_change=0.0,
        step=1,
        into=("bn1", "bn2"),
        milliseconds=spread(3.0),
        time_ratio=spread(0.98),
    )
    idle = PruneRow(
        block=name,
        channels=64,
        parameters=580,
        mean_gate=math.nan,
        gate_deviation=math.nan,
        loss_change=math.nan,
        error_change=math.nan,
        reason="it did not run",
    )
    model = PrunedModel(
        parameters=10_000,
        se_parameters=1_000,
        loss=0.1234,
        top1_error=9.0,
        top5_error=1.0,
        milliseconds=spread(3.1),
    )
    return PruneReport(
        model=name,
        rows=(ran, *(idle,) * (blocks - 1)),
        budget=0.001,
        images=1000,
        batch_size=64,
        device="cpu, 2 threads",
        dry_run=True,
        before=model,
        after=model,
        time_ratio=spread(0.98),
    )


def images(classes: int = 2, *, name: str = "photos") -> ImageData:
    names = tuple(f"{name} {n}" for n in range(classes))
    pixels, labels = np.zeros((2 * classes, 2, 2), dtype=np.uint8), np.arange(classes).repeat(2)
    source = ArraySource(pixels, labels, names)
    return ImageData(name=name, location=name, train=source, test=source, classes=names, split="Own parts.")


def kernels(blocks: int = 2, *, name: str = "layer1.0: bn1") -> KernelReport:
    row = KernelRow(block=name, steps="bn relu", shape=(2, 64, 8, 8), backend="reference", reason=name)
    return KernelReport((row,) * blocks)


def acceleration(places: int = 2, *, name: str = "layer1.0") -> AccelerationReport:
    row = AccelerationRow(layers=name, steps="bn relu", taken=False, reason=name)
    return AccelerationReport(model="ResNet", rows=[row] * places, graphs=1)


def loading(keys: int = 2, *, name: str = "fc.weight") -> LoadReport:
    return LoadReport(
        source=name,
        package="timm",
        network="se_resnet18",
        loaded=120,
        new=(name,) * keys,
        dropped=(name,) * keys,
        changes=(name,) * keys,
    )


def job(left: int = 2, *, name: str = "seed0-se") -> JobReport:
    return JobReport(
        folder=Path("runs") / name.replace("/", ""), trained=(name,), left=((name, "in epoch 3"),) * left
    )


GRAVE = Finding(
    grave=True,
    sentence="This network has not learned: its error is that of always predicting “bees”.",
    advice="Train longer.",
)
RESULTS: dict[str, Shown] = {
    **{f"comparison, {each.__name__}": each() for each in (factory.usual, factory.not_learned)},
    **{f"comparison, {each.__name__}": each() for each in (factory.diverged, factory.two_classes)},
    **{f"comparison, {each.__name__}": each() for each in (factory.many_classes, factory.hostile)},
    "trained": trained(),
    "trained, nothing learned": trained(findings=(GRAVE,) * 20, warnings=(LONG,) * 9, result=result(100)),
    "trained, one image skipped": trained(unreadable=((NAUGHTY, "cut short"),)),
    "trained, naughty": trained(warnings=(NAUGHTY,), folder=Path(NAUGHTY.replace("/", ""))),
    "training": result(),
    "training, one epoch": result(1, top5=None, loss=math.nan),
    "training, long": result(300, loss=math.inf),
    "evaluation": evaluation(),
    "evaluation, 1,000 classes": evaluation(1000, warnings=(LONG,), names=(NAUGHTY,) * 1000, source=LONG),
    "evaluation, noted": evaluation(unreadable=((NAUGHTY, "cut short"),), notes=(LONG,) * 3),
    "evaluation, naughty": evaluation(network=NAUGHTY, data=NAUGHTY, warnings=(NAUGHTY,)),
    "insertion": insertion(),
    "insertion, nothing": insertion(0),
    "insertion, 100 places": insertion(100, name=LONG, optimizer=LONG, output_change=1e-7),
    "insertion, naughty": insertion(name=NAUGHTY),
    "pruning": pruning(),
    "pruning, 100 blocks": pruning(100, name=LONG),
    "pruning, naughty": pruning(name=NAUGHTY),
    "images": images(),
    "images, 1,000 classes": images(1000, name=LONG),
    "images, naughty": images(name=NAUGHTY),
    "kernels": kernels(),
    "kernels, none": kernels(0),
    "kernels, 100 blocks": kernels(100, name=LONG),
    "kernels, naughty": kernels(name=NAUGHTY),
    "acceleration": acceleration(),
    "acceleration, none": acceleration(0),
    "acceleration, 100 places": acceleration(100, name=LONG),
    "acceleration, naughty": acceleration(name=NAUGHTY),
    "loading": loading(),
    "loading, all": loading(0),
    "loading, 100 keys": loading(100, name=LONG),
    "loading, naughty": loading(name=NAUGHTY),
    "job": job(),
    "job, all done": job(0),
    "job, 100 left": job(100),
    "job, naughty": job(name=NAUGHTY),
    "cost": senet.cost("se_resnet50"),
    "cost, nothing": Cost(),
}
every = pytest.mark.parametrize("shown", RESULTS.values(), ids=RESULTS)


def test_every_result_of_a_public_function_shows_itself() -> None:
    found: set[type] = set()
    for name in senet.__all__:
        value = getattr(senet, name)
        if inspect.isfunction(value):
            returned = get_type_hints(value)["return"]
            found |= {each for each in (returned, *get_args(returned)) if inspect.isclass(each)}
    ours = {
        each for each in found if each.__module__.startswith("senet.") and not issubclass(each, nn.Module)
    }
    assert {each for each in ours if not issubclass(each, Shown)} <= {Recipe}
    assert ours - {Recipe} <= {type(each) for each in RESULTS.values()}


@every
def test_the_text_is_short_and_harmless(shown: Shown) -> None:
    lines = repr(shown).split("\n")
    assert 0 < len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= WIDTH
    assert all(line.isprintable() for line in lines)
    assert "tensor(" not in repr(shown)


@every
def test_rows_make_a_data_frame(shown: Shown) -> None:
    rows = shown.to_rows()
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    for row in rows:
        assert list(row) == list(columns)
        assert {type(value) for value in row.values()} <= {str, int, float, bool, type(None)}


class Reader(HTMLParser):
    """Checks that tags are closed, and keeps what is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells[-1] += data


@every
def test_a_notebook_shows_the_same(shown: Shown) -> None:
    html = shown._repr_html_()
    reader = Reader()
    reader.feed(html)
    assert not reader.open
    assert reader.tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    html.encode()  # no half of a character, which no notebook can keep
    table = shown.table()
    seen = [cell for cell in reader.cells if cell]
    for sentence in table.warnings + table.title + table.notes:
        assert any(sentence[:20].isprintable() is False or cell.startswith(sentence[:20]) for cell in seen)
    assert re.findall("… [\\d,]+ more$", repr(shown), re.MULTILINE) == [
        cell for cell in seen if re.fullmatch("… [\\d,]+ more", cell)
    ]


@every
def test_it_is_copied_pickled_and_compared_as_before(shown: Shown) -> None:
    same = pickle.loads(pickle.dumps(shown))
    assert type(same) is type(shown)
    assert repr(same) == repr(copy.deepcopy(shown)) == repr(shown)
    assert str(same.to_rows()) == str(shown.to_rows())
    # A network, images and NaN equal nothing but themselves.
    if not isinstance(shown, ImageData | TrainedNetwork) and "nan" not in str(shown.to_rows()):
        assert same == copy.deepcopy(shown) == shown


def test_a_comparison() -> None:
    assert repr(RESULTS["comparison, usual"]).split("\n") == [
        "SE is better: top-1 error falls by 0.88 points (96 % interval 0.02 to 1.73, 3 seeds).",
        "                          plain               SE                              SE − plain",
        "Top-1 error     8.69 % (± 0.29)  7.82 % (± 0.14)           −0.88 points (−1.73 to −0.02)",
        "Top-5 error     1.31 % (± 0.09)  1.18 % (± 0.21)           −0.13 points (−0.52 to +0.25)",
        "Majority class          90.00 %          90.00 %",
        "Parameters              272,474          275,866                         +1.2 % (+3,392)",
        "Multiply-adds     40.81 million    40.82 million                       +0.008 % (+3,392)",
        "Training speed   1,412 images/s   1,300 images/s              +8.6 % time (+7.9 to +9.5)",
        "Inference time  0.2113 ms/image  0.2255 ms/image  none measurable (−0.7 to +12.1 % time)",
        "Peak memory             283 MiB          304 MiB                                  +7.3 %",
        "resnet20 on fashion-mnist: 3 seeds, 30 epochs, 6,140 training and 4,000 test images.",
        "2 unreadable images skipped.",
    ]


def test_a_comparison_of_networks_that_have_not_learned_says_so_first() -> None:
    shown = RESULTS["comparison, not_learned"]
    assert repr(shown).startswith("These networks have not learned: ")
    assert shown._repr_html_().startswith("<div><p><strong>These networks have not learned: ")


def test_rows_of_a_comparison_are_its_trainings() -> None:
    comparison = factory.two_classes()
    plain, se = comparison.to_rows()
    assert (plain["variant"], se["variant"]) == ("plain", "se")
    assert plain["seed"] == se["seed"] == 7
    assert se["top1_error"] == comparison.runs[1].history[-1].top1_error
    assert se["top5_error"] is None
    assert se["parameters"] == comparison.cost.se.parameters


def test_a_trained_network() -> None:
    shown = trained(result=result(100), findings=(GRAVE,))
    assert repr(shown).split("\n") == [
        "This network has not learned: its error is that of always predicting “bees”.",
        "Test error after epoch 100: top-1 0.99 %, top-5 1.50 %",
        "epoch  learning rate  train loss  test loss  top-1 error  top-5 error  seconds",
        "    1            0.1         0.5        0.5      50.00 %       1.50 %      4.2",
        "    2           0.05         0.5        0.5      33.33 %       1.50 %      4.2",
        "    3         0.0333         0.5        0.5      25.00 %       1.50 %      4.2",
        "… 94 more",
        "   98        0.00102         0.5        0.5       1.01 %       1.50 %      4.2",
        "   99        0.00101         0.5        0.5       1.00 %       1.50 %      4.2",
        "  100          0.001         0.5        0.5       0.99 %       1.50 %      4.2",
        "Always predicting the most frequent class: 45.80 %",
        "Checkpoint and metrics: runs/photos",
    ]
    assert shown.to_rows() == shown.result.to_rows()
    assert shown.to_rows()[99]["epoch"] == 100


def test_what_holds_thousands_of_answers_does_not_print_them() -> None:
    comparison = factory.many_classes()
    for each in (comparison.data, comparison.runs[0], comparison.fixed[0], evaluation(1000).rows[0]):
        assert len(repr(each)) < 400


@pytest.mark.parametrize("lines", range(14))
def test_nothing_is_left_out_that_fits(lines: int) -> None:
    table = Table(head=("n",), lines=[(str(n),) for n in range(lines)], last=2)
    shown = table.short().split("\n") if lines else []
    if lines < MOST_LINES:
        assert shown == (["n", *map(str, range(lines))] if lines else [])
    else:
        assert len(shown) == MOST_LINES
        assert shown[-3:] == [f"… {lines - 10} more", str(lines - 2), str(lines - 1)]


def test_many_sentences_leave_room_for_the_last_line() -> None:
    sentences = (LONG,) * 9
    lines = [(str(n),) for n in range(50)]
    table = Table(warnings=sentences, title=sentences, head=("n",), lines=lines, last=3, notes=sentences)
    shown = table.short().split("\n")
    assert len(shown) == MOST_LINES
    assert shown[6:9] == ["n", "… 49 more", "49"]
    assert '<td colspan="1">… 49 more</td>' in table.html()


def test_wide_characters_stand_in_their_column() -> None:
    assert aligned([("name", "n"), ("日本", "1"), ("ab", "23")], numbers=(1,)) == [
        "name   n",
        "日本   1",
        "ab    23",
    ]


def test_skipped_images_are_said() -> None:
    for name in ("trained, one image skipped", "evaluation, noted"):
        assert "1 unreadable image skipped." in repr(RESULTS[name])
