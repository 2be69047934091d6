"""How an evaluation looks at images.

The ``help`` of each field is what the command line prints. This module imports no torch, so that
``senet --help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_args

from senet.checks import one_of, true_or_false
from senet.errors import SenetError, nearest
from senet.text import counted
from senet.training.recipe import Precision

CROPS = (1, 5, 10)


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """Sizes, crops and arithmetic of an evaluation.

    A single centre crop of the size that the weights were tested with is the default, and the paper's
    (Section 5.1: 224 pixels of a shorter side of 256, or 299 of 352).

    Raises:
        SenetError: a value is out of range, or would have no effect.
    """

    image_size: tuple[int, ...] = _setting(
        (),
        "image sizes in pixels at the network's input, one row each, such as 224 320 (default: the size "
        "the weights were tested with)",
    )
    test_resize: tuple[int, ...] = _setting(
        (),
        "shorter sides in pixels to which images are resized before cropping, one for each image size "
        "(default: in the proportion of the weights' own, 256 for 224)",
    )
    crops: int = _setting(
        1, "1: the centre; 5: the four corners and the centre; 10: these and their mirror images"
    )
    flip: bool = _setting(False, "average over each crop and its mirror image")
    fuse: bool = _setting(False, "add a row with the probabilities averaged over all image sizes")
    precision: Precision | None = _setting(None, "precision (default: that of the run, else fp32)")
    batch_size: int = _setting(0, "images per batch; 0: as the run, or 64")

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("image_size", "test_resize"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or any(type(each) is not int or each < 1 for each in values):
                raise SenetError(f"{name} must be whole numbers of at least 1, not {values!r}.")
        if len(set(self.image_size)) < len(self.image_size):
            raise SenetError(f"image_size must name each size once, not {self.image_size}.")
        sizes = max(1, len(self.image_size))
        if self.test_resize and len(self.test_resize) != sizes:
            raise SenetError(
                f"test_resize must have one shorter side for each of {counted(sizes, 'image size')}, not "
                f"{self.test_resize}."
            )
        for name in ("flip", "fuse"):
            true_or_false(name, getattr(self, name))
        if type(self.crops) is not int or self.crops not in CROPS:
            raise SenetError(f"crops must be one of {', '.join(map(str, CROPS))}, not {self.crops!r}.")
        if self.crops == 10 and self.flip:
            raise SenetError(
                "flip has no effect with ten crops, which contain the mirror images: leave it out."
            )
        if self.fuse and sizes < 2:
            raise SenetError("fuse has no effect with a single image size: give two or more.")
        if self.precision is not None:
            one_of("precision", self.precision, get_args(Precision))
        if type(self.batch_size) is not int or self.batch_size < 0:
            raise SenetError(f"batch_size must be 0 (chosen) or a number of images, not {self.batch_size!r}.")

    @classmethod
    def of(cls, given: Self | Mapping[str, Any] | None) -> Self:
        """Return settings, or those that differ from the defaults, as settings.

        Raises:
            SenetError: a setting does not exist.
        """
        if isinstance(given, cls):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise SenetError(
                f"views must be senet.ViewSettings or a mapping such as {{'image_size': (224, 320)}}, not "
                f"a value of type {type(given).__name__}."
            )
        known = {each.name for each in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in (given or {}).items()
        }
        for name in values:
            if name not in known:
                raise SenetError(
                    f"Views have no setting {name!r}; they have {', '.join(sorted(known))}."
                    f"{nearest(name, known)}"
                )
        return cls(**values)

    @property
    def mirrored(self) -> bool:
        """Whether mirror images are looked at as well."""
        return self.flip or self.crops == 10

    @property
    def positions(self) -> int:
        """Crops of each image, mirror images apart: 1 or 5."""
        return min(self.crops, 5)
