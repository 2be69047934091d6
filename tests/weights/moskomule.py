"""Networks with the names and the layers of moskomule's senet.pytorch, which is in no package index.

Its SE layer has two matrices without biases in a Sequential called ``fc``; all else is torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn

from tests.references import import_torchvision


class SELayer(nn.Module):
    """Squeeze, excite and scale with torch's own layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 16, bias=False),
            nn.ReLU(),
            nn.Linear(channels // 16, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


def se_resnet(layers: int) -> nn.Module:
    """Return torchvision's ResNet with an SE layer behind the last BatchNorm of each branch."""
    model: nn.Module = getattr(import_torchvision().models, f"resnet{layers}")()
    last = "bn2" if layers < 50 else "bn3"
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for unit in stage:
            norm = getattr(unit, last)
            unit.se = SELayer(norm.num_features)
            norm.register_forward_hook(lambda _, __, y, se=unit.se: se(y))
    return model


class CifarUnit(nn.Module):
    """Two convolutions, SE and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SELayer(channels)
        if in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (self.se(y) + shortcut).relu()


class CifarNet(nn.Module):
    """A 6n+2 network for 10 classes."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        for number, width in enumerate((16, 32, 64), start=1):
            stage = []
            for position in range(units):
                stage.append(CifarUnit(channels, width, 2 if number > 1 and position == 0 else 1))
                channels = width
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def moskomule_model(name: str) -> nn.Module:
    """Return for example ``se_resnet50`` or ``se_resnet20``."""
    layers = int(name.removeprefix("se_resnet"))
    return se_resnet(layers) if layers in (18, 34, 50, 101, 152) else CifarNet((layers - 2) // 6)
