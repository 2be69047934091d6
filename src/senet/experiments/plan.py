"""Everything that is decided, and can be wrong, before the first training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from senet.blocks.se_config import SEConfig
from senet.data.loading_processes import check_workers
from senet.data.split import listed
from senet.experiments.command import python_call
from senet.experiments.images import ReadyImages, images_and_workers
from senet.experiments.planned_networks import (
    identity_of,
    known_of,
    refuse_single_images,
    resolve_se,
    try_networks,
)
from senet.experiments.run_folder import claim_folder, read_settings
from senet.experiments.start_weights import Start, open_start
from senet.experiments.trial import same_for_all_seeds
from senet.experiments.twins import build_twins, name_of_plain, name_of_twin, se_places
from senet.files import user_path
from senet.networks.foreign import is_foreign
from senet.networks.provenance import Provenance
from senet.text import counted
from senet.training.device import choose_device, describe_device
from senet.training.execution import Execution
from senet.training.processes import Processes
from senet.training.recipe import Recipe
from senet.training.recipe_choice import Situation

DEFAULT_SMALL_MODEL = "resnet8"
DEFAULT_MODEL = "resnet18"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be trained, on what, and where it is kept.

    Attributes:
        model: name of the plain network.
        se: the twin's SE blocks; ``None`` where only the plain network is trained.
        workers: processes that decode images.
        identity: what the experiment is, as plain values; a folder holds one identity.
        command: the one command that repeats it.
        execution: how it is computed.
        processes: those that share each training.
        threads: of each training on the CPU, as the folder was begun; ``None`` leaves them as they are.
        start: the weights to start from, or ``None`` for random ones.
        provenance: what belongs to the trained networks besides their weights.
        same_start: whether the network, of another package, starts from the same values for every seed.
        se_places: in how many places of the network SE sits, and the first few; empty without SE.
    """

    model: str
    se: SEConfig | None
    images: ReadyImages
    device: torch.device
    workers: int
    folder: Path
    identity: dict[str, Any]
    provenance: Provenance
    command: str
    execution: Execution
    processes: Processes
    threads: int | None = None
    start: Start | None = None
    same_start: bool = False
    se_places: str = ""

    def networks(self, seed: int) -> tuple[nn.Module, ...]:
        """Return the plain network and, where there is SE, its twin, with this seed's initial values.

        Where the trainings start from weights, these are loaded into both.
        """
        if self.start:
            return self.start.networks(seed)
        images = self.images
        return build_twins(
            self.model,
            self.se,
            classes=len(images.classes),
            channels=images.checked.channels,
            seed=seed,
            image_size=images.recipe.image_size,
        )

    def epochs(self) -> str:
        """Return for example ``"1 epoch"``."""
        return counted(self.images.recipe.epochs, "epoch")

    def _processes(self) -> str:
        count = self.processes.count
        if count == 1:
            return ""
        each = self.images.recipe.batch_size // count
        return f", {count} processes, each with {counted(each, 'image')} of every batch"

    def facts(self) -> dict[str, str]:
        """Return what a user wants to know before it starts: label to text."""
        data, size = self.images.checked.data, self.images.recipe.image_size
        facts = {
            "images": f"{data.name}: {counted(len(data.train), 'training image')}, "
            f"{counted(len(data.test), 'test image')}, {counted(len(data.classes), 'class')}, input "
            f"{size}×{size}",
            "classes": listed(data.classes),
            "split": data.split,
            "device": f"{describe_device(self.device)}{self._processes()}, {self.images.recipe.precision}",
            "folder": str(self.folder),
        }
        if self.se_places:
            facts["SE added"] = f"at {self.se_places}"
        if self.images.choices:
            facts["recipe"] = f"{'; '.join(self.images.choices)}"
        if self.images.checked.note:
            facts["checked"] = self.images.checked.note
        facts |= {
            f"warning{f' {number}' if number > 1 else ''}": sentence
            for number, sentence in enumerate(self.images.warnings, 1)
        }
        if self.start:
            facts["weights"] = self.start.facts()
        if self.same_start:
            facts["start"] = (
                f"{self.model} has the same initial weights for every seed: seeds differ only in the "
                "order and augmentation of the images"
            )
        skipped = self.images.checked.unreadable
        if skipped:
            facts["skipped"] = f"{counted(len(skipped), 'unreadable image')}, listed at the end"
        return facts


def make_plan(
    data: str | Path | None,
    *,
    model: str | None,
    with_se: bool,
    se: SEConfig | Mapping[str, Any] | None,
    recipe: Recipe | None,
    out: str | Path | None,
    device: str | torch.device,
    workers: int | None,
    test_fraction: float | None,
    command: str | None,
    job: Literal["compare", "train"],
    execution: Execution,
    processes: Processes,
    seeds: int | None = None,
    seed: int | None = None,
    parallel: int = 1,
    weights: str | Path | None = None,
    checking: Callable[[int, int], None] | None,
    fetching: Callable[[int, int], None] | None,
) -> Plan:
    """Check everything a user gave, claim the run folder, and return the plan.

    Args are those of `senet.compare`, besides:
        with_se: whether there is a twin, or only the plain network.
        job: a folder made for one job is refused for the other.
        execution: how the trainings are computed.
        processes: those that share them; the first one claims the folder.
        seeds: of a comparison.
        seed: of a single training.
        parallel: trainings at once, which share the processor.
        weights: that every training starts from.
        checking: told how many of all images have been looked at.
        fetching: told how many of all shards have been fetched.

    Raises:
        SenetError: something cannot be used; no folder has been made then.
    """
    if workers is not None:
        check_workers(workers)
    execution.check_processes(processes.count)
    chosen = choose_device(device)
    if model is not None:  # what is wrong is told before all images are looked at
        wanted = name_of_plain(model)
        if with_se:
            resolve_se(wanted, se)
    recipe = recipe or Recipe()
    situation = Situation(
        pretrained=weights is not None,
        full_size=weights is not None or (model is not None and is_foreign(model)),
    )
    images, count = images_and_workers(
        data,
        recipe,
        workers=workers,
        parallel=parallel,
        test_fraction=test_fraction,
        execution=execution,
        processes=processes,
        checking=checking,
        fetching=fetching,
        situation=situation,
    )
    name = name_of_plain(model or (DEFAULT_SMALL_MODEL if images.small else DEFAULT_MODEL))
    config = resolve_se(name, se) if with_se else None
    start = None
    if weights is not None:
        start, images = _start(weights, name, config, given=se, images=images)
        config = start.se
    built, *twins = try_networks(name, config, images)
    same = (
        start is None
        and is_foreign(name)
        and same_for_all_seeds(name, classes=len(images.classes), channels=images.checked.channels)
    )
    images = images.fitted_to(recipe, known_of(built, images, situation))
    refuse_single_images(name, built, images, processes.count)
    identity = {"job": job, "seed": seed, **identity_of(name, built, config, images, chosen.type)}
    if start:
        identity["weights"] = start.identity()
    default = f"{images.checked.data.name}-{name_of_twin(name) if job == 'train' and with_se else name}"
    repeat = command or python_call(
        "compare" if job == "compare" else "train_one",
        data=data,
        model=model,
        se=se,
        recipe=recipe,
        seeds=seeds,
        seed=seed,
        with_se=True if job == "train" and with_se and model == name else None,
        weights=weights,
        out=out,
        device=str(device),
        test_fraction=test_fraction,
        execution=None if execution == Execution() else execution,
        parallel=parallel if parallel > 1 else None,
    )
    folder, threads = Path(), None
    if processes.first:
        folder = claim_folder(
            user_path(out) if out else None,
            default,
            identity,
            repeat,
            model=name,
            arguments={"data": _anywhere(data), "seeds": seeds, "test_fraction": test_fraction},
            images=images.kept(),
            threads=_threads(parallel) if chosen.type == "cpu" and job == "compare" else None,
        )
        threads = (read_settings(folder) or {}).get("threads")
    folder, threads = processes.from_first((folder, threads))
    return Plan(
        model=name,
        se=config,
        images=images,
        device=chosen,
        workers=count,
        folder=folder,
        identity=identity,
        provenance=images.provenance(_anywhere(data), test_fraction),
        command=repeat,
        execution=execution,
        processes=processes,
        threads=threads,
        start=start,
        same_start=same,
        se_places=se_places(twins[0]) if twins else "",
    )


def _threads(parallel: int) -> int:
    return max(1, torch.get_num_threads() // parallel)


def _anywhere(data: str | Path | None) -> str | None:
    """Return where images are, so that it is found from every working folder."""
    if data is None:
        return None
    path = user_path(data)
    # A brace expression stands for several files here, unless it is an address.
    here = path.exists() or ("{" in str(data) and "://" not in str(data))
    return str(path.absolute()) if here else str(data)


def _start(
    weights: str | Path,
    name: str,
    se: SEConfig | None,
    *,
    given: SEConfig | Mapping[str, Any] | None,
    images: ReadyImages,
) -> tuple[Start, ReadyImages]:
    """Return the weights to start from, and the images as these are used to them."""
    start = open_start(
        weights, name, se, given=given, classes=len(images.classes), channels=images.checked.channels
    )
    if start.mean is None or start.std is None:
        return start, images
    return start, replace(images, mean=start.mean, std=start.std)
