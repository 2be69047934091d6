"""What a checkpoint's file does not tell about its network, so that the call decided it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import PurePath

from senet.networks.specs import NetworkSpec
from senet.networks.zoo import network_spec
from senet.weights.checkpoint import Checkpoint
from senet.weights.known import KNOWN, LOOK_ALIKES, TWO_FORMS, reference_in
from senet.weights.naming import Naming
from senet.weights.own import spec_name
from senet.weights.packages import OWN

_TENSORS_ONLY = (
    "The file contains only tensors, so everything that they do not show is assumed as requested: "
    "strides, activations, pooling, and the gate, squeeze and placement of SE (senet.save_weights stores "
    "these too)."
)


def assumptions(
    checkpoint: Checkpoint, namings: tuple[Naming, ...], naming: Naming, spec: NetworkSpec
) -> tuple[str, ...]:
    """Return sentences on what only the call, not the file, says about the network.

    Warns where another of senet's networks would hold the tensors as well, and so compute something else.

    Args:
        checkpoint: what was read.
        namings: all that its keys are of.
        naming: the one of them that was taken.
        spec: of the network that holds the checkpoint's tensors, without SE where they have none.
    """
    if checkpoint.spec is not None or told_reference(checkpoint, naming) is not None:
        return ()
    if naming is OWN:
        return (_TENSORS_ONLY,)
    forms, look_alikes = list(_other_forms(namings, spec)), list(_look_alikes(namings, spec))
    if not forms and not look_alikes:
        return ()
    sentence = (
        f"Only the requested name says that this is {spec_name(spec)}; the tensors of "
        f"{' and of '.join(dict.fromkeys((*forms, *look_alikes)))} have the same names and shapes."
    )
    if forms:
        warnings.warn(f"{checkpoint.source}: {sentence}", stacklevel=4)
    return (sentence,)


def told_reference(checkpoint: Checkpoint, naming: Naming) -> tuple[str, str] | None:
    """Return the package and its name for the network, where the place of publication tells them."""
    file_name = PurePath(checkpoint.source).name
    for package in naming.packages:
        reference = checkpoint.architecture or reference_in(file_name, package)
        if reference in KNOWN.get(package, ()) or reference in LOOK_ALIKES.get(package, ()):
            return package, str(reference)
    return None


def _other_forms(namings: tuple[Naming, ...], spec: NetworkSpec) -> Iterator[str]:
    """Yield what packages have with the tensors of ``spec`` that is another network of ours."""
    forms = {one: other for pair in TWO_FORMS.items() for one, other in (pair, pair[::-1])}
    for naming in namings:
        for package in naming.packages:
            for reference, network in KNOWN.get(package, {}).items():
                other = network_spec(network)
                is_other = forms.get(spec.name) == other.name and (other.se is None) == (spec.se is None)
                if is_other and isinstance(other, naming.specs) and naming.form(other):
                    yield f"{package}'s {reference} (here {network})"


def _look_alikes(namings: tuple[Naming, ...], spec: NetworkSpec) -> Iterator[str]:
    """Yield what packages have with the tensors of ``spec`` that no network of ours computes."""
    for naming in namings:
        for package in naming.packages:
            for reference, (network, does) in LOOK_ALIKES.get(package, {}).items():
                if network == spec_name(spec) and naming.form(spec):
                    yield f"{package}'s {reference} (which {does})"
