"""A run folder read back: its network with the weights that were tested last, and what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from senet.errors import SenetError
from senet.experiments.run_folder import SETTINGS_NAME, read_experiment, read_settings
from senet.experiments.start_weights import network_of_options
from senet.experiments.trial import structure
from senet.experiments.twins import build_twins, name_of_twin
from senet.networks.foreign import is_foreign
from senet.networks.provenance import Provenance, attach_provenance
from senet.training.checkpoint import checked_training, load_checkpoint
from senet.training.images import provenance_of_training
from senet.training.loop import CHECKPOINT_NAME
from senet.training.recipe import FittedRecipe
from senet.weights.find import run_checkpoint


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One training as its folder has it.

    Attributes:
        folder: with the checkpoint.
        identity: what was trained, as plain values.
        recipe: fitted to the images.
        network: name of what was trained, with SE where there is SE.
        provenance: what belongs to the network besides its weights.
        state: of the network that was tested last: the moving average where there is one.
        notes: sentences on what is not as usual.
    """

    folder: Path
    identity: Mapping[str, Any]
    recipe: FittedRecipe
    network: str
    provenance: Provenance
    state: Mapping[str, Tensor]
    notes: tuple[str, ...]

    def build(self) -> nn.Module:
        """Return the network with its weights and what belongs to them.

        Raises:
            SenetError: a network of another package has changed since.
        """
        experiment = read_experiment(self.identity, self.folder)
        classes, channels = len(self.provenance.classes), self.provenance.preprocess.channels
        name, config, weights = experiment.model, experiment.se, experiment.weights
        if weights is not None and not is_foreign(name):
            networks: tuple[nn.Module, ...] = network_of_options(
                name, weights.options, config, classes=classes, channels=channels
            )
        else:
            size = experiment.recipe.image_size
            networks = build_twins(name, config, classes=classes, channels=channels, seed=0, image_size=size)
        if is_foreign(name) and structure(networks[0]) != self.identity.get("structure"):
            raise SenetError(
                f"{name} is not the same network as the one trained in {self.folder}: install the "
                f"versions listed in its {SETTINGS_NAME}."
            )
        network = networks[0 if experiment.variant == "plain" else -1]
        try:
            network.load_state_dict(dict(self.state))
        except RuntimeError as error:
            raise SenetError(
                f"The checkpoint in {self.folder} does not fit {self.network} "
                f"({str(error).splitlines()[0]}): install the versions listed in its {SETTINGS_NAME}."
            ) from error
        attach_provenance(network, self.provenance)
        return network


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run, or of one training of a comparison."""
    return (folder / SETTINGS_NAME).is_file() or (folder / CHECKPOINT_NAME).is_file()


def read_run(path: Path) -> StoredRun:
    """Read a run folder, one training's folder within that of a comparison, or a checkpoint of either.

    Raises:
        SenetError: there is no checkpoint, or several trainings, or the files cannot be read.
    """
    folder = path.parent if path.is_file() else path
    found = load_checkpoint(path if path.is_file() else folder / CHECKPOINT_NAME)
    if found is None:
        run_checkpoint(folder)  # which says what there is instead
    assert found is not None
    state, source = checked_training(*found), found[1]
    experiment = read_experiment(state["identity"], source)
    has_se = experiment.se is not None and experiment.variant != "plain"
    return StoredRun(
        folder=folder,
        identity=state["identity"],
        recipe=experiment.recipe,
        network=name_of_twin(experiment.model) if has_se else experiment.model,
        provenance=_provenance(state, source, experiment.recipe),
        state=state["average"]["values"] if state["average"] else state["model"],
        notes=tuple(_notes(state, path if path.is_file() else source, folder, experiment.recipe)),
    )


def _provenance(state: Mapping[str, Any], source: Path, recipe: FittedRecipe) -> Provenance:
    """Return what the checkpoint tells, or where an older senet wrote it, the settings beside it."""
    if state.get("provenance") is not None:
        return Provenance.from_values(state["provenance"], str(source))
    folder = source.parent
    settings = read_settings(folder) or read_settings(folder.parent) or {}
    images, arguments = settings.get("images"), settings.get("arguments") or {}
    if not images:
        command = f" ({settings['command']})" if settings.get("command") else ""
        raise SenetError(
            f"{folder} lacks classes, mean and std, because an older senet wrote it: run its command "
            f"again to add them{command}."
        )
    return provenance_of_training(
        recipe,
        **{name: images[name] for name in ("classes", "channels", "mean", "std")},
        data=arguments.get("data"),
        test_fraction=arguments.get("test_fraction"),
    )


def _notes(state: Mapping[str, Any], source: Path, folder: Path, recipe: FittedRecipe) -> list[str]:
    notes, position = [], state["position"]
    if source.name != CHECKPOINT_NAME:
        notes.append(f"{folder / CHECKPOINT_NAME} is missing or damaged: {source.name} is used instead.")
    if position["epoch"] < recipe.epochs:
        within = f", batch {position['batch']} of the next one" if position["batch"] else ""
        notes.append(
            f"The training is not finished: it has reached epoch {position['epoch']} of "
            f"{recipe.epochs}{within}."
        )
    if state["average"]:
        notes.append("The moving average of the weights is used, as in the training's own test.")
    return notes
