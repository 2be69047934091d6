"""A network without its head that puts out its maps at several resolutions, as detectors need them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from senet.blocks.cost import Shape, cost_of
from senet.blocks.tail import paired
from senet.errors import SenetError
from senet.networks.network import HEAD, Network
from senet.networks.specs import NetworkSpec

# So large that pixels lost at unpadded borders cannot be taken for a stride.
_PROBE = 4096


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One of the maps a network puts out.

    Attributes:
        name: of the layer whose output it is: the last one at its resolution.
        channels: of the map.
        stride: pixels of the image per pixel of the map.
    """

    name: str
    channels: int
    stride: int


class FeatureNetwork(Network):
    """A network that puts out maps instead of class scores. It has the keys of the classifying one.

    Args:
        spec: what the network is; its number of classes has no effect.
        layers: those of the classifying network.
        out_indices: which features to put out, counted from the finest; negative from the coarsest.
            By default all.

    Attributes:
        feature_info: name, channels and stride of each map, finest first.

    Raises:
        SenetError: there is no feature of such an index.
    """

    def __init__(
        self, spec: NetworkSpec, layers: Mapping[str, nn.Module], out_indices: Sequence[int] | None = None
    ) -> None:
        found = find_features(layers, spec.in_channels)
        self.feature_info = _chosen(spec, found, out_indices)
        last = list(layers).index(self.feature_info[-1].name)
        super().__init__(spec, dict(list(layers.items())[: last + 1]))

    @property
    def classifier_name(self) -> None:
        """There is none."""
        return

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Return maps, (N, channels, about H / stride, about W / stride) each, for images (N, C, H, W).

        Raises:
            SenetError: as `Network.forward`.
        """
        self._check_images(x)
        wanted = {feature.name for feature in self.feature_info}
        maps = []
        for name, layer in paired(self.named_children()):
            x = self._run(layer, x)
            if name in wanted:
                maps.append(x)
        return maps


def find_features(layers: Mapping[str, nn.Module], in_channels: int) -> list[Feature]:
    """Return the last map at each resolution, finest first."""
    shape: Shape = (in_channels, _PROBE, _PROBE)
    found: dict[int, Feature] = {}
    for name, layer in layers.items():
        if name == HEAD:
            break
        shape = cost_of(layer, shape)[1]
        stride = 2 ** round(math.log2(_PROBE / shape[1]))
        found[stride] = Feature(name=name, channels=shape[0], stride=stride)
    return list(found.values())


def _chosen(spec: NetworkSpec, found: list[Feature], indices: Sequence[int] | None) -> tuple[Feature, ...]:
    if indices is None:
        return tuple(found)
    if (
        not indices
        or any(not isinstance(each, int) for each in indices)
        or any(not -len(found) <= index < len(found) for index in indices)
    ):
        strides = ", ".join(f"{index}: stride {feature.stride}" for index, feature in enumerate(found))
        raise SenetError(
            f"out_indices must be among the features of {spec.name}, {strides}, not {list(indices)!r}."
        )
    return tuple(found[index] for index in sorted({index % len(found) for index in indices}))
