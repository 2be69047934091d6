"""What belongs to trained weights besides their tensors, kept with the network and in its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from senet.checks import finite_number, one_of, positive, require_type, texts, true_or_false
from senet.errors import SenetError
from senet.networks.preprocess import Preprocess
from senet.schema import Schema

Precision = Literal["fp32", "bf16", "fp16"]

_KEY = "provenance"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How the training of a network tested it, and on what.

    Attributes:
        preprocess: of its test images.
        classes: their names in the order of the outputs.
        precision: of the arithmetic.
        batch: images that were tested together.
        knows_images: whether ``data`` and ``test_fraction`` tell the images.
        data: where they were; ``None`` for the embedded ones.
        test_fraction: that was asked for.
        test_images: digest of the test images' names and labels where a random split chose them, else ``""``.
    """

    preprocess: Preprocess
    classes: tuple[str, ...]
    precision: Precision = "fp32"
    batch: int = 64
    knows_images: bool = True
    data: str | None = None
    test_fraction: float | None = None
    test_images: str = ""

    def __post_init__(self) -> None:
        require_type("preprocess of a Provenance", self.preprocess, Preprocess, "a senet.Preprocess")
        object.__setattr__(self, "classes", texts("classes of a Provenance", self.classes))
        one_of("precision of a Provenance", self.precision, get_args(Precision))
        object.__setattr__(self, "batch", positive("batch of a Provenance", self.batch))
        true_or_false("knows_images of a Provenance", self.knows_images)
        if self.data is not None:
            require_type("data of a Provenance", self.data, str, "a text")
        require_type("test_images of a Provenance", self.test_images, str, "a text")
        if self.test_fraction is not None:
            wanted = "a number between 0 and 1"
            fraction = finite_number("test_fraction of a Provenance", self.test_fraction, wanted)
            if not 0 < fraction < 1:
                raise SenetError(f"test_fraction of a Provenance must be {wanted}, not {fraction}.")
            object.__setattr__(self, "test_fraction", fraction)

    @classmethod
    def from_values(cls, values: Any, source: str) -> Provenance:
        """Return what `dataclasses.asdict` and a file made of one.

        Args:
            values: from the file.
            source: the file, to name it in an error.

        Raises:
            SenetError: the values are not what a training writes.
        """
        try:
            built: Provenance = Schema().build(cls, values, "provenance")
        except SenetError as error:
            reason = str(error).rstrip(".")
            raise SenetError(
                f"The training information in {source} is invalid ({reason}): it was edited, or written "
                "by another version of senet."
            ) from error
        return built


def attach_provenance(model: nn.Module, provenance: Provenance) -> None:
    """Let a trained network carry what belongs to it, also as ``preprocess`` and ``classes``.

    Copies and pickles of the network carry it too. A network of somebody else that has something of its own
    under these two names keeps that.
    """
    earlier = provenance_of(model)
    for name, value in (("preprocess", provenance.preprocess), ("classes", provenance.classes)):
        own = getattr(model, name, None)
        if own is None or isinstance(own, Preprocess) or (earlier is not None and own == earlier.classes):
            setattr(model, name, value)
    setattr(model, _KEY, provenance)


def provenance_of(model: nn.Module) -> Provenance | None:
    """Return what a network carries from its training, also one that is compiled or wrapped."""
    found = getattr(unwrapped(model), _KEY, None)
    return found if isinstance(found, Provenance) else None


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network within torch.compile, DataParallel and its distributed kin."""
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        within: nn.Module = model.module
        return unwrapped(within)
    return model
