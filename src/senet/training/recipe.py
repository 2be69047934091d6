"""All settings of one training, in one place.

The ``help`` of each field is what the command line prints. This module
imports no torch, so that ``senet --help`` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from senet.errors import SenetError
from senet.training.recipe_rules import check_recipe

Schedule = Literal["cosine", "step"]
Precision = Literal["fp32", "bf16", "fp16"]
Sampling = Literal["shuffle", "balanced"]
Crop = Literal["auto", "pad", "resized"]

CHOSEN = ("epochs", "batch_size", "learning_rate", "warmup_epochs", "weight_decay")
"""Settings that are chosen by the images, the network and its start where they are ``None``."""


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the plain network and its SE twin share one.

    What is ``None`` is chosen when images and network are known (`senet.training.recipe_choice`) and
    told before the training. The paper's ImageNet recipe (Section 5.1) is ``epochs=100,
    batch_size=1024, learning_rate=0.6, schedule="step", weight_decay=1e-4``.

    Raises:
        SenetError: a value is out of range, or would have no effect.
    """

    epochs: int | None = _setting(
        None, "passes over the training images (default: chosen by their number and the network)"
    )
    batch_size: int | None = _setting(
        None, "images per training step, over all processes (default: chosen by the number of images)"
    )
    accumulate: int = _setting(
        1, "parts into which a batch is cut, whose gradients are added up: the same step in less memory"
    )
    learning_rate: float | None = _setting(
        None,
        "highest learning rate of SGD (default: in proportion to the batch size; lower with --weights or "
        "without BatchNorm)",
    )
    momentum: float = _setting(0.9, "momentum of SGD: share of the last step kept")
    nesterov: bool = _setting(False, "use Nesterov momentum")
    weight_decay: float | None = _setting(
        None, "L2 penalty on the parameters (default: 0.0005; 0.0001 with --weights)"
    )
    decay_norm: bool = _setting(True, "let the L2 penalty act on biases and normalisation layers as well")
    clip_norm: float = _setting(
        0.0, "largest norm the gradient of all parameters may have before it is scaled down; 0 turns it off"
    )
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
    warmup_epochs: float | None = _setting(
        None, "epochs in which the rate rises from zero (default: a tenth of the epochs, at most 5)"
    )
    label_smoothing: float = _setting(0.0, "share of the target spread over all classes")
    ema_decay: float = _setting(
        0.0, "decay of the moving average of the weights that is tested; 0 turns it off"
    )
    freeze_norm_epochs: int = _setting(
        0, "last epochs in which BatchNorm's parameters and statistics stay as they are, as for SENet-154"
    )
    sync_norm: bool = _setting(
        False, "let BatchNorm see the images of all processes, as if one process had the whole batch"
    )
    image_size: int = _setting(0, "side in pixels of what the network sees; 0 chooses by the images")
    crop: Crop = _setting(
        "auto",
        "training crop: pad by 4 pixels and crop (small images), or a random area and aspect ratio resized; "
        "auto chooses by the images",
    )
    start_size: int = _setting(
        0,
        "side in pixels of the first epoch's training images, which then grow to the image size; 0: off",
    )
    grow_epochs: int = _setting(
        0, "with --start-size: epochs until training images have their full size (0: three quarters of all)"
    )
    test_resize: int = _setting(
        0,
        "shorter side in pixels of test images before their centre is cut out "
        "(0: 256 for 224, 352 for 299, in this proportion for other sizes; small images are used whole)",
    )
    least_area: float = _setting(
        0.08, "smallest share of an image's area that a random crop keeps, with --crop resized"
    )
    flip: bool = _setting(True, "mirror training images at random")
    erasing: float = _setting(0.0, "probability of blanking a random square of a training image")
    cutout: int = _setting(
        0,
        "side in pixels of a square of every training image that is filled with the mean colour, "
        "its centre anywhere in the image; 0 turns it off, CIFAR-10 takes 16 and CIFAR-100 takes 8",
    )
    rotation: float = _setting(0.0, "largest angle in degrees by which a training image is turned")
    jitter: int = _setting(
        0, "largest grey level that is added to each pixel and channel at random, as for the released models"
    )
    randaugment: int = _setting(
        0, "strength of RandAugment's operations on training images, 1 to 10; 0 turns it off"
    )
    randaugment_layers: int = _setting(2, "operations that RandAugment applies one after the other")
    mixup: float = _setting(
        0.0, "MixUp: both parameters of the beta distribution that two images' shares are drawn from; 0: off"
    )
    cutmix: float = _setting(
        0.0, "CutMix: as for MixUp, for the area replaced by another image's; with both, each batch takes one"
    )
    repeats: int = _setting(1, "how often an image comes in a batch, augmented anew each time")
    sampling: Sampling = _setting(
        "shuffle", "every image once per epoch, or balanced: every class equally often"
    )
    class_weights: tuple[str, ...] = _setting(
        (), "weight of each class in the loss: auto (rare classes weigh more), or as in cat=2 dog=0.5"
    )
    precision: Precision = _setting(
        "fp32", "arithmetic of forward and backward; bf16 and fp16 use autocast, fp16 scales the loss"
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_recipe(self)


@dataclass(frozen=True, kw_only=True)
class FittedRecipe(Recipe):
    """A recipe in which every setting has a value: what a training runs and a run folder keeps."""

    if TYPE_CHECKING:  # narrower types; the fields are those above
        epochs: int
        batch_size: int
        learning_rate: float
        weight_decay: float
        warmup_epochs: float

    def __post_init__(self) -> None:
        """Check that nothing is left open, and every value."""
        for name in CHOSEN:
            if getattr(self, name) is None:
                raise SenetError(f"{name} is not chosen: give it, or have `choose` choose it.")
        super().__post_init__()
