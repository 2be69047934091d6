"""How one package names the layers of one family of networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from senet.networks.specs import NetworkSpec

KeyMap = Callable[[str], str | None]
"""From a package's key to ours; ``None`` for what no network needs, such as auxiliary classifiers."""


def any_form(spec: NetworkSpec) -> bool:
    """Hold for every network."""
    return True


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How a package names the layers of a family, and what its networks do that no tensor shows.

    Attributes:
        packages: those that share the names.
        specs: the family.
        has: patterns found among the lines "key dimensions" of a state dict, each at least once.
        lacks: patterns found nowhere among them.
        key_map: for a network of the family, the function from the package's keys to ours.
        form: whether a network computes what the package's does with the same tensors.
        form_text: what tells them apart.
        options: of the spec, which the package's networks have where ours have them at all: what the
            max pool does at the edge, for one.
        preprocess: fields that differ from those of the network's default.
        background: whether 1001 classes mean that the first one is none of ImageNet's.
        biased: whether its convolutions have biases before their BatchNorms, which ours have not.
        refusal: why no senet network computes what this one does.
    """

    packages: tuple[str, ...]
    specs: tuple[type[NetworkSpec], ...]
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    key_map: Callable[[Any], KeyMap]
    form: Callable[[NetworkSpec], bool] = any_form
    form_text: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    background: bool = False
    biased: bool = False
    refusal: str | None = None

    @property
    def called(self) -> str:
        """The packages in a sentence."""
        return " or ".join(self.packages)

    def recognises(self, lines: str) -> bool:
        """Tell whether the lines "key dimensions" of a state dict are of this kind."""
        return all(re.search(each, lines, re.MULTILINE) for each in self.has) and not any(
            re.search(each, lines, re.MULTILINE) for each in self.lacks
        )
