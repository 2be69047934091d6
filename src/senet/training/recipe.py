"""All settings of one training, in one place.

The ``help`` of each field is what the command line prints. This module
imports no torch, so that ``senet --help`` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from senet.errors import SenetError

Schedule = Literal["cosine", "step"]
Precision = Literal["fp32", "bf16"]
Crop = Literal["auto", "pad", "resized"]


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the plain network and its SE twin share one.

    The defaults train a small network on small images in seconds. The paper's ImageNet recipe
    (Section 5.1) is ``epochs=100, batch_size=1024, learning_rate=0.6, schedule="step",
    weight_decay=1e-4``.

    Raises:
        SenetError: a value is out of range, or would have no effect.
    """

    epochs: int = _setting(6, "passes over the training images")
    batch_size: int = _setting(32, "images per training step")
    learning_rate: float = _setting(0.1, "highest learning rate of SGD")
    momentum: float = _setting(0.9, "momentum of SGD: share of the last step kept")
    nesterov: bool = _setting(False, "use Nesterov momentum")
    weight_decay: float = _setting(5e-4, "L2 penalty on every parameter")
    schedule: Schedule = _setting(
        "cosine", "how the learning rate falls: to zero along a cosine, or in steps"
    )
    step_epochs: tuple[int, ...] = _setting(
        (),
        "with --schedule step: epochs after which the rate is multiplied by the step factor "
        "(default: after 30, 60 and 90 % of the epochs, as in the paper)",
    )
    step_factor: float | None = _setting(
        None, "with --schedule step: what the rate is multiplied by (default: 0.1)"
    )
    warmup_epochs: float = _setting(0.5, "epochs in which the rate rises from zero")
    label_smoothing: float = _setting(0.0, "share of the target spread over all classes")
    ema_decay: float = _setting(
        0.0, "decay of the moving average of the weights that is tested; 0 turns it off"
    )
    image_size: int = _setting(0, "side in pixels of what the network sees; 0 chooses by the images")
    crop: Crop = _setting(
        "auto",
        "training crop: pad by 4 pixels and crop (small images), or a random area and aspect ratio resized; "
        "auto chooses by the images",
    )
    flip: bool = _setting(True, "mirror training images at random")
    erasing: float = _setting(0.0, "probability of blanking a random square of a training image")
    cutout: int = _setting(
        0,
        "side in pixels of a square of every training image that is filled with the mean colour, "
        "its centre anywhere in the image; 0 turns it off, CIFAR-10 takes 16 and CIFAR-100 takes 8",
    )
    precision: Precision = _setting("fp32", "arithmetic of forward and backward; bf16 uses autocast")

    def __post_init__(self) -> None:
        """Check every value."""
        hints = get_type_hints(type(self))
        for each in fields(self):
            allowed = get_args(hints[each.name])
            value = getattr(self, each.name)
            if get_origin(hints[each.name]) is Literal and value not in allowed:
                raise SenetError(f"{each.name} is {value!r}; choose one of {', '.join(map(str, allowed))}.")
            if hints[each.name] is int and not isinstance(value, int):
                raise SenetError(f"{each.name} is {value!r}; it must be a whole number.")
        for name, (low, high, text) in _RANGES.items():
            value = getattr(self, name)
            if value is None and type(None) in get_args(hints[name]):
                continue
            # `not` catches NaN as well.
            if not isinstance(value, int | float) or not low <= value <= high:
                raise SenetError(f"{name} is {value!r}; it must be {text}.")
        if self.image_size > 0 and self.cutout > 2 * self.image_size:
            raise SenetError(
                f"cutout is {self.cutout} and the network sees {self.image_size}×{self.image_size} pixels: "
                f"choose at most {2 * self.image_size}, twice their side."
            )
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.schedule == "cosine" and (self.step_epochs or self.step_factor is not None):
            raise SenetError(
                "step_epochs and step_factor have no effect on the cosine schedule: "
                "choose schedule 'step' or leave them out."
            )
        if any(not 0 < epoch < self.epochs for epoch in self.step_epochs):
            raise SenetError(
                f"step_epochs is {self.step_epochs}; each must lie between 1 and {self.epochs - 1}, "
                f"within the {self.epochs} epochs of the training."
            )
        if self.warmup_epochs >= self.epochs:
            raise SenetError(
                f"warmup_epochs is {self.warmup_epochs} but the training has only {self.epochs} epochs: "
                "make the warm-up shorter."
            )
        if self.nesterov and self.momentum == 0:
            raise SenetError("nesterov needs momentum above 0; momentum is 0.")


_INFINITY = float("inf")
_RANGES: dict[str, tuple[float, float, str]] = {
    "epochs": (1, 1_000_000, "a whole number of at least 1"),
    "batch_size": (1, 1_000_000, "a whole number of at least 1"),
    "learning_rate": (1e-12, 1e6, "above 0"),
    "momentum": (0, 0.9999, "at least 0 and below 1"),
    "weight_decay": (0, 1e6, "0 or above"),
    "step_factor": (1e-12, 1, "above 0 and at most 1"),
    "warmup_epochs": (0, 1_000_000, "0 or above"),
    "label_smoothing": (0, 0.9999, "at least 0 and below 1"),
    "ema_decay": (0, 0.999999, "at least 0 and below 1"),
    "image_size": (0, 100_000, "0 (chosen by the images) or a side in pixels"),
    "erasing": (0, 1, "a probability between 0 and 1"),
    "cutout": (0, 200_000, "0 (off) or a side in pixels"),
}
