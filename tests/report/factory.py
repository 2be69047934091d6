"""Comparisons that look like real ones, built from a random seed."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from senet.experiments.learning import Answers, examine
from senet.experiments.learning import not_learned as not_learned_verdict
from senet.experiments.statistics import confidence_of_look, difference, sampling_error, verdict
from senet.insight.results import (
    ChangedImage,
    Comparison,
    DataSummary,
    EpochMetrics,
    MeasuredCost,
    NetworkCost,
    Spread,
    TrainingRun,
)

CLOTHES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SCRIPT = "<script>document.title='broken out'</script>"


def usual(**changes) -> Comparison:
    """Three seeds, ten classes."""
    return build(**changes)


def not_learned() -> Comparison:
    """Two networks that answer as a coin does, one seed of them one class only, and what is said of it."""
    comparison = build(classes=("ants", "bees"), images=83, epochs=3)
    rng = np.random.default_rng(1)
    labels = [0] * 38 + [1] * 45
    runs = []
    for run in comparison.runs:
        guesses = tuple([1] * 83 if run.seed == 2 else rng.integers(0, 2, 83).tolist())
        error = 100 * float(np.mean(np.array(guesses) != np.array(labels)))
        history = tuple(replace(each, top1_error=error, train_loss=0.7) for each in run.history)
        runs.append(replace(run, predictions=guesses, history=history))
    answers = [
        Answers(
            name=f"{run.variant} seed {run.seed}",
            network=run.variant,
            predictions=run.predictions,
            history=run.history,
        )
        for run in runs
    ]
    data = replace(
        comparison.data,
        test_labels=tuple(labels),
        train_counts=(79, 83),
        warnings=("3 of 83 test images are also training images.",),
    )
    findings = examine(answers, labels, data.classes, data.constant_answer())
    right = {
        v: np.array([np.equal(run.predictions, labels) for run in runs if run.variant == v])
        for v in ("plain", "se")
    }
    return replace(
        comparison,
        data=data,
        runs=tuple(runs),
        findings=findings,
        top1=difference(right["plain"], right["se"], 0.96),
        verdict=not_learned_verdict(findings, answers),
        fixed=(),
        broken=(),
    )


def inconclusive() -> Comparison:
    """Three seeds that do not agree on which network is better."""
    return build(gain=0.001)


def diverged() -> Comparison:
    """One training whose loss went to infinity and then to not-a-number."""
    comparison = build(classes=("cat", "dog"), images=100, epochs=12)
    run = comparison.runs[0]
    losses = [run.history[0].train_loss, math.inf] + 10 * [math.nan]
    history = tuple(replace(e, train_loss=loss) for e, loss in zip(run.history, losses, strict=True))
    return replace(comparison, runs=(replace(run, history=history), *comparison.runs[1:]))


def two_classes() -> Comparison:
    """One seed, two classes, no top-5, one epoch."""
    return build(classes=("cat", "dog"), seeds=(7,), images=120, epochs=1, gain=0.0)


def many_classes() -> Comparison:
    """120 classes with long names, no two alike."""
    names = tuple(
        f"Greater spotted long-billed warbler of the northern marsh, plate {i:03d}" for i in range(120)
    )
    return build(classes=names, images=1200, epochs=12)


def hostile() -> Comparison:
    """Names that are HTML, SVG, mathematics and other scripts; unreadable files; no changed images."""
    classes = (SCRIPT, "--></svg>", '$x_1$ & "co"', "日本語の犬", "Füße | ÑÑ", "]]><b>", "'quoted'", "عربي")
    comparison = build(classes=classes, images=300, epochs=4)
    image = ChangedImage(
        name=f"{SCRIPT}/x.png",
        label=0,
        plain_prediction=1,
        se_prediction=0,
        seeds_changed=2,
        thumbnail=thumbnail(3),
    )
    unreadable = tuple((f"{SCRIPT}/broken {i}.jpg", "the file is cut short") for i in range(70))
    return replace(
        comparison,
        data=replace(comparison.data, unreadable=unreadable, name=f"photos {SCRIPT}"),
        command=f"senet compare '{SCRIPT}' && echo done",
        recipe=comparison.recipe | {"note": SCRIPT},
        fixed=(image,),
        broken=(),
    )


def build(
    *,
    classes=CLOTHES,
    seeds=(0, 1, 2),
    images=4000,
    epochs=30,
    gain=0.012,
    error=0.08,
    se_parameters=275_866,
) -> Comparison:
    """Return a comparison in which SE is right more often by the share ``gain``."""
    rng = np.random.default_rng(20240)
    labels = np.arange(images) % len(classes)
    shares = {"plain": error, "se": error - gain}
    runs, predictions, five = [], {}, {}
    for variant, share in shares.items():
        for seed in seeds:
            guesses = predictions[variant, seed] = _predictions(labels, len(classes), share, seed, variant)
            five[variant, seed] = (guesses == labels) | (rng.random(images) < 0.85)
            in_top5 = five[variant, seed] if len(classes) > 5 else None
            runs.append(_run(variant, seed, guesses, labels, in_top5, epochs, rng))
    right = {v: np.array([predictions[v, s] == labels for s in seeds]) for v in shares}
    right5 = {v: np.array([five[v, s] for s in seeds]) for v in shares}
    confidence = confidence_of_look(1)
    top1 = difference(right["plain"], right["se"], confidence)
    top5 = difference(right5["plain"], right5["se"], confidence)
    data = DataSummary(
        name="fashion-mnist",
        location="fashion-mnist (embedded)",
        split="The official split: 60,000 training and 10,000 test images.",
        classes=tuple(classes),
        train_counts=tuple(600 + 7 * (i % 5) for i in range(len(classes))),
        test_labels=tuple(labels.tolist()),
        image_size=28,
        channels=1,
        unreadable=(("b/img_0041.png", "the file is cut short"), ("c/notes.txt.jpg", "not an image")),
    )
    return Comparison(
        created="2026-05-09T07:35:25+02:00",
        command=f"senet compare fashion-mnist --model resnet20 --seeds {len(seeds)} --epochs {epochs}",
        model="resnet20",
        se={"reduction": 16, "squeeze": "mean", "placement": "standard", "stages": (1, 2, 3)},
        recipe={"epochs": epochs, "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 128, "mixup": None},
        seeds=tuple(seeds),
        versions={"senet": "0.1.0", "python": "3.11.7", "torch": "2.9.0", "cpu": "AMD EPYC, 2 threads"},
        data=data,
        runs=tuple(runs),
        cost=cost(se_parameters),
        top1=top1,
        top5=top5 if len(classes) > 5 else None,
        verdict=verdict(top1, len(seeds)),
        fixed=_changed(predictions, labels, seeds, helped=True),
        broken=_changed(predictions, labels, seeds, helped=False),
        seconds=2711.4,
        sampling_error=sampling_error(right["plain"], right["se"]) if len(seeds) > 1 else None,
        looks=(len(seeds),),
    )


def cost(se_parameters=275_866) -> MeasuredCost:
    """Return costs as a two-core machine would measure them."""
    return MeasuredCost(
        plain=NetworkCost(
            parameters=272_474,
            multiply_adds=40_813_184,
            training_images_per_second=Spread(median=1412.2, p20=1388.0, p80=1431.9, count=30),
            inference_ms_per_image=Spread(median=0.2113, p20=0.2078, p80=0.2169, count=30),
            peak_memory_bytes=297_123_456,
        ),
        se=NetworkCost(
            parameters=se_parameters,
            multiply_adds=40_816_576,
            training_images_per_second=Spread(median=1300.4, p20=1270.3, p80=1320.4, count=30),
            inference_ms_per_image=Spread(median=0.22546, p20=0.2210, p80=0.2334, count=30),
            peak_memory_bytes=318_767_104,
        ),
        training_time_ratio=Spread(median=1.086, p20=1.071, p80=1.104, count=30, low=1.079, high=1.095),
        inference_time_ratio=Spread(median=1.067, p20=1.048, p80=1.091, count=30, low=0.993, high=1.121),
        batch_size=128,
        device="cpu, 2 threads",
    )


def thumbnail(seed: int, size: int = 28) -> str:
    """Return a small grey picture of some shape."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, width, height = rng.integers(2, size // 2, 4).tolist()
        draw.ellipse((x, y, x + width, y + height), fill=int(rng.integers(80, 255)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _predictions(labels, classes, share, seed, variant):
    # Difficulty belongs to the image, so that twins mostly stumble over the same ones.
    difficulty = np.random.default_rng(1).random(len(labels))
    rng = np.random.default_rng([seed, len(variant)])
    by_class = 0.4 + 1.2 * np.random.default_rng(2).random(classes)
    room = (0.09 + share) * by_class[labels] / by_class.mean()
    wrong = 0.8 * difficulty + 0.2 * rng.random(len(labels)) > 1 - room
    wrong &= rng.random(len(labels)) < 0.93
    neighbour = labels + np.where(
        rng.random(len(labels)) < 0.7, 2, rng.integers(1, max(2, classes), len(labels))
    )
    neighbour = np.where(neighbour % classes == labels, labels + 1, neighbour)
    return np.where(wrong, neighbour % classes, labels)


def _run(variant, seed, predictions, labels, in_top5, epochs, rng):
    final = 100 * float((predictions != labels).mean())
    final5 = None if in_top5 is None else 100 * float((~in_top5).mean())
    history = []
    for epoch in range(1, epochs + 1):
        left = math.exp(-4.5 * (epoch - 1) / max(1, epochs - 1)) if epochs > 1 else 0.0
        jitter = rng.normal(0, 1 + 5 * left) * (epoch < epochs)
        error = min(100.0, max(0.0, final + (55 - final) * left + jitter))
        history.append(
            EpochMetrics(
                epoch=epoch,
                learning_rate=0.1 * (1 - epoch / epochs),
                train_loss=0.11 + 1.4 * left + abs(float(rng.normal(0, 0.012))) - 0.012 * (variant == "se"),
                test_loss=error / 30,
                top1_error=error if epoch < epochs else final,
                top5_error=None if final5 is None else error / 9 if epoch < epochs else final5,
                train_seconds=41.7,
            )
        )
    return TrainingRun(
        seed=seed,
        variant=variant,
        history=tuple(history),
        predictions=tuple(predictions.tolist()),
        folder=f"{variant}-seed{seed}",
        in_top5=None if in_top5 is None else tuple(in_top5.tolist()),
    )


def _changed(predictions, labels, seeds, *, helped):
    won, lost = ("se", "plain") if helped else ("plain", "se")
    flips = sum((predictions[won, s] == labels) & (predictions[lost, s] != labels) for s in seeds)
    chosen = sorted(np.flatnonzero(flips).tolist(), key=lambda i: -flips[i])[:24]
    images = []
    for i in chosen:
        seed = next(s for s in seeds if predictions[won, s][i] == labels[i] != predictions[lost, s][i])
        images.append(
            ChangedImage(
                name=f"test/{i:05d}.png",
                label=int(labels[i]),
                plain_prediction=int(predictions["plain", seed][i]),
                se_prediction=int(predictions["se", seed][i]),
                seeds_changed=int(flips[i]),
                thumbnail=thumbnail(i),
            )
        )
    return tuple(images)
