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
        None, "passes over the training images (default: chosen from their number and the network)"
    )
    batch_size: int | None = _setting(
        None, "images per training step, over all processes (default: chosen from the number of images)"
    )
    accumulate: int = _setting(
        1, "micro-batches per training step whose gradients are accumulated: the same step in less memory"
    )
    learning_rate: float | None = _setting(
        None,
        "peak learning rate of SGD (default: proportional to the batch size; lower with --weights or "
        "without BatchNorm)",
    )
    momentum: float = _setting(0.9, "momentum factor of SGD")
    nesterov: bool = _setting(False, "use Nesterov momentum")
    weight_decay: float | None = _setting(
        None, "weight decay, as an L2 penalty (default: 0.0005; 0.0001 with --weights)"
    )
    decay_norm: bool = _setting(True, "apply weight decay to biases and normalisation layers as well")
    clip_norm: float = _setting(0.0, "clip the gradient norm over all parameters to this value; 0: off")
    schedule: Schedule = _setting(
        "cosine", "how the learning rate falls: along a cosine to zero, or in steps"
    )
    step_epochs: tuple[int, ...] = _setting(
        (),
        "with --schedule step: epochs after which the learning rate is multiplied by the step factor "
        "(default: after 30, 60 and 90 % of the epochs, as in the paper)",
    )
    step_factor: float | None = _setting(
        None, "with --schedule step: factor applied to the learning rate (default: 0.1)"
    )
    warmup_epochs: float | None = _setting(
        None, "epochs of linear learning-rate warm-up from zero (default: a tenth of the epochs, at most 5)"
    )
    label_smoothing: float = _setting(0.0, "label smoothing: share of the target spread over all classes")
    ema_decay: float = _setting(
        0.0, "decay of the exponential moving average (EMA) of the weights, which is what is tested; 0: off"
    )
    freeze_norm_epochs: int = _setting(
        0, "last epochs in which BatchNorm's parameters and statistics are frozen, as for SENet-154"
    )
    sync_norm: bool = _setting(
        False, "synchronise BatchNorm over all processes, as if one process had the whole batch"
    )
    image_size: int = _setting(0, "image side in pixels at the network's input; 0: chosen from the images")
    crop: Crop = _setting(
        "auto",
        "training crop: pad by 4 pixels and crop (small images), or a random area and aspect ratio "
        "resized; auto: chosen from the images",
    )
    start_size: int = _setting(
        0,
        "image side in pixels in the first epoch, which then grows to the image size (progressive "
        "resizing); 0: off",
    )
    grow_epochs: int = _setting(
        0, "with --start-size: epochs until training images reach full size; 0: three quarters of all epochs"
    )
    test_resize: int = _setting(
        0,
        "shorter side in pixels to which test images are resized before the centre crop; 0: in the "
        "proportion of 256 for 224 (352 for 299), small images are used whole",
    )
    least_area: float = _setting(
        0.08, "with --crop resized: smallest share of the image area that a random crop keeps"
    )
    flip: bool = _setting(True, "flip training images horizontally at random")
    erasing: float = _setting(
        0.0, "random erasing: probability of blanking a random rectangle of a training image"
    )
    cutout: int = _setting(
        0,
        "Cutout: side in pixels of a square, centred anywhere in each training image, that is filled "
        "with the mean colour; 0: off, CIFAR-10 uses 16 and CIFAR-100 uses 8",
    )
    rotation: float = _setting(0.0, "largest angle in degrees by which training images are rotated")
    jitter: int = _setting(
        0,
        "largest grey level of the random noise added to each pixel and channel, as for the released models",
    )
    randaugment: int = _setting(0, "strength of RandAugment on training images, 1 to 10; 0: off")
    randaugment_layers: int = _setting(2, "operations that RandAugment applies in a row")
    mixup: float = _setting(
        0.0, "MixUp: alpha of the beta distribution that mixing weights are drawn from; 0: off"
    )
    cutmix: float = _setting(
        0.0,
        "CutMix: alpha, as for MixUp, for the area that is replaced by another image; 0: off; with "
        "both, each batch uses one of them",
    )
    repeats: int = _setting(
        1, "repeated augmentation: copies of each image in a batch, each augmented differently"
    )
    sampling: Sampling = _setting(
        "shuffle", "shuffle: each image once per epoch; balanced: each class equally often"
    )
    class_weights: tuple[str, ...] = _setting(
        (), "class weights in the loss: auto (rare classes weigh more), or as in cat=2 dog=0.5"
    )
    precision: Precision = _setting(
        "fp32",
        "precision of forward and backward pass; bf16 and fp16 use autocast, fp16 also scales the loss",
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
                raise SenetError(f"{name} is not chosen: give it, or let `choose` choose it.")
        super().__post_init__()
