"""Other packages' implementations, to compare with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

_TORCHVISION_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float threshold) -> Tensor",
    "roi_align(Tensor x, Tensor rois, float scale, SymInt h, SymInt w, int ratio, bool aligned) -> Tensor",
    "qroi_align(Tensor x, Tensor rois, float scale, SymInt h, SymInt w, int ratio, bool aligned) -> Tensor",
    "roi_pool(Tensor x, Tensor rois, float scale, SymInt h, SymInt w) -> (Tensor, Tensor)",
    "ps_roi_align(Tensor x, Tensor rois, float scale, SymInt h, SymInt w, int ratio) -> (Tensor, Tensor)",
    "ps_roi_pool(Tensor x, Tensor rois, float scale, SymInt h, SymInt w) -> (Tensor, Tensor)",
    "deform_conv2d(Tensor x, Tensor weight) -> Tensor",
    "_roi_align_backward(Tensor grad) -> Tensor",
    "_roi_pool_backward(Tensor grad) -> Tensor",
    "_ps_roi_align_backward(Tensor grad) -> Tensor",
    "_ps_roi_pool_backward(Tensor grad) -> Tensor",
    "_deform_conv2d_backward(Tensor grad) -> Tensor",
)
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision also where its compiled operators do not load beside this torch.

    Its networks do not need them, but its import looks for their declarations.
    """
    if not _declared:
        _declared.append(torch.library.Library("torchvision", "FRAGMENT"))
        for schema in _TORCHVISION_OPERATORS:
            if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
                _declared[0].define(schema)
    module = importlib.import_module("torchvision")
    importlib.import_module("torchvision.models")
    return module


def import_timm() -> ModuleType:
    """Import timm, which imports torchvision."""
    import_torchvision()
    return importlib.import_module("timm")


def timm_model(name: str) -> nn.Module:
    """Build one of timm's networks with fresh weights."""
    model: nn.Module = import_timm().create_model(name)
    return model


def torchvision_model(name: str, **options: object) -> nn.Module:
    """Build one of torchvision's networks with fresh weights."""
    model: nn.Module = getattr(import_torchvision().models, name)(**options)
    return model


def pytorchcv_model(name: str) -> nn.Module:
    """Build one of pytorchcv's networks, which import torchvision, with fresh weights."""
    import_torchvision()
    model: nn.Module = importlib.import_module("pytorchcv.model_provider").get_model(name, pretrained=False)
    return model


def import_pretrainedmodels() -> ModuleType:
    """Import Cadene's pretrainedmodels, which imports torchvision."""
    import_torchvision()
    return importlib.import_module("pretrainedmodels")


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give a network weights and statistics under which every parameter matters.

    Fresh networks hide mistakes: BatchNorm does nothing in evaluation mode and biases are zero.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.0),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.5, 0.5, generator=generator)


def converted(state: dict[str, Tensor], into: nn.Module, rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Return ``state`` under the names of ``into``; 1x1 convolutions become matrices where it has those."""
    shapes = {name: tensor.shape for name, tensor in into.state_dict().items()}
    return {rename(name): tensor.reshape(shapes[rename(name)]) for name, tensor in state.items()}


def relative_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()
