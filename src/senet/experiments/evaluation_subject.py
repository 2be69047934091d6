"""What is evaluated: a run, weights, a released checkpoint or another package's network, made ready."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from senet.errors import SenetError, nearest
from senet.experiments.evaluation_views import View
from senet.experiments.stored_run import is_run, read_run
from senet.files import user_path
from senet.networks.foreign import create_foreign, is_foreign
from senet.networks.foreign_preprocess import foreign_preprocess
from senet.networks.network import Network
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import provenance_of, unwrapped
from senet.networks.zoo import list_models
from senet.training.recipe import Precision
from senet.weights.create import create_model
from senet.weights.find import find_checkpoint, run_checkpoint
from senet.weights.own import spec_name
from senet.weights.released import PACKAGE_TAGS, RELEASES, list_weights, release_of_file

USUAL_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network with its weights, and what belongs to them.

    Attributes:
        network: its name.
        source: of the weights.
        model: the network.
        view: the images it sees.
        classes: names in the order of the outputs, or ``None`` where nobody tells.
        order: the name of the order of the classes, or ``None``.
        precision: that the weights were tested with.
        batch: images that were tested together.
        is_run: whether a training of senet tells its images.
        data: where they were, or ``None`` for the embedded ones.
        test_fraction: that the training split them with.
        test_images: digest of those that the training chose at random, else ``""``.
        notes: sentences on what is not as usual, or assumed.
    """

    network: str
    source: str
    model: nn.Module
    view: View
    classes: tuple[str, ...] | None = None
    order: str | None = None
    precision: Precision = "fp32"
    batch: int = USUAL_BATCH
    is_run: bool = False
    data: str | None = None
    test_fraction: float | None = None
    test_images: str = ""
    notes: tuple[str, ...] = ()


def open_subject(
    model: str | Path | nn.Module, weights: str | Path | None = None, preprocess: Preprocess | None = None
) -> Subject:
    """Return what is to be evaluated.

    Args:
        model: a run folder, a file of weights, one of `senet.list_weights`, ``"timm:NAME"`` or another
            foreign name, the name of one of senet's networks beside ``weights``, or a network itself.
        weights: of one of senet's networks.
        preprocess: of a network that is given itself.

    Raises:
        SenetError: there is nothing of that name, or it has no weights or cannot be read.
    """
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        raise SenetError(
            f"preprocess must be a senet.Preprocess, not a value of type {type(preprocess).__name__}."
        )
    if isinstance(model, nn.Module):
        if weights is not None:
            raise SenetError("weights have no effect on a model object: load them into it first.")
        return _of_module(model, preprocess)
    if preprocess is not None:
        raise SenetError(
            "preprocess can only be given with a model object; weights bring their own preprocessing."
        )
    if not isinstance(model, str | os.PathLike) or not str(model):
        kind = "an empty string" if isinstance(model, str) else f"a value of type {type(model).__name__}"
        raise SenetError(
            "model must be a model object, a run folder, a file of weights, a released checkpoint such "
            f"as cadene/se_resnet50, or timm:NAME, not {kind}."
        )
    name, path = str(model), user_path(Path(model))
    if weights is not None:
        return _of_weights(name, weights)
    if path.exists():
        return _of_run(path) if path.is_dir() else _of_file(path)
    if is_foreign(name):
        return _of_foreign(name)
    release = next((each for each in RELEASES if each.tag == name), None)
    if release is not None:
        return _of_weights(release.network, name)
    if name in list_models() or name in PACKAGE_TAGS:
        raise SenetError(
            f"{name} has no trained weights: give some with weights (--weights), such as a file or "
            f"{', '.join(list_weights(name)[:3]) or 'one of senet.list_weights()'}."
        )
    raise SenetError(
        f"There is no {name!r}: give a run folder, a file of weights, a released checkpoint such as "
        f"cadene/se_resnet50, or timm:NAME.{nearest(name, [*list_weights(), *list_models()])}"
    )


def _of_run(path: Path) -> Subject:
    if path.is_dir() and not is_run(path):
        run_checkpoint(path)  # which says what there is instead
    run = read_run(path)
    return _subject(run.build(), network=run.network, source=str(run.folder), notes=run.notes)


def _of_file(path: Path) -> Subject:
    """Return a file of weights that tells its network, by its content or as a published file by its name."""
    release = release_of_file(path.name)
    if release is not None:
        return _of_weights(release.network, path)
    checkpoint = find_checkpoint(path, "")
    if checkpoint.is_training:
        return _of_run(path)
    if checkpoint.spec is None:
        raise SenetError(
            f"{path} does not say which network it belongs to: give the network's name and the file as "
            f"weights, as in 'senet evaluate se_resnet50 --weights {path}'."
        )
    return _of_weights(spec_name(checkpoint.spec), path)


def _of_weights(name: str, weights: str | Path) -> Subject:
    if is_foreign(name):
        raise SenetError(
            f"weights can only be given for senet's own networks, not for {name}: name a factory "
            "(package.module:factory) that returns the network with its weights."
        )
    checkpoint = find_checkpoint(weights, name)
    # The first convolution stands first; the network sees as many channels as it was trained with.
    channels = next((value.shape[1] for value in checkpoint.state.values() if value.dim() == 4), 3)
    network = create_model(name, in_channels=channels, weights=weights)
    report = network.loaded
    assert report is not None
    untrained = [key for key in report.new if ".se." not in key]
    if untrained:
        raise SenetError(
            f"{report.source} has no weights for "
            f"{untrained[0]}{' and other parts' if untrained[1:] else ''} of {name}: use weights of the "
            "whole network."
        )
    return _subject(network, network=name, source=report.source, notes=(*report.changes, *report.assumed))


def _of_foreign(name: str) -> Subject:
    is_package = name.partition(":")[0] in ("timm", "torchvision", "pytorchcv")
    model = create_foreign(name, pretrained=is_package)
    preprocess, notes = foreign_preprocess(name, model)
    source = "the weights its package released" if is_package else "the weights its factory gave it"
    return _subject(model, network=name, source=source, notes=notes, preprocess=preprocess)


def _of_module(model: nn.Module, preprocess: Preprocess | None) -> Subject:
    notes: tuple[str, ...] = ()
    if preprocess is None and _own_preprocess(model) is None:
        if hasattr(model, "pretrained_cfg"):
            preprocess, notes = foreign_preprocess("timm:its network", model)
        else:
            preprocess = Preprocess()
            notes = (
                "Images are preprocessed with the centre 224 of 256 pixels and ImageNet's mean and std.",
            )
    name = type(unwrapped(model)).__name__
    return _subject(model, network=name, source="as given", notes=notes, preprocess=preprocess)


def _own_preprocess(model: nn.Module) -> Preprocess | None:
    own, told = getattr(unwrapped(model), "preprocess", None), provenance_of(model)
    if isinstance(own, Preprocess):
        return own
    return None if told is None else told.preprocess


def _subject(
    model: nn.Module,
    *,
    network: str,
    source: str,
    notes: tuple[str, ...],
    preprocess: Preprocess | None = None,
) -> Subject:
    """Return the subject with all that its network carries; ``preprocess`` takes the place of its own."""
    chosen = preprocess or _own_preprocess(model)
    assert chosen is not None
    told, inner = provenance_of(model), unwrapped(model)
    classes = told.classes if told is not None else None
    if isinstance(inner, Network):
        classes = inner.classes
    known = Subject(
        network=network,
        source=source,
        model=model,
        view=View(preprocess=chosen),
        classes=classes,
        order=chosen.labels,
        notes=notes,
    )
    if told is None:
        return known
    return replace(
        known,
        precision=told.precision,
        batch=told.batch,
        is_run=told.knows_images,
        data=told.data,
        test_fraction=told.test_fraction,
        test_images=told.test_images,
    )
