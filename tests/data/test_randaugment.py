from __future__ import annotations

import importlib
from random import Random

import numpy as np
import pytest
from PIL import Image

from senet.data.choices import CENTRE, Choices
from senet.data.randaugment import OPERATIONS, randaugment
from senet.data.transforms import TrainTransform
from tests.references import import_timm, import_torchvision

from .pictures import noise, quadrants, smooth

FILL = (10, 20, 30)

# Our name and amount, torchvision's name and the magnitude that its tables pair with it.
TORCHVISION = [
    ("identity", 0.7, "Identity", 0.0),
    ("autocontrast", 0.7, "AutoContrast", 0.0),
    ("equalize", -0.7, "Equalize", 0.0),
    ("rotate", 0.7, "Rotate", 21.0),
    ("rotate", -0.2, "Rotate", -6.0),
    ("solarize", 0.25, "Solarize", 192.0),
    ("solarize", -1.0, "Solarize", 0.0),
    ("color", 0.5, "Color", 0.45),
    ("color", -1.0, "Color", -0.9),
    ("posterize", 0.5, "Posterize", 6.0),
    ("posterize", -1.0, "Posterize", 4.0),
    ("contrast", 0.9, "Contrast", 0.81),
    ("contrast", -0.9, "Contrast", -0.81),
    ("brightness", 0.3, "Brightness", 0.27),
    ("brightness", -0.3, "Brightness", -0.27),
    ("sharpness", 0.8, "Sharpness", 0.72),
    ("sharpness", -0.8, "Sharpness", -0.72),
    ("shear_x", 0.6, "ShearX", 0.18),
    ("shear_x", -0.6, "ShearX", -0.18),
    ("shear_y", 1.0, "ShearY", 0.3),
    # Ours says where a pixel comes from, torchvision's where it goes.
    ("translate_x", 0.5, "TranslateX", -9.0),
    ("translate_y", -1.0, "TranslateY", 11.0),
]


def pictures() -> list[Image.Image]:
    # 40 × 24 pixels: a fifth of 150 / 331 of the width and height are 9.06 and 10.9 pixels.
    return [quadrants(), smooth(40, 24), noise(40, 24)]


@pytest.mark.parametrize(("name", "amount", "theirs", "magnitude"), TORCHVISION)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_operations_are_torchvisions(
    name: str, amount: float, theirs: str, magnitude: float, mode: str
) -> None:
    import_torchvision()
    room = importlib.import_module("torchvision.transforms.autoaugment")
    functional = importlib.import_module("torchvision.transforms.functional")
    fill = FILL[: len(mode)]
    for picture in pictures():
        image = picture.convert(mode)
        expected = room._apply_op(
            image, theirs, magnitude, functional.InterpolationMode.BILINEAR, [float(value) for value in fill]
        )
        ours = OPERATIONS[name](image, amount, fill)
        assert ours.mode == mode and ours.size == image.size
        assert difference(ours, expected) == 0, name


@pytest.mark.parametrize("amount", [0.4, -0.9])
def test_operations_are_timms(amount: float) -> None:
    import_timm()
    room = importlib.import_module("timm.data.auto_augment")
    options = {"resample": Image.Resampling.BILINEAR, "fillcolor": FILL}
    for image in pictures():
        for name, theirs, level in (
            ("rotate", room.rotate, 30 * amount),
            ("shear_x", room.shear_x, 0.3 * amount),
            ("shear_y", room.shear_y, 0.3 * amount),
            ("translate_x", room.translate_x_abs, round(150 / 331 * amount * 40)),
            ("translate_y", room.translate_y_abs, round(150 / 331 * amount * 24)),
        ):
            expected = theirs(image, level, **options)
            assert difference(OPERATIONS[name](image, amount, FILL), expected) == 0, name
        for name in ("color", "contrast", "brightness", "sharpness"):
            expected = getattr(room, name)(image, 1 + 0.9 * amount)
            assert difference(OPERATIONS[name](image, amount, FILL), expected) == 0, name


def test_operations_are_close_to_torchvisions_on_tensors() -> None:
    """Torchvision computes on tensors without Pillow, so this compares two writings of the mathematics."""
    import_torchvision()
    v2 = importlib.import_module("torchvision.transforms.v2.functional")
    image = smooth(40, 24)
    tensor = v2.pil_to_tensor(image)
    for name, amount, expected, tolerance in (
        ("solarize", 0.5, v2.solarize(tensor, 128), 0),
        ("posterize", 1.0, v2.posterize(tensor, 4), 0),
        ("equalize", 1.0, v2.equalize(tensor), 2),
        ("autocontrast", 1.0, v2.autocontrast(tensor), 1),
        ("brightness", 0.5, v2.adjust_brightness(tensor, 1.45), 1),
        ("contrast", -0.5, v2.adjust_contrast(tensor, 0.55), 1),
        ("color", 0.5, v2.adjust_saturation(tensor, 1.45), 2),
        ("sharpness", 0.5, v2.adjust_sharpness(tensor, 1.45), 2),
    ):
        ours = np.asarray(OPERATIONS[name](image, amount, FILL)).astype(int)
        assert np.abs(ours - expected.permute(1, 2, 0).numpy().astype(int)).max() <= tolerance, name


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


def test_there_are_the_papers_fourteen_and_all_but_one_change_an_image() -> None:
    image = noise(40, 24).point(lambda value: 30 + value // 2)
    changed = {
        name
        for name, operation in OPERATIONS.items()
        if operation(image, 0.9, FILL).tobytes() != image.tobytes()
    }
    assert len(OPERATIONS) == 14 and set(OPERATIONS) - changed == {"identity"}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_operation_occurs_equally_often_in_both_directions(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from senet.data import randaugment as room

    drawn: list[tuple[str, float]] = []

    def noting(name: str) -> object:
        def operation(image: Image.Image, amount: float, fill: object) -> Image.Image:
            assert fill == (1,)
            drawn.append((name, amount))
            return image

        return operation

    for attribute, skipped in (("_FOR_COLOUR", ""), ("_FOR_GREY", "color")):
        monkeypatch.setattr(room, attribute, [noting(name) for name in OPERATIONS if name != skipped])
    for seed in range(1000):
        randaugment(Image.new(mode, (2, 2)), strength=7, layers=3, fill=(1,), seed=seed)
    expected = {(name, sign * 0.7) for name in OPERATIONS for sign in (-1, 1)}
    if mode == "L":  # nothing is drawn in vain on greyscale
        expected -= {("color", -0.7), ("color", 0.7)}
    assert len(drawn) == 3000 and set(drawn) == expected
    counts = [drawn.count(each) for each in expected]
    assert min(counts) > 60 and max(counts) < 170


@pytest.mark.parametrize(("channels", "crop"), [(1, "pad"), (3, "pad"), (3, "resized"), (1, "resized")])
def test_the_transform_applies_it_after_the_flip(channels: int, crop: str) -> None:
    plain = TrainTransform(size=16, channels=channels, crop=crop)  # type: ignore[arg-type]
    fill = FILL[:channels]
    augmented = TrainTransform(
        size=16,
        channels=channels,
        crop=crop,  # type: ignore[arg-type]
        randaugment=6,
        randaugment_layers=3,
        fill=fill,
    )
    random = Random(1)
    for _ in range(30):
        choices = augmented.draw(random)
        before = plain(smooth(20, 16), choices).transpose(1, 2, 0)
        image = Image.fromarray(before[:, :, 0] if channels == 1 else before)
        seed = int(choices.operations * 2**53)
        expected = np.asarray(randaugment(image, strength=6, layers=3, fill=fill, seed=seed))
        assert np.array_equal(
            augmented(smooth(20, 16), choices).transpose(1, 2, 0), expected.reshape(before.shape)
        )


def test_strength_and_layers_count() -> None:
    outputs = set()
    for strength in (1, 5, 10):
        for layers in (1, 2, 4):
            transform = TrainTransform(
                size=24,
                channels=3,
                crop="resized",
                randaugment=strength,
                randaugment_layers=layers,
                fill=FILL,
            )
            outputs.add(
                b"".join(
                    transform(quadrants(), Choices(operations=number / 20)).tobytes() for number in range(20)
                )
            )
    assert len(outputs) == 9


def test_the_source_is_left_alone() -> None:
    picture = noise(8, 8)
    before = picture.tobytes()
    for operation in OPERATIONS.values():
        operation(picture, 1.0, FILL)
    transform = TrainTransform(size=8, channels=3, crop="pad", randaugment=10, fill=FILL)
    transform.finish(np.asarray(picture), CENTRE)
    assert picture.tobytes() == before
