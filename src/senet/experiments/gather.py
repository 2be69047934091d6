"""Finds the trainings of one comparison in the run folders of several jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from senet.errors import SenetError
from senet.experiments.command import job_command
from senet.experiments.jobs import NOT_BEGUN, state_of
from senet.experiments.run_folder import SETTINGS_NAME, checksum, read_experiment, read_settings
from senet.experiments.trainings import Training
from senet.text import counted
from senet.training.finished import StoredTraining, read_training
from senet.training.identity import differences, extends
from senet.training.position import TrainingResult

# Two versions of these may come to different results.
DECISIVE = ("senet", "torch", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished training and the run folder it lies in."""

    folder: Path
    stored: StoredTraining
    result: TrainingResult


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings of the comparison in a run folder.

    Raises:
        SenetError: the folder holds no comparison, or it says too little.
    """
    settings = read_settings(folder)
    if settings is None:
        raise SenetError(
            f"{folder} is not a run folder (it has no {SETTINGS_NAME}): name the run folders of the jobs."
        )
    if settings["identity"].get("job") != "compare":
        raise SenetError(
            f"{folder} contains a single training, but only trainings of 'senet compare' can be "
            "collected: name the run folders of the jobs."
        )
    lacking = {"arguments", "command", "versions"} - settings.keys()
    lacking |= {
        f"arguments.{name}"
        for name in ("data", "seeds", "test_fraction")
        if name not in settings.get("arguments", {})
    }
    if settings.get("arguments", {}).get("seeds", 1) is None:
        lacking.add("arguments.seeds")
    if lacking:
        raise SenetError(
            f"{folder / SETTINGS_NAME} lacks {', '.join(sorted(lacking))}: run the command of the "
            "comparison in that folder again to complete it."
        )
    return settings


def longest_first(settings: Mapping[Path, dict[str, Any]]) -> dict[Path, dict[str, Any]]:
    """Return the folders with the most epochs before those that were not extended to as many."""
    return dict(sorted(settings.items(), key=lambda item: -epochs_of(item[1]["identity"], item[0])))


def epochs_of(identity: Mapping[str, Any], folder: Path) -> int:
    """Return the epochs of every training of the comparison in a folder."""
    return read_experiment(identity, folder / SETTINGS_NAME).recipe.epochs


def refuse_different(settings: Mapping[Path, dict[str, Any]]) -> None:
    """Raise `SenetError` unless all folders hold one comparison; it names settings that differ.

    Args:
        settings: of each folder, as `longest_first` orders them; the others may have fewer epochs.
    """
    (first, wanted), *others = settings.items()
    for folder, each in others:
        same = checksum(each["identity"]) == checksum(wanted["identity"])
        if not same and not extends(each["identity"], wanted["identity"]):
            different = differences(each["identity"], wanted["identity"], f"in {folder}", f"in {first}")
            raise SenetError(
                f"{first} and {folder} contain different comparisons ({different}): collect jobs with the "
                "same recipe, network and images."
            )


def joined_arguments(settings: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """Return the arguments of the first folder, with as many seeds as any of them has."""
    arguments = [each["arguments"] for each in settings.values()]
    return {**arguments[0], "seeds": max(each["seeds"] for each in arguments)}


def gather(
    settings: Mapping[Path, dict[str, Any]], trainings: Sequence[Training], identity: Mapping[str, Any]
) -> dict[Training, Found]:
    """Return the finished ones of ``trainings``.

    Raises:
        SenetError: a training is not of this comparison, or two folders contradict each other.
    """
    found: dict[Training, Found] = {}
    epochs = epochs_of(identity, next(iter(settings)))
    for folder in settings:
        for training in trainings:
            stored = read_training(folder / training.name, epochs)
            if stored is None:
                continue
            _refuse_stranger(folder / training.name, stored, training, identity)
            if stored.result is None:
                continue
            each = Found(folder=folder, stored=stored, result=stored.result)
            _refuse_contradiction(training, found.setdefault(training, each), each)
    return found


def _refuse_stranger(
    folder: Path, stored: StoredTraining, training: Training, identity: Mapping[str, Any]
) -> None:
    """Raise `SenetError` unless a training is of the comparison in whose folder it lies."""
    there, here = stored.identity, training.identity(identity)
    if there.get("checksum") == here["checksum"] and (there["seed"], there["variant"]) == training:
        return
    if extends(there, here):
        return
    del here["checksum"]  # says that something differs, not what
    there = {name: value for name, value in there.items() if name != "checksum"}
    different = differences(there, here, "there", f"in {SETTINGS_NAME}")
    raise SenetError(
        f"{folder} does not belong to the comparison in {folder.parent} ({different}): move it out of there."
    )


def _refuse_contradiction(training: Training, one: Found, other: Found) -> None:
    if _numbers(one.result) != _numbers(other.result):
        raise SenetError(
            f"{training.name} gave different results in {one.folder} (test loss "
            f"{one.result.history[-1].test_loss:.6f}, {counted(one.stored.threads, 'thread')}) and in "
            f"{other.folder} ({other.result.history[-1].test_loss:.6f}, "
            f"{counted(other.stored.threads, 'thread')}): leave one out."
        )


def _numbers(result: TrainingResult) -> tuple[object, ...]:
    """Return everything a training came to that does not depend on how fast it was."""
    curve = [replace(epoch, train_seconds=0.0, data_wait=0.0) for epoch in result.history]
    return curve, result.predictions, result.in_top5


def say_missing(
    missing: Sequence[Training],
    trainings: Sequence[Training],
    folders: Sequence[Path],
    command: str,
    epochs: int,
) -> str:
    """Return which trainings are not finished, how far each is, and what would train them.

    Args:
        missing: those of ``trainings``.
        trainings: all of the comparison.
        folders: where was looked.
        command: what repeats the comparison.
        epochs: of every training.
    """
    names = []
    for training in missing:
        states = [(folder, state_of(folder, training, epochs)) for folder in folders]
        begun = [f"{state} in {folder}" for folder, state in states if state != NOT_BEGUN]
        names.append(f"{training.name} ({begun[0] if begun else NOT_BEGUN})")
    numbers = _joined([str(trainings.index(training) + 1) for training in missing])
    here = f"'{command}' trains them in {folders[0]}, or " if len(folders) == 1 else ""
    return (
        f"{len(missing)} of {counted(len(trainings), 'training')} {'is' if len(missing) == 1 else 'are'} "
        f"not finished: {_joined(names)}. {here}'{job_command(command, f'K/{len(trainings)}')}' trains "
        f"one of them, with K = {numbers}."
    ).replace(". '", ". The command '", 1)


def _joined(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def doubts(settings: Mapping[Path, dict[str, Any]], found: Mapping[Training, Found]) -> dict[str, str]:
    """Return in which ways the trainings ran unlike each other, by what differs."""
    found_doubts = {}
    for part in DECISIVE:
        versions = sorted({str(each["versions"].get(part)) for each in settings.values()})
        if len(versions) > 1:
            found_doubts[f"versions of {part}"] = (
                f"{_joined(versions)}; results may differ by more than rounding"
            )
    threads = sorted({each.stored.threads for each in found.values()})
    if len(threads) > 1 and next(iter(settings.values()))["identity"]["device"] == "cpu":
        found_doubts["threads"] = (
            f"{_joined([str(each) for each in threads])}; results may differ in rounding"
        )
    return found_doubts
