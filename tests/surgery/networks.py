"""Networks of users, written the ways that users write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A residual block in any number of dimensions, with branches on its own attributes."""

    def __init__(self, dims: int, channels: int, out: int, stride: int = 1, *, late: bool = False) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
        self.conv1 = conv(channels, out, 3, stride, 1, bias=False)
        self.bn1 = norm(out)
        self.conv2 = conv(out, out, 3, 1, 1, bias=False)
        self.bn2 = norm(out)
        self.act = None if late else nn.ReLU()
        self.skip = conv(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = functional.relu(y) if self.act is None else self.act(y)
        y = self.bn2(self.conv2(y))
        if self.skip is not None:
            x = self.skip(x)
        y += x
        return functional.relu(y)


class ByShape(Block):
    """Looks at sizes, which torch.fx cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if x.shape != y.shape:
            x = self.skip(x)  # type: ignore[misc]
        return functional.relu(y + x)


def resnet(dims: int = 2, block: type[Block] = Block, width: int = 16) -> nn.Sequential:
    """Return a stem and three units, the second with a projection."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1]
    return nn.Sequential(
        conv(3, width, 3, 1, 1),
        block(dims, width, width),
        block(dims, width, 2 * width, 2),
        block(dims, 2 * width, 2 * width, late=True),
        pool(1),
        nn.Flatten(),
        nn.Linear(2 * width, 5),
    )


class Tutorial(nn.Module):
    """The network that everybody begins with: functions, and one pool for all."""

    def __init__(self, activation: str = "relu") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.bn = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16, 5)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        act = getattr(functional, self.activation)
        x = self.pool(act(self.conv1(x)))
        x = self.pool(act(self.bn(self.conv2(x))))
        return self.fc(x.mean((2, 3)))


class Shared(nn.Module):
    """Runs one unit twice, and one ReLU everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def unit(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)) + x)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.unit(self.unit(self.relu(self.stem(x)))).mean((2, 3)))


class NormTwice(Shared):
    """Uses the BatchNorm of its unit in the stem as well."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.unit(self.relu(self.bn(self.stem(x)))).mean((2, 3)))


class UNet(nn.Module):
    """Its concatenation joins maps of different depth: no unit."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return self.last(torch.cat([x, self.up(self.deep(x))], 1))


class Concurrent(nn.Sequential):
    """Runs its children side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([each(x) for each in self], 1)


class Lister(nn.Module):
    """Runs whatever children it has, so that none may be added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 1)
        self.b = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([each(x) for each in self.children()], 1)


class Values(nn.Module):
    """Decides by the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(16)
        self.skip = nn.Conv2d(3, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv2(self.conv(x)))
        if x.mean() > 1e9:
            return x
        return y + self.skip(x) if x.shape[1] != 16 else y + x


class OfOddSize(Values):
    """Takes images of one size only, which nobody guesses."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 17:
            raise ValueError("images of 17 pixels, please")
        return super().forward(x)


class Pyramid(nn.Module):
    """Adds coarse maps to fine ones, as feature pyramids do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.lateral = nn.Conv2d(16, 16, 1)
        self.coarse = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.lateral(x) + functional.interpolate(self.coarse(x), scale_factor=2)
