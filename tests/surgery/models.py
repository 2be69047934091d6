"""Small networks of other packages, and how to run them."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch
from torch import Tensor, nn

from tests.references import import_timm, import_torchvision


def _imported(name: str) -> ModuleType:
    """Import a module of torchvision, or one that imports it."""
    import_torchvision()
    return importlib.import_module(name)


def small_timm(block: str = "Bottleneck", attention: str | None = "se") -> nn.Module:
    """Return a stem and two units, the first with a projection."""
    resnet = import_timm().models.resnet
    attended = {"attn_layer": attention} if attention else {}
    unit = getattr(resnet, block)
    model = resnet.ResNet(unit, [2, 1, 1, 1], channels=(8, 8, 8, 8), num_classes=5, block_args=attended)
    model.layer2, model.layer3, model.layer4 = nn.Sequential(), nn.Sequential(), nn.Sequential()
    model.fc = nn.Linear(8 * unit.expansion, 5)
    return model


def small_legacy(block: str = "SEResNetBottleneck", groups: int = 1) -> nn.Module:
    """Return a stem and two units, the first with a projection."""
    module = import_timm().models.senet
    unit = getattr(module, block)
    width = 8 * unit.expansion
    projection = nn.Sequential(nn.Conv2d(16, width, 1, 2, bias=False), nn.BatchNorm2d(width))
    stem = [nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    first = unit(16, 8, groups, 8, stride=2, downsample=projection)
    return nn.Sequential(nn.Sequential(*stem), first, unit(width, 8, groups, 8))


def small_torchvision_resnet() -> nn.Module:
    module = _imported("torchvision.models.resnet")
    projection = nn.Sequential(nn.Conv2d(3, 16, 1, 2, bias=False), nn.BatchNorm2d(16))
    return nn.Sequential(module.BasicBlock(3, 16, 2, projection), module.BasicBlock(16, 16))


def small_vgg() -> nn.Module:
    module = _imported("torchvision.models.vgg")
    return module.make_layers([8, "M", 16, "M"], batch_norm=True)


def small_mobilenet() -> nn.Module:
    settings = [[1, 16, 1, 1], [6, 24, 2, 2]]
    return import_torchvision().models.MobileNetV2(num_classes=5, inverted_residual_setting=settings)


def small_densenet() -> nn.Module:
    return import_torchvision().models.DenseNet(8, (2, 2), 16, num_classes=5)


def small_regnet() -> nn.Module:
    module = _imported("torchvision.models.regnet")
    parameters = module.BlockParams([1, 2], [16, 32], [8, 8], [1.0, 1.0], [2, 2], 0.25)
    return module.RegNet(parameters, num_classes=5, stem_width=8)


def small_googlenet() -> nn.Module:
    module = _imported("torchvision.models.googlenet")
    inception = module.Inception(8, 4, 4, 8, 2, 4, 4)
    return nn.Sequential(module.BasicConv2d(3, 8, kernel_size=3, stride=2), inception)


def small_pytorchcv() -> nn.Module:
    module = _imported("pytorchcv.models.seresnet")
    channels = [[32, 32], [64, 64]]
    model = module.SEResNet(channels, 32, bottleneck=True, conv1_stride=True, num_classes=5)
    model.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return model


def small_timm_regnet() -> nn.Module:
    """Return two units whose BatchNorms carry the ReLU."""
    module = import_timm().models.regnet
    settings = {"group_size": 8, "se_ratio": 0.25}
    return nn.Sequential(
        module.Bottleneck(3, 16, stride=2, **settings), module.Bottleneck(16, 16, **settings)
    )


def run(model: nn.Module, *inputs: Tensor) -> Tensor:
    """Run forward and backward with random numbers of their own."""
    model.zero_grad()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        output = model(*inputs)
        output = output if isinstance(output, Tensor) else output[0]
        weights = torch.randn(output.shape, dtype=output.dtype)
    (output * weights).sum().backward()
    return output.detach()


def gradients(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, each.grad) for name, each in model.named_parameters() if each.grad is not None]
