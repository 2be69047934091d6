"""How well weights do on images: errors with intervals, by class, at any resolution."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from senet.data.loading_processes import check_workers
from senet.data.views import Views
from senet.errors import SenetError
from senet.experiments.arguments import checked, told_of_evaluation
from senet.experiments.command import python_call
from senet.experiments.evaluation_files import write_evaluation
from senet.experiments.evaluation_images import Split, open_part
from senet.experiments.evaluation_job import EvaluationJob
from senet.experiments.evaluation_labels import match_classes
from senet.experiments.evaluation_learning import constant_of, warnings_about
from senet.experiments.evaluation_report import EvaluationReport
from senet.experiments.evaluation_subject import Subject, open_subject
from senet.experiments.progress import EvaluationProgress
from senet.experiments.run_folder import versions
from senet.experiments.trial import count_outputs
from senet.experiments.view_settings import ViewSettings
from senet.files import require_folder, user_path
from senet.networks.preprocess import Preprocess
from senet.training.device import choose_device
from senet.training.evaluate import refuse_not_finite


@checked("EvaluationDisplay")
def evaluate(
    model: str | Path | nn.Module,
    data: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    split: Split | None = None,
    views: ViewSettings | Mapping[str, Any] | None = None,
    preprocess: Preprocess | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    test_fraction: float | None = None,
    out: str | Path | None = None,
    command: str | None = None,
    progress: EvaluationProgress | bool | None = True,
) -> EvaluationReport:
    """Evaluate weights on images: top-1 and top-5 error, loss, by class, at one or several resolutions.

    Images are cut out as the weights were tested: those of a run folder as in its training, so that its
    last epoch's errors come out, released ones as their publisher does.

    Args:
        model: a run folder, a file of weights, one of `senet.list_weights`, ``"timm:NAME"`` or another name
            of a foreign network with its released weights, a name of `senet.list_models` beside
            ``weights``, or a network itself.
        data: as for `senet.open_images`; ``None`` takes a run's own images, else the embedded ones.
        weights: of the network named as ``model``; as for `senet.create_model`.
        split: ``"test"``, ``"train"`` or ``"all"``; ``None`` takes the test part where there is one, or where
            a run set one aside, else all.
        views: sizes and crops, or a mapping with those that differ from the defaults, such as
            ``{"image_size": (224, 320), "fuse": True}`` (Table 8). Averaging over sizes takes 4 bytes
            for each image, class and size.
        preprocess: of a network that is given itself.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: processes that decode images; ``None`` chooses.
        test_fraction: share of the images to test on where they come without a test part.
        out: folder that gets ``evaluation.json``, ``per_class.csv`` and ``predictions.csv``.
        command: what a reader should run to repeat this; ``None`` writes down this call.
        progress: told what happens.

    Returns:
        The report; the first row is of the first size.

    Raises:
        SenetError: something given cannot be used; the sentence says what to do.
    """
    started, progress = time.perf_counter(), told_of_evaluation(progress)
    settings = ViewSettings.of(views)
    chosen = choose_device(device)
    if workers is not None:
        check_workers(workers)
    folder = None if out is None else user_path(out)
    if folder is not None:
        require_folder(folder)
    subject = open_subject(model, weights, preprocess)
    refuse_not_finite(subject.model, subject.network)
    sights = _sights(subject, settings)
    outputs = _outputs(subject, sights)
    images = open_part(
        subject,
        data,
        split=split,
        test_fraction=test_fraction,
        workers=min(8, os.cpu_count() or 1) if workers is None else workers,
        progress=progress.checking,
    )
    positions, names, assumed = match_classes(images.source.classes, outputs, subject.classes, subject.order)
    source = images.relabelled(positions, names)
    job = EvaluationJob(
        subject=subject, settings=settings, source=source, device=chosen, workers=workers, progress=progress
    )
    progress.describe(job.facts(images.part, sights))
    rows = job.run(sights)
    described = job.described()
    constant = constant_of(described["labels"], len(names))
    report = EvaluationReport(
        **described,
        constant=constant,
        warnings=warnings_about(rows, described["labels"], names, constant),
        data=images.location,
        part=images.part,
        names=names,
        rows=rows,
        unreadable=images.unreadable,
        notes=(*subject.notes, *assumed),
        command=command or _call(model, data, weights, split, views, test_fraction),
        versions=versions(subject.network),
        seconds=time.perf_counter() - started,
    )
    if folder is not None:
        write_evaluation(report, folder)
    return report


def _sights(subject: Subject, settings: ViewSettings) -> tuple[Views, ...]:
    """Return what is cut out of an image, for each size."""
    sizes = settings.image_size or (subject.view.size,)
    resizes = settings.test_resize or (None,) * len(sizes)
    sights = tuple(
        subject.view.views(size, resize, settings.positions)
        for size, resize in zip(sizes, resizes, strict=True)
    )
    for each in sights:
        if each.crops > 1 and not settings.test_resize and subject.view.is_whole:
            raise SenetError(
                f"crops {settings.crops} has no effect on images that are not cropped ({each.size} of "
                f"{each.resize} pixels): set a larger test_resize (--test-resize), or leave crops out."
            )
    return sights


def _outputs(subject: Subject, sights: Sequence[Views]) -> int:
    """Return the network's number of outputs, after looking whether it can run on each size."""
    channels = subject.view.channels
    counts = [
        count_outputs(subject.network, subject.model, (channels, each.size, each.size)) for each in sights
    ]
    return counts[0]


def _call(
    model: str | Path | nn.Module,
    data: str | Path | None,
    weights: str | Path | None,
    split: Split | None,
    views: ViewSettings | Mapping[str, Any] | None,
    test_fraction: float | None,
) -> str:
    # What stands for a network that was given itself is no argument, but says which it was.
    named = f"<{type(model).__name__}>" if isinstance(model, nn.Module) else model
    return python_call(
        "evaluate",
        model=named,
        data=data,
        weights=weights,
        split=split,
        views=views or None,
        test_fraction=test_fraction,
    )
