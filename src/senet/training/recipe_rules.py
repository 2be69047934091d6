"""What the settings of a training may be, each by itself and together."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from senet.checks import one_of, require_type, texts, true_or_false, whole_number
from senet.errors import SenetError
from senet.text import counted

if TYPE_CHECKING:
    from senet.training.recipe import Recipe

AUTO = "auto"

_RANGES: dict[str, tuple[float, float, str]] = {
    "epochs": (1, 1_000_000, "a whole number from 1 to 1,000,000"),
    "batch_size": (1, 1_000_000, "a whole number from 1 to 1,000,000"),
    "accumulate": (1, 1_000_000, "a whole number from 1 to 1,000,000"),
    "learning_rate": (1e-12, 1e6, "above 0 (at least 1e-12) and at most 1,000,000"),
    "momentum": (0, 0.9999, "at least 0 and at most 0.9999"),
    "weight_decay": (0, 1e6, "at least 0 (off) and at most 1,000,000"),
    "clip_norm": (0, 1e12, "at least 0 (off) and at most 1e12"),
    "step_factor": (1e-12, 1, "above 0 (at least 1e-12) and at most 1"),
    "warmup_epochs": (0, 1_000_000, "at least 0 (off) and at most 1,000,000"),
    "label_smoothing": (0, 0.9999, "at least 0 (off) and at most 0.9999"),
    "ema_decay": (0, 0.999999, "at least 0 (off) and at most 0.999999"),
    "freeze_norm_epochs": (0, 1_000_000, "0 (off) or a number of epochs up to 1,000,000"),
    "image_size": (0, 100_000, "0 (chosen from the images) or a side of up to 100,000 pixels"),
    "start_size": (0, 100_000, "0 (off) or a side of up to 100,000 pixels"),
    "grow_epochs": (
        0,
        1_000_000,
        "0 (three quarters of the epochs) or a number of epochs up to 1,000,000",
    ),
    "test_resize": (0, 200_000, "0 (chosen from the image size) or a side of up to 200,000 pixels"),
    "least_area": (1e-4, 1, "a share from 0.0001 to 1"),
    "erasing": (0, 1, "a probability from 0 to 1"),
    "cutout": (0, 200_000, "0 (off) or a side of up to 200,000 pixels"),
    "rotation": (0, 180, "an angle from 0 to 180 degrees"),
    "jitter": (0, 255, "a grey level from 0 to 255"),
    "randaugment": (0, 10, "0 (off) or a strength from 1 to 10"),
    "randaugment_layers": (1, 10, "a whole number from 1 to 10"),
    "mixup": (0, 100, "0 (off) or a number up to 100"),
    "cutmix": (0, 100, "0 (off) or a number up to 100"),
    "repeats": (1, 1000, "a whole number from 1 to 1,000"),
}


def check_recipe(recipe: Recipe) -> None:
    """Raise `SenetError` where a value is out of range, or would have no effect beside the others."""
    _check_types(recipe)
    _check_schedule(recipe)
    _check_sizes(recipe)
    _check_batches(recipe)
    _check_class_weights(recipe.class_weights)
    if recipe.class_weights == (AUTO,) and recipe.sampling == "balanced":
        raise SenetError(
            "class_weights auto and sampling balanced both make up for rare classes: choose one of them."
        )
    if recipe.nesterov and recipe.momentum == 0:
        raise SenetError("nesterov needs momentum above 0; momentum is 0.")
    if not recipe.decay_norm and recipe.weight_decay == 0:
        raise SenetError("decay_norm has no effect if weight_decay is 0: leave it out.")
    if recipe.randaugment == 0 and recipe.randaugment_layers != 2:
        raise SenetError(
            f"randaugment_layers {recipe.randaugment_layers} has no effect if randaugment is 0: set a "
            "strength from 1 to 10, or leave it out."
        )


def _check_types(recipe: Recipe) -> None:
    hints = get_type_hints(type(recipe))
    for each in fields(recipe):
        hint, value = hints[each.name], getattr(recipe, each.name)
        allowed = get_args(hint)
        if value is None and type(None) in allowed:
            continue
        if get_origin(hint) is Literal:
            one_of(each.name, value, allowed)
        if hint in (int, int | None) and (not isinstance(value, int) or isinstance(value, bool)):
            raise SenetError(f"{each.name} must be {_RANGES[each.name][2]}, not {value!r}.")
        if hint is bool:
            true_or_false(each.name, value)
        if each.name == "step_epochs":
            require_type("step_epochs", value, (tuple, list), "a list of epochs")
            for epoch in value:
                whole_number("Each of step_epochs", epoch)
        if each.name in _RANGES:
            _check_range(each.name, value)


def _check_range(name: str, value: object) -> None:
    low, high, text = _RANGES[name]
    # `not` catches NaN as well.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SenetError(f"{name} must be {text}, not {value!r}.")


def _check_schedule(recipe: Recipe) -> None:
    if recipe.schedule == "cosine" and (recipe.step_epochs or recipe.step_factor is not None):
        raise SenetError(
            "step_epochs and step_factor have no effect with the cosine schedule: choose the schedule "
            "'step' or leave them out."
        )
    if recipe.step_epochs and recipe.epochs is None:
        raise SenetError(f"step_epochs is given without epochs ({recipe.step_epochs}): give both.")
    if recipe.epochs is None:
        return
    if recipe.step_epochs and recipe.epochs == 1:
        raise SenetError(
            f"step_epochs {recipe.step_epochs} has no effect in a training of 1 epoch: train for more "
            "epochs, or leave it out."
        )
    if any(not 0 < epoch < recipe.epochs for epoch in recipe.step_epochs):
        raise SenetError(
            f"step_epochs must be from 1 to {recipe.epochs - 1}, within the "
            f"{counted(recipe.epochs, 'epoch')} of the training, not {recipe.step_epochs}."
        )
    if recipe.warmup_epochs is not None and recipe.warmup_epochs >= recipe.epochs:
        raise SenetError(
            f"warmup_epochs must be below the number of epochs, {recipe.epochs}, not {recipe.warmup_epochs}."
        )
    if recipe.freeze_norm_epochs >= recipe.epochs:
        raise SenetError(
            f"freeze_norm_epochs must be below the number of epochs, {recipe.epochs}, since BatchNorm has "
            f"to learn first, not {recipe.freeze_norm_epochs}."
        )


def _check_sizes(recipe: Recipe) -> None:
    size = recipe.image_size
    if size > 0 and recipe.cutout > 2 * size:
        raise SenetError(
            f"cutout must be at most {2 * size}, twice the image size of {size} pixels, not {recipe.cutout}."
        )
    if recipe.start_size == 0 and recipe.grow_epochs > 0:
        raise SenetError(
            f"grow_epochs {recipe.grow_epochs} has no effect without start_size: give both or neither."
        )
    if size > 0 and recipe.start_size >= size:
        raise SenetError(f"start_size must be below the image size, {size}, not {recipe.start_size}.")
    if recipe.start_size > 0 and recipe.epochs == 1:
        raise SenetError(
            f"start_size {recipe.start_size} has no effect in a training of one epoch, which uses "
            "full-size images: leave it out or train longer."
        )
    if recipe.start_size > 0 and recipe.epochs is not None and recipe.grow_epochs >= recipe.epochs:
        raise SenetError(
            f"grow_epochs must be below the number of epochs, {recipe.epochs}, so that the last one uses "
            f"full-size images, not {recipe.grow_epochs}."
        )
    if size > 0 and 0 < recipe.test_resize < size:
        raise SenetError(
            f"test_resize must be 0 (chosen) or at least the image size, {size}, not {recipe.test_resize}."
        )
    if recipe.crop == "pad" and recipe.least_area != type(recipe).least_area:
        raise SenetError(
            f"least_area {recipe.least_area} has no effect with the crop 'pad', which is used for small "
            "images: choose the crop 'resized' or leave it out."
        )


def _check_batches(recipe: Recipe) -> None:
    if recipe.batch_size is None:
        return
    if recipe.batch_size % recipe.accumulate:
        raise SenetError(
            f"accumulate must divide the batch size, {recipe.batch_size}, not {recipe.accumulate}."
        )
    if recipe.repeats > recipe.batch_size:
        raise SenetError(
            f"repeats must be at most the batch size, {recipe.batch_size}, not {recipe.repeats}."
        )


def _check_class_weights(weights: tuple[str, ...]) -> None:
    if texts("class_weights", weights) == (AUTO,):
        return
    names = []
    for text in weights:
        name, equals, number = text.rpartition("=")
        try:
            allowed = bool(name and equals) and 0 < float(number) < float("inf")
        except ValueError:
            allowed = False
        if not allowed:
            raise SenetError(
                "class_weights must be auto alone, or classes with weights above 0 as in cat=2, not "
                f"{text!r}."
            )
        names.append(name)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise SenetError(f"class_weights names the class {twice[0]!r} twice: give each class one weight.")
