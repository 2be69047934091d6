"""Concludes from trainings that several jobs have made."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from senet.blocks.se_config import SEConfig
from senet.checks import require_type
from senet.errors import SenetError
from senet.experiments.arguments import checked, watcher
from senet.experiments.compare import conclude, facts
from senet.experiments.gather import (
    Found,
    doubts,
    epochs_of,
    gather,
    joined_arguments,
    longest_first,
    refuse_different,
    say_missing,
    settings_of,
)
from senet.experiments.images import ReadyImages, ready_images, usual_workers
from senet.experiments.plan import Plan
from senet.experiments.planned_networks import identity_of
from senet.experiments.progress import ComparisonProgress
from senet.experiments.run_folder import SETTINGS_NAME, claim, read_experiment
from senet.experiments.trainings import trainings_of
from senet.experiments.twins import build_twins
from senet.files import make_folder, user_path, written_whole
from senet.insight.results import Comparison
from senet.training.checkpoint import CHECKPOINT_NAME
from senet.training.device import choose_device
from senet.training.execution import Execution
from senet.training.identity import differences
from senet.training.lock import lock_folder
from senet.training.processes import ALONE, started_by_torchrun


@checked("Display")
def collect(
    folders: str | Path | Sequence[str | Path],
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    measure_seconds: float = 4.0,
    progress: ComparisonProgress | bool | None = True,
) -> tuple[Comparison, Path]:
    """Conclude a comparison whose trainings several jobs have made (`senet.compare_job`).

    What was compared, on which images and how stands in the folders. Every number of a training is
    the one that `senet.compare` would have come to; cost is measured here and now.

    Args:
        folders: the run folder that the jobs shared, or the folder of each.
        data: where the images are on this machine; ``None`` looks where the jobs found them.
        out: run folder; ``None`` takes the folder given, where it is only one, or names one under ``runs/``.
        device: where cost is measured; ``"auto"`` measures on the kind of device that trained.
        workers: processes that decode images; ``None`` chooses.
        measure_seconds: how long training and inference are each timed at least.
        progress: told what happens.

    Returns:
        The comparison and its run folder, as `senet.compare` does.

    Raises:
        SenetError: the folders hold different comparisons, trainings are missing or contradict each
            other, or the images are not the ones that were trained on; the sentence says which.
    """
    progress = watcher(progress)
    given_folders = [folders] if isinstance(folders, str | Path) else folders
    require_type("folders", given_folders, Sequence, "the run folder of the jobs, or a list of run folders")
    for folder in given_folders:
        require_type("each of the folders", folder, (str, Path), "a path")
    given = [user_path(each) for each in given_folders]
    if not given:
        raise SenetError("folders must name at least one run folder to collect from, not an empty list.")
    if started_by_torchrun():
        raise SenetError("Only one process can collect: start it without torchrun.")
    target = user_path(out) if out else given[0] if len(given) == 1 else None
    # What was collected there before belongs to it.
    before = [target] if target and (target / SETTINGS_NAME).exists() else []
    settings = longest_first({folder: settings_of(folder) for folder in dict.fromkeys([*before, *given])})
    refuse_different(settings)
    first = next(iter(settings))
    joined = {**settings[first], "arguments": joined_arguments(settings)}
    trainings = trainings_of(joined["arguments"]["seeds"])
    found = gather(settings, trainings, joined["identity"])
    missing = [training for training in trainings if training not in found]
    if missing:
        epochs = epochs_of(joined["identity"], first)
        raise SenetError(say_missing(missing, trainings, list(settings), joined["command"], epochs))
    source = first / SETTINGS_NAME
    plan = _plan(joined, source, data, str(device), workers, target, progress)
    progress.describe({**facts(plan, trainings, parallel=1), **doubts(settings, found)})
    for training, each in found.items():
        _copy(each, plan.folder / training.name)
    comparison = conclude(
        plan, trainings, measure_seconds, progress, made_with=joined["versions"], looked_at=list(settings)
    )
    return comparison, plan.folder


def _plan(
    settings: Mapping[str, Any],
    source: Path,
    data: str | Path | None,
    device: str,
    workers: int | None,
    target: Path | None,
    progress: ComparisonProgress,
) -> Plan:
    """Return the plan of the comparison with its images, networks and run folder as they are here."""
    identity, arguments = settings["identity"], settings["arguments"]
    experiment = read_experiment(identity, source)
    chosen = _device(device, experiment.device)
    name, se = experiment.model, experiment.se
    if se is None:
        raise SenetError(
            f"{source} has no SE settings, which a comparison needs: use the file as senet wrote it."
        )
    images = ready_images(
        _location(arguments["data"], data),
        experiment.recipe,
        test_fraction=arguments["test_fraction"],
        workers=usual_workers() if workers is None else workers,
        progress=progress.checking,
        fetching=progress.fetching,
        # How many were allowed is not known here; images that differ are refused anyway.
        max_unreadable=math.inf,
    )
    _refuse_other_images(name, se, images, identity)
    default = f"{images.checked.data.name}-{name}"
    folder = claim(target, default, settings)
    return Plan(
        model=name,
        se=se,
        images=images,
        device=chosen,
        workers=0,
        folder=folder,
        identity=identity,
        provenance=images.provenance(arguments["data"], arguments["test_fraction"]),
        command=settings["command"],
        execution=Execution(),
        processes=ALONE,
        threads=settings.get("threads"),
    )


def _device(wanted: str, trained: str) -> torch.device:
    if wanted == "auto" and trained == "cuda" and not torch.cuda.is_available():
        raise SenetError(
            "The trainings ran on CUDA, but this machine has no GPU to measure the cost on: collect on a "
            "machine with one, or measure the cost on this processor with --device cpu."
        )
    return choose_device(trained if wanted == "auto" else wanted)


def _location(trained: str | None, here: str | Path | None) -> str | Path | None:
    if here is not None or trained is None:
        return here
    if Path(trained).is_absolute() and "{" not in trained and not Path(trained).exists():
        raise SenetError(
            f"The images are not on this machine; the trainings read them from {trained}: give their "
            "location here before --collect."
        )
    return trained


def _refuse_other_images(name: str, se: SEConfig, images: ReadyImages, identity: Mapping[str, Any]) -> None:
    (plain,) = build_twins(name, None, classes=len(images.classes), channels=images.checked.channels, seed=0)
    here = {"job": "compare", "seed": None, **identity_of(name, plain, se, images, identity["device"])}
    if "weights" in identity:  # they need not be on this machine
        here["weights"] = identity["weights"]
    if here["images"] != identity["images"]:
        raise SenetError(
            f"The images in {images.checked.data.location} are not those of the trainings: their content, "
            "names, labels or split differ. Give the location of the original images before --collect."
        )
    different = differences(identity, here, "in the trainings", "here")
    if different:
        raise SenetError(f"The comparison cannot be completed on this machine: {different}.")


def _copy(found: Found, folder: Path) -> None:
    source = found.folder / folder.name
    if source == folder:
        return
    with lock_folder(folder):
        for path in sorted(source.rglob("*")):
            if (
                path.is_file()
                and not path.name.startswith(".")
                and path.suffix != found.stored.checkpoint.suffix
            ):
                make_folder((folder / path.relative_to(source)).parent)
                _copy_file(path, folder / path.relative_to(source))
        # With it the training is there; whatever belongs to it was there before.
        _copy_file(found.stored.checkpoint, folder / CHECKPOINT_NAME)


def _copy_file(source: Path, path: Path) -> None:
    with source.open("rb") as reading, written_whole(path) as writing:
        shutil.copyfileobj(reading, writing)
