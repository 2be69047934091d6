"""Which network a checkpoint is of, and the sentence for a user who asked for another one."""

from __future__ import annotations

from dataclasses import replace

from senet.errors import SenetError
from senet.networks.specs import NetworkSpec
from senet.networks.zoo import list_models, network_spec, plain_name, twin_name
from senet.weights.assumed import assumptions, told_reference
from senet.weights.checkpoint import Checkpoint
from senet.weights.fit import Fitted, fit
from senet.weights.known import KNOWN, LOOK_ALIKES, SENET
from senet.weights.naming import Naming
from senet.weights.own import spec_name
from senet.weights.packages import OWN, naming_for, namings_of
from senet.weights.se_of import se_blocks
from senet.weights.shapes import MisfitError

_ADVICE = "use a complete file of this network, or create the network that the file belongs to"


def fit_or_refuse(
    checkpoint: Checkpoint, spec: NetworkSpec, *, se_chosen: bool = False, needs_classifier: bool = True
) -> Fitted:
    """Fit a checkpoint to the network that was asked for.

    Args:
        checkpoint: what was read.
        spec: of the network that was asked for.
        se_chosen: whether its SE was asked for, and so must be the checkpoint's.
        needs_classifier: whether a checkpoint without one is refused.

    Raises:
        SenetError: it does not fit; the sentence names the network it is of where there is one.
    """
    namings = namings_of(checkpoint)
    naming = naming_for(namings, spec)
    _refuse_other_name(checkpoint, naming, spec)
    try:
        fitted = fit(checkpoint, naming, spec, se_chosen=se_chosen, needs_classifier=needs_classifier)
    except MisfitError as misfit:
        raise SenetError(_refusal(checkpoint, namings, naming, spec, misfit)) from misfit
    theirs = replace(fitted.spec, se=None) if fitted.is_plain else fitted.spec
    return replace(fitted, assumed=assumptions(checkpoint, namings, naming, theirs))


def _refusal(
    checkpoint: Checkpoint,
    namings: tuple[Naming, ...],
    naming: Naming,
    spec: NetworkSpec,
    misfit: MisfitError,
) -> str:
    """Return the sentence that helps most: which network the checkpoint is of, or what is wrong with it."""
    found = fitting_networks(checkpoint, namings)
    name = spec_name(spec)
    if name in found and checkpoint.spec is None:
        return (
            f"{checkpoint.source} has no classifier: set num_classes to the number of classes of a new "
            "one, or to 0 for none."
        )
    if not found or name in found:
        return f"{misfit}: {_ADVICE}."
    first, packages = next(iter(found.items()))
    form = "" if naming.form(spec) else f" {naming.form_text},"
    advised = first if spec.se is None else twin_name(first)
    return (
        f"{checkpoint.source} has weights of {' or '.join(found)} ({packages}),{form} not of {name}: "
        f"create {advised!r} instead."
    )


def fitting_networks(checkpoint: Checkpoint, namings: tuple[Naming, ...]) -> dict[str, str]:
    """Return the networks whose weights a checkpoint holds, and the packages that name layers as it does.

    There are several where keys do not decide.
    """
    if checkpoint.spec is not None:
        return {spec_name(checkpoint.spec): SENET}
    found = {}
    for name in list_models():
        spec = network_spec(name)
        naming = naming_for(namings, spec)
        if namings and naming is OWN:
            continue  # the names are another family's
        key_map = naming.key_map(spec)
        blocks = se_blocks({key_map(key) or key: tensor for key, tensor in checkpoint.state.items()})
        if bool(blocks) != (spec.se is not None):
            continue
        try:
            fit(checkpoint, naming, spec, needs_classifier=False)
        except SenetError:
            continue
        found[name] = naming.called
    return found


def _refuse_other_name(checkpoint: Checkpoint, naming: Naming, spec: NetworkSpec) -> None:
    """Refuse a checkpoint whose place of publication says that it is of another network."""
    told = told_reference(checkpoint, naming)
    if told is None:
        return
    package, reference = told
    if reference in LOOK_ALIKES.get(package, ()):
        like = LOOK_ALIKES[package][reference]
        raise SenetError(
            f"{checkpoint.source} belongs to {package}'s {reference}, which has the tensors of "
            f"{like.network} but {like.does}, which no senet network does: use another checkpoint."
        )
    network = KNOWN[package][reference]
    if plain_name(network) != spec.name:
        # Plain weights serve a twin as well, so whoever asked for SE is named the twin.
        fitting = network if spec.se is None else twin_name(network)
        raise SenetError(
            f"{checkpoint.source} belongs to {package}'s {reference}, which is {network} here, not "
            f"{spec_name(spec)}: create {fitting!r} instead."
        )
