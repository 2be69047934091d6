"""Every pair of another package's network and ours, which a test and `tools/conversion_matrix.py` share.

The list is the one that senet itself reads file names by, so that none of it goes untested.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

import senet
from senet.networks.network import Network
from senet.networks.zoo import network_spec
from senet.weights.checkpoint import Checkpoint
from senet.weights.known import KNOWN, MOSKOMULE, PRETRAINEDMODELS, PYTORCHCV, TIMM, TORCHVISION
from senet.weights.packages import naming_for, namings_of
from tests.references import (
    import_pretrainedmodels,
    import_timm,
    import_torchvision,
    pytorchcv_model,
)
from tests.weights.moskomule import moskomule_model

# Names of files for networks that have another name in the package.
_FILE_NAMES = {(PRETRAINEDMODELS, "bn_inception"), (MOSKOMULE, "seresnet50")}
# Their heads read maps of one size only.
_SIDES = {
    (PRETRAINEDMODELS, "inceptionv3"): 299,
    **{(PRETRAINEDMODELS, f"vgg{layers}_bn"): 224 for layers in (11, 13, 16, 19)},
    **{(PYTORCHCV, f"bn_vgg{layers}b"): 224 for layers in (11, 13, 16, 19)},
}
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
# Pools of one size before the classifier, which are made to fit every size.
_FINAL_POOLS = ("avg_pool", "global_pool", "avgpool_1a", "avgpool", "features.final_pool")
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Pair:
    """A network of another package, and ours that its weights fit."""

    package: str
    reference: str
    network: str

    @property
    def side(self) -> int:
        """Of small images that both can see."""
        if (self.package, self.reference) in _SIDES:
            return _SIDES[self.package, self.reference]
        return {32: 32, 224: 64, 299: 96}[network_spec(self.network).input_size]

    def build(self) -> nn.Module:
        """Return the other package's network with fresh weights, fit for images of any size."""
        model = _BUILDERS[self.package](self.reference)
        if self.package in (PYTORCHCV, PRETRAINEDMODELS):
            for name, module in list(model.named_modules()):
                if name in _FINAL_POOLS and isinstance(module, nn.AvgPool2d):
                    model.set_submodule(name, nn.AdaptiveAvgPool2d(1))
        return model

    def __str__(self) -> str:
        return f"{self.package}-{self.reference}"


def _torchvision(name: str) -> nn.Module:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = getattr(import_torchvision().models, name)(**options)
    return model


def _timm(name: str) -> nn.Module:
    model: nn.Module = import_timm().create_model(name)
    return model


def _pretrainedmodels(name: str) -> nn.Module:
    import_pretrainedmodels()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, about arguments that pretrainedmodels gives it
        model: nn.Module = importlib.import_module("pretrainedmodels").__dict__[name](pretrained=None)
    return model


_BUILDERS: dict[str, Callable[[str], nn.Module]] = {
    TORCHVISION: _torchvision,
    TIMM: _timm,
    PYTORCHCV: pytorchcv_model,
    PRETRAINEDMODELS: _pretrainedmodels,
    MOSKOMULE: moskomule_model,
}


def _pairs() -> Iterator[Pair]:
    for package, networks in KNOWN.items():
        for reference, network in networks.items():
            if (package, reference) not in _FILE_NAMES:
                yield Pair(package, reference, network)


PAIRS = tuple(_pairs())


def pair_of(package: str, reference: str) -> Pair:
    """Return the pair of a package's network."""
    return next(pair for pair in PAIRS if (pair.package, pair.reference) == (package, reference))


def loaded(theirs: nn.Module, pair: Pair, folder: Path) -> Network:
    """Return our network with the weights of ``theirs``, by way of a file in their precision."""
    path = folder / "checkpoint.pth"
    torch.save(theirs.state_dict(), path)
    return senet.create_model(pair.network, weights=path).to(next(theirs.parameters()).dtype)


def scores(model: nn.Module, x: Tensor) -> Tensor:
    """Return the class scores, without those of auxiliary classifiers."""
    y = model(x)
    return y if isinstance(y, Tensor) else y[0]


def gradient_difference(ours: Network, theirs: nn.Module, x: Tensor) -> float:
    """Return the largest difference between gradients of a training step without dropout.

    Each is divided by the largest gradient of its layer: a convolution's bias before a BatchNorm has no
    gradient but rounding.
    """
    with mock.patch("torch.nn.functional.dropout", lambda x, *_, **__: x):
        for model in (ours, theirs):
            model.aux_logits = False  # what pretrainedmodels looks at
            for auxiliary in _AUXILIARY:  # they want large images when they train
                if hasattr(model, auxiliary):
                    setattr(model, auxiliary, None)
            model.train()
            scores(model, x).square().mean().backward()
    state = Checkpoint(state=theirs.state_dict(), source="reference")
    key_map = naming_for(namings_of(state), ours.spec).key_map(ours.spec)
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    largest: dict[str, float] = {}
    for name, gradient in gradients.items():
        layer = name.rpartition(".")[0]
        largest[layer] = max(gradient.abs().max().item(), largest.get(layer, _TINY))
    differences = []
    for name, parameter in theirs.named_parameters():
        key = key_map(name)
        if key in gradients and parameter.grad is not None:
            mine = gradients.pop(key)
            apart = (mine - parameter.grad.reshape(mine.shape)).abs().max().item()
            differences.append(apart / largest[key.rpartition(".")[0]])
    assert not gradients, f"no gradient to compare with: {list(gradients)[:3]}"
    assert len(differences) >= sum(p.requires_grad for p in ours.parameters())
    return max(differences)
