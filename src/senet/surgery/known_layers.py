"""Finds the layers of other packages that the kernels know beside PyTorch's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.blocks.tail import NORM_FORWARDS
from senet.surgery.conditions import children_of
from senet.surgery.foreign_norm import NormAct, norm_act
from senet.surgery.foreign_se import SELayers, se_layers, sounds_like_se
from senet.surgery.unseen import Untraceable


@dataclass(frozen=True)
class KnownLayers:
    """Layers of a model that are not PyTorch's.

    Attributes:
        se: SE blocks; ``None`` stands for senet's own.
        norms: BatchNorms that go on with an activation.
        refused: what looks like one of these, and why it is none.
    """

    se: Mapping[nn.Module, SELayers | None]
    norms: Mapping[nn.Module, NormAct]
    refused: Mapping[nn.Module, str]


def known_layers(model: nn.Module) -> KnownLayers:
    """Find the layers in ``model``, which stays as it is."""
    se: dict[nn.Module, SELayers | None] = {}
    norms: dict[nn.Module, NormAct] = {}
    refused: dict[nn.Module, str] = {}
    inside: set[nn.Module] = {model}
    for module in model.modules():
        if module in inside:
            continue
        try:
            if isinstance(module, SqueezeExcitation):
                se[module] = None
            elif isinstance(module, _BatchNorm):
                if type(module).forward not in NORM_FORWARDS:
                    norms[module] = norm_act(module)
            elif children_of(module):
                se[module] = se_layers(module)
        except Untraceable as error:
            if isinstance(module, _BatchNorm) or sounds_like_se(module):
                refused[module] = str(error)
        if module in se:
            inside.update(module.modules())
    # What has an SE block in it is no SE block, whatever its name.
    refused = {module: why for module, why in refused.items() if se.keys().isdisjoint(module.modules())}
    return KnownLayers(se, norms, refused)
