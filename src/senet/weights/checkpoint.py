"""What a file holds, before anybody asks which network it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.networks.provenance import Provenance
from senet.networks.specs import NetworkSpec

INSERTED_KEY = "senet_inserted"
"""Of the metadata of another package's network with SE in it, which `senet insert` writes."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors by name, and what the file or its place of publication tells about them.

    Attributes:
        state: tensors under the names the file has, without wrappers and common prefixes.
        source: to name it in sentences: a path, or a repository and a file in it.
        own: whether senet wrote it.
        is_training: whether senet's training wrote it, to go on from.
        spec: of the network whose weights senet wrote; ``None`` where the file does not tell.
        preprocess: that belongs to the weights; ``None`` where only their package tells.
        package: whose checkpoint it is, where that is known from elsewhere than its keys.
        architecture: what that package calls the network, where that is known.
        classes: their names in label order.
        provenance: what a training of senet tells besides, or ``None``.
        notes: sentences for the report.
        inserted: settings of the SE blocks that `senet insert`, or a training, put into a network of another
            package, by the name of the setting; ``None`` where nobody tells.
    """

    state: dict[str, Tensor]
    source: str
    own: bool = False
    is_training: bool = False
    spec: NetworkSpec | None = None
    preprocess: Preprocess | None = None
    package: str | None = None
    architecture: str | None = None
    classes: tuple[str, ...] | None = None
    provenance: Provenance | None = None
    notes: tuple[str, ...] = ()
    inserted: Mapping[str, Any] | None = None


def inserted_settings(metadata: Mapping[str, str], source: str) -> Mapping[str, Any] | None:
    """Return what `senet.squeeze_excite` was given for the network in a safetensors file, if it was.

    Raises:
        SenetError: the metadata has another form.
    """
    if INSERTED_KEY not in metadata:
        return None
    try:
        settings = json.loads(metadata[INSERTED_KEY])["squeeze_excite"]
    except (ValueError, KeyError, TypeError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise SenetError(
            f"The metadata of {source} does not say how SE was inserted: write it again with 'senet insert'."
        )
    return settings
